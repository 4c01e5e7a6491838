"""The check `index_bloat`: B-tree indexes much larger than a fresh build would be."""

from collections.abc import Sequence

from checks.check import Header, NotSeen, Option, OptionValues, Row
from checks.module_check import ModuleCheck
from postgres.catalog.index_bloat import can_estimate, estimate_bloat
from postgres.session import Session

_OPTIONS = {
    "bytes": Option(100 * 2**20, "wasted bytes from which it is a warning, together with share"),
    "share": Option(0.5, "wasted share from which it is a warning"),
    "high_bytes": Option(2**30, "wasted bytes from which it is high, together with high_share"),
    "high_share": Option(0.7, "wasted share from which it is high"),
}


def _ask(session: Session | None, options: OptionValues) -> Sequence[Row]:
    assert session is not None  # noqa: S101 - a database check has one
    if not can_estimate(session):
        raise NotSeen("no privilege: SELECT on pg_statistic; sereno install grants it")
    least, share, high, high_share = (
        float(str(options[name])) for name in ("bytes", "share", "high_bytes", "high_share")
    )
    rows: list[Row] = []
    for one in estimate_bloat(session, int(least)):
        if one.wasted < least or one.share < share:
            continue
        worse = one.wasted >= high and one.share >= high_share
        rows.append(
            {
                "object": str(one.index),
                "value": one.share,
                "severity": "high" if worse else "warning",
                "percent": round(100 * one.share),
                "size": f"{one.bytes / 1e6:,.0f} MB",
                "needed": f"{one.needed / 1e6:,.0f} MB",
            }
        )
    return sorted(rows, key=lambda row: (-float(str(row["value"])), str(row["object"])))


CHECK = ModuleCheck(
    Header(
        name="index_bloat",
        title="An index is much larger than its entries",
        options=_OPTIONS,
        summary="{percent} % of {size} is wasted: a rebuild would leave {needed}",
        remedy="REINDEX INDEX CONCURRENTLY {object}; (needs {needed} of free disk)",
        es={
            "title": "Un índice es mucho mayor que sus entradas",
            "summary": "{percent} % de {size} se desperdicia: una reconstrucción dejaría {needed}",
            "remedy": "REINDEX INDEX CONCURRENTLY {object}; (necesita {needed} libres en disco)",
        },
        source="PostgreSQL manual, 65.6: entries of average width, equal keys deduplicated",
    ),
    _ask,
    lambda _options: "an estimate for each large B-tree from pg_statistic",
)
