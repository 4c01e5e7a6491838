"""Proposals of `sereno init`: tables whose rows may expire, each with its reasons. Pure.

Nothing is deleted or archived by a proposal: it stands in the configuration as a comment.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from domain.units import format_size
from postgres.catalog.survey import Server, SurveyedDatabase, SurveyedTable, TimeColumn
from postgres.identifiers import Relation, quote_identifier

MOST_PROPOSALS = 12
"""Proposals of one database; more are counted."""
MOST_REFERENCES = 3
LEAST_BYTES = 1024**2
"""A table whose name says that it is a log is proposed from this size on."""
LEAST_BYTES_UNNAMED = 1024**3
"""Any other table into which rows are only inserted is proposed from this size on."""
MOST_UPDATED = 0.1
"""Share of updated rows up to which rows count as only inserted."""
KEEP = timedelta(days=400)
ARCHIVE_AFTER = timedelta(days=365)
_EXPIRING = re.compile(
    r"(sys)?logs?|access|requests?|sessions?|sesion(es)?|tokens?|notifications?|notificacion(es)?"
    r"|traces?|metrics?|queue|visits?|logins?|debug|heartbeats?"
)
_LASTING = re.compile(
    r"audits?|auditoria|events?|eventos?|history|historial|historico|bitacora|journal"
    r"|movements?|movimientos?|messages?|mensajes?|archive"
)
_CREATED = re.compile(
    r"^(created?|inserted|logged|occurred|happened|recorded|received|sent|event|log|entry)?_?"
    r"(at|on|ts|time|timestamp|date|datetime|fecha|fecha_hora|creado|creado_en|hora)$"
    r"|^fecha(_de)?_(creacion|registro|alta|evento)$|^(created|creation)_.*$"
)
_CHANGING = re.compile(
    r"updat|modif|chang|delet|expir|birth|valid|due|until|end|last|next|start|plan"
    r"|venc|vence|caduc|actualiz|nac|baja|fin|hasta|ultim|inicio|proxim"
)
_SHORT_TYPES = {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
}
_WORD = re.compile(r"[A-ZÁÉÍÓÚÑ]?[a-záéíóúñ]+|[A-ZÁÉÍÓÚÑ]+(?![a-záéíóúñ])")
_ACCENTS = str.maketrans("áéíóúñ", "aeioun")


@dataclass(frozen=True, slots=True)
class Proposal:
    """An entry of `log_cleanup` or `archive`, with the reasons for it."""

    job: Literal["log_cleanup", "archive"]
    table: Relation
    column: str
    days: int
    reason: str
    partitions: str = ""
    """`drop` or `detach` for a table that is partitioned by the column."""
    children: Sequence[Relation] = ()
    owner: str = ""
    """The owner of the table."""


def proposals(
    database: SurveyedDatabase, now: float
) -> tuple[Sequence[Proposal], Sequence[str], int]:
    """Return proposals, largest table first; why large logs have none; the number left out."""
    made: list[Proposal] = []
    refused: list[str] = []
    for table in database.tables:
        job = _job(table)
        if job is None:
            continue
        outcome = _propose(table, job, now)
        if isinstance(outcome, Proposal):
            made.append(outcome)
        else:
            refused.append(outcome)
    left_out = max(0, len(made) - MOST_PROPOSALS)
    return made[:MOST_PROPOSALS], refused[:MOST_PROPOSALS], left_out


def extension_notes(database: SurveyedDatabase, server: Server) -> Iterator[str]:
    """Yield the extensions that checks use and that are not installed."""
    if "pg_stat_statements" not in database.extensions:
        yield (
            "CREATE EXTENSION pg_stat_statements (and shared_preload_libraries): finds statements "
            "that became slower"
        )
    if server.superuser and "pgstattuple" not in database.extensions:
        yield "CREATE EXTENSION pgstattuple: index bloat is measured instead of estimated"


def describe(table: SurveyedTable, column: TimeColumn | None) -> str:
    """Return a table's facts: size, growth, the age column, the tables that refer to it."""
    parts = [format_size(table.bytes)]
    if column is not None and (days := column.days()) >= 1:
        parts[0] += f", grows {format_size(table.bytes / days)} a day"
    if table.partitions:
        parts.append(f"{table.partitions} partitions")
    if column is not None:
        index = "indexed " if column.indexed else "no index on "
        kind = _SHORT_TYPES.get(column.type, column.type)
        parts.append(f"{index}{kind} {quote_identifier(column.name)}")
    referring = [str(one.table) for one in table.references]
    more = f" and {len(referring) - MOST_REFERENCES} more" * (len(referring) > MOST_REFERENCES)
    listed = ", ".join(referring[:MOST_REFERENCES]) + more
    parts.append(f"referred to by {listed}" if referring else "nothing refers to it")
    return f"{table.table}: {', '.join(parts[:-1])}; {parts[-1]}"


def age_column(columns: Sequence[TimeColumn]) -> TimeColumn | None:
    """Return the column that most likely tells when a row was made; None if no one does.

    An index alone says nothing: a due date has one too.
    """

    def points(column: TimeColumn) -> int:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.name).lower().translate(_ACCENTS)
        is_made = bool(_CREATED.match(name)) or column.default_now or column.partition_key
        if not is_made or _CHANGING.search(name):
            return 0
        return (
            8 * column.partition_key
            + 4 * bool(_CREATED.match(name))
            + 3 * column.default_now
            + 2 * (column.indexed and column.not_null)
            + column.indexed
        )

    best = max(columns, key=points, default=None)
    return best if best is not None and points(best) > 0 else None


def words(name: str) -> frozenset[str]:
    """Return the words of a name: `"AuditLog"` and `audit_log` have `audit` and `log`."""
    return frozenset(one.lower().translate(_ACCENTS) for one in _WORD.findall(name))


def _job(table: SurveyedTable) -> Literal["log_cleanup", "archive"] | None:
    """Return the job that would suit a table; None for a table that seems to hold its rows.

    Rows that are changed later are not a log.
    """
    named = words(table.table.name)
    lasting, expiring = (any(map(one.fullmatch, named)) for one in (_LASTING, _EXPIRING))
    if not table.seen or table.updated > MOST_UPDATED * max(table.inserted, table.rows):
        return None
    if table.bytes < (LEAST_BYTES if lasting or expiring else LEAST_BYTES_UNNAMED):
        return None
    return "log_cleanup" if expiring and not lasting else "archive"


def _propose(
    table: SurveyedTable, job: Literal["log_cleanup", "archive"], now: float
) -> Proposal | str:
    """Return a proposal, or why there is none."""
    column = age_column(table.columns)
    facts = describe(table, column)
    if column is None:
        return f"{facts}; no column tells when a row was made"
    if not column.indexed:
        create = f"CREATE INDEX CONCURRENTLY ON {table.table} ({quote_identifier(column.name)})"
        return f"{facts}; first {create}"
    if wrong := _blocked(table):
        return f"{facts}; {wrong}"
    job = "archive" if table.references else job
    if job == "archive" and not table.keyed:
        return f"{facts}; the archive needs a unique key, so that a restore adds no row twice"
    age = KEEP if job == "log_cleanup" else ARCHIVE_AFTER
    share = column.share_before(now - age.total_seconds())
    older = f"; about {share:.0%} of its rows are older" if share else ""
    effect = "Deletes these rows for good" if job == "log_cleanup" else "Moves them to files"
    along = ", with the rows that refer to them" if table.references else ""
    return Proposal(
        job=job,
        table=table.table,
        column=column.name,
        days=age.days,
        reason=f"{facts}{older}. {effect}{along}",
        partitions=_partitions(table, column, job),
        children=[one.table for one in table.references],
        owner=table.owner,
    )


def _blocked(table: SurveyedTable) -> str:
    """Return why rows may not leave a table that others refer to; empty if they may."""
    for one in table.references:
        if one.referenced:
            return f"{one.table} is referred to in turn"
        if not one.cascades:
            return f"rows of {one.table} would have to leave too (it has no ON DELETE CASCADE)"
        if not one.keyed:
            return f"{one.table} has no unique key, which the archive needs"
    return ""


def _partitions(table: SurveyedTable, column: TimeColumn, job: str) -> str:
    if not (table.partitioned and column.partition_key) or table.references:
        return ""
    return "drop" if job == "log_cleanup" else "detach"
