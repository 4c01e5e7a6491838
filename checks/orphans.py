"""Orphans: rows that point to a row that is not there, where the schema declares no foreign key."""

from checks.check import Header
from checks.pair_check import paircheck
from checks.references import unmatched
from domain.finding import Severity

CHECK = paircheck(
    Header(
        name="orphans",
        title="Rows point to rows that are not there",
        remedy="put the missing rows of {parent} back, or remove these; then declare the foreign key",
        source="the configured pairs [[checks.orphans]]",
    ),
    unmatched,
    Severity.HIGH,
    "{rows} of {child} without their row in {parent}",
)
