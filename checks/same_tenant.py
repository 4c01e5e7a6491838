"""Same tenant: rows of one tenant that are tied to a row of another. The last column of each side is the tenant."""

from checks.check import Header
from checks.pair_check import paircheck
from checks.references import crossed
from domain.finding import Severity

CHECK = paircheck(
    Header(
        name="same_tenant",
        title="Rows are tied across tenants: one tenant may see another's data",
        remedy="find out which side is right, mend {child}, and look who has read it since",
        source="the configured pairs [[checks.same_tenant]]",
    ),
    crossed,
    Severity.CRITICAL,
    "{rows} of {child} tied to another tenant's row in {parent}",
)
