"""The ledger of migrations in a database: rows are added, never changed.

Only rows of the `migrate` login count: code of other roles cannot write, but an earlier login may
have. A row's table and ordinal tell whether it is ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import errors, sql
from psycopg.types.json import Jsonb

from migrations.format import FORMAT, TOML, Migration, Phase, SqlFile
from migrations.state import Batch, Event, StepRow
from postgres.fencing.migration_grants import LEDGER
from postgres.session import Session, TargetError
from retention.rows.tamper_check import ledger_heights

Written = set[tuple[str, int]]
"""Table and ordinal of rows that we added."""

TABLES = tuple(LEDGER)
LONGEST_REASON = 2000

_INSERT = sql.SQL("INSERT INTO {table} ({columns}) VALUES ({values}) RETURNING ordinal")
_EVENTS = sql.SQL(
    """
    SELECT ordinal, migration, format, title, type, checksum, phase, state, run, reason,
           written_at
    FROM sereno.migration WHERE written_by = {user} ORDER BY ordinal
    """
)
_STEPS = sql.SQL(
    """
    SELECT DISTINCT ON (file, statement) file, statement, checksum, state
    FROM sereno.migration_step WHERE written_by = {user} AND migration = {migration}
    ORDER BY file, statement, ordinal DESC
    """
)
_BATCHES = sql.SQL(
    """
    WITH own AS (
      SELECT file, checksum, hi, keys, ordinal,
             max(ordinal) FILTER (WHERE keys < 0) OVER (PARTITION BY file) AS restarted,
             max(ordinal) OVER (PARTITION BY file) AS last
      FROM sereno.migration_batch WHERE written_by = {user} AND migration = {migration}
    )
    SELECT file, max(checksum) FILTER (WHERE ordinal = last) AS checksum,
           max(hi) FILTER (WHERE ordinal = last) AS hi,
           max(keys) FILTER (WHERE ordinal = last) AS keys,
           coalesce(sum(keys) FILTER (WHERE ordinal > coalesce(restarted, 0)), 0)::bigint AS done
    FROM own GROUP BY file
    """
)
_FILES = sql.SQL(
    """
    SELECT file, content FROM sereno.migration_file
    WHERE written_by = {user} AND migration = {migration} AND checksum = {checksum}
    ORDER BY ordinal
    """
)
_SNAPSHOT = sql.SQL(
    """
    SELECT catalog FROM sereno.migration_snapshot
    WHERE written_by = {user} AND migration = {migration} AND phase = {phase}
    ORDER BY ordinal DESC LIMIT 1
    """
)
_RECORDED = sql.SQL(
    """
    SELECT phase, max(written_at) AS written_at FROM sereno.migration_snapshot
    WHERE written_by = {user} AND migration = {migration} GROUP BY phase
    """
)
_BASELINE = sql.SQL(
    """
    SELECT DISTINCT ON (name) name, sample FROM sereno.migration_check
    WHERE written_by = {user} AND migration = {migration} AND phase = {phase} AND kind = 'before'
    ORDER BY name, ordinal DESC
    """
)
_CHECKED = sql.SQL(
    """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - max(written_at)), 1e9)::float8 AS age
    FROM sereno.migration_check
    WHERE written_by = {user} AND migration = {migration} AND phase = {phase} AND kind = 'phase'
      AND ok
    """
)
_UNTIL = sql.SQL(
    """
    SELECT until FROM sereno.migration_run
    WHERE written_by = {user} AND migration = {migration} AND action = {action}
    ORDER BY ordinal DESC LIMIT 1
    """
)
_STILL = sql.SQL(
    "SELECT {name} AS name, ordinal FROM {table} WHERE ordinal = ANY ({ordinals}::bigint[])"
)


@dataclass(frozen=True, slots=True)
class RunRef:
    """The run that writes: its migration, and the login whose rows count."""

    run: str
    migration: str
    title: str
    type: str
    checksum: str
    user: str
    """The `migrate` login."""
    role: str = ""
    """The owner that it becomes; empty if it stays itself."""

    @classmethod
    def of(cls, run: str, migration: Migration, user: str, role: str) -> "RunRef":
        """Return the reference of a run of a migration."""
        manifest = migration.manifest
        return cls(run, migration.id, manifest.title, manifest.type, migration.checksum, user, role)


def add(session: Session, table: str, **values: object) -> Written:
    """Add one row to a table of the ledger; return its table and ordinal."""
    names = LEDGER[table]
    statement = _INSERT.format(
        table=sql.Identifier("sereno", table),
        columns=sql.SQL(", ").join(map(sql.Identifier, names)),
        values=sql.SQL(", ").join([sql.Placeholder()] * len(names)),
    )
    row = session.rows(statement, [values[name] for name in names])[0]
    return {(table, int(row["ordinal"]))}


def add_state(
    session: Session, ref: RunRef, phase: Phase | None, state: str, reason: str = ""
) -> Written:
    """Record the state of the migration; `phase` is the last one that is complete."""
    return add(
        session,
        "migration",
        migration=ref.migration,
        format=FORMAT,
        title=ref.title,
        type=ref.type,
        checksum=ref.checksum,
        phase=phase.value if phase else "",
        state=state,
        run=ref.run,
        reason=reason[:LONGEST_REASON],
    )


def add_step(session: Session, ref: RunRef, row: StepRow, **more: object) -> Written:
    """Record one statement of a file, or the whole file as statement 0."""
    measured = {"attempts": 1, "milliseconds": 0, "rows": 0, "reason": ""} | more
    return add(
        session,
        "migration_step",
        run=ref.run,
        migration=ref.migration,
        phase=row.phase.value if row.phase else "",
        file=row.file,
        checksum=row.checksum,
        statement=row.statement,
        state=row.state,
        **measured,
    )


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of one query of a check."""

    name: str
    kind: str
    """check, same, before (a value of `@same`) or phase (all of them)."""
    value: Any
    """The keys of violating rows, or the value of `@same`."""
    violations: int = 0
    milliseconds: int = 0
    ok: bool = True


def add_check(session: Session, ref: RunRef, phase: str, result: Checked) -> Written:
    """Record the result of one query."""
    return add(
        session,
        "migration_check",
        run=ref.run,
        migration=ref.migration,
        phase=phase,
        name=result.name,
        kind=result.kind,
        ok=result.ok,
        violations=result.violations,
        sample=Jsonb(result.value),
        milliseconds=result.milliseconds,
    )


def heights(session: Session) -> dict[str, int]:
    """Return the highest ordinal of each table of the ledger."""
    return ledger_heights(session, TABLES)


def restart_batches(session: Session, ref: RunRef, file: SqlFile) -> Written:
    """Record that the walk of a batch file begins again."""
    return add(
        session,
        "migration_batch",
        run=ref.run,
        migration=ref.migration,
        file=file.name,
        checksum=file.checksum,
        lo="",
        hi="",
        keys=-1,
        milliseconds=0,
    )


def add_files(session: Session, ref: RunRef, migration: Migration) -> Written:
    """Record the text of every file, unless this checksum has been recorded before."""
    if files_of(session, ref.user, ref.migration, ref.checksum):
        return set()
    texts = {TOML: migration.toml} | {name: one.text for name, one in migration.files.items()}
    written: Written = set()
    for name, text in texts.items():
        written |= add(
            session,
            "migration_file",
            run=ref.run,
            migration=ref.migration,
            checksum=ref.checksum,
            file=name,
            content=text,
        )
    return written


def events(session: Session, user: str) -> list[Event]:
    """Return the states of all migrations, oldest first.

    Raises TargetError if there is no ledger, or it was written by a newer sereno.
    """
    try:
        rows = session.rows(_EVENTS.format(user=sql.Literal(user)))
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
        name = session.target.name
        raise TargetError(
            f"{name}: the ledger of migrations is missing or not readable; configure "
            f"databases.{name}.migrate and run: sereno install {name} --admin DSN"
        ) from None
    for row in rows:
        if row["format"] != FORMAT:
            raise TargetError(
                f"{session.target.name}: the ledger of {row['migration']} has format "
                f"{row['format']}, this sereno knows {FORMAT}; use a newer one"
            )
    return [Event(**{key: row[key] for key in Event.__dataclass_fields__}) for row in rows]


def steps(session: Session, user: str, migration: str) -> list[StepRow]:
    """Return the last row of each file and statement."""
    rows = session.rows(_of(_STEPS, user, migration))
    return [
        StepRow(None, row["file"], row["checksum"], row["statement"], row["state"]) for row in rows
    ]


def batches(session: Session, user: str, migration: str) -> dict[str, Batch]:
    """Return how far each batch file has come."""
    rows = session.rows(_of(_BATCHES, user, migration))
    return {
        row["file"]: Batch(row["checksum"], row["hi"] if row["keys"] >= 0 else None, row["done"])
        for row in rows
    }


def files_of(session: Session, user: str, migration: str, checksum: str) -> dict[str, bytes]:
    """Return the files of a migration as they were when it was applied."""
    statement = _FILES.format(
        user=sql.Literal(user), migration=sql.Literal(migration), checksum=sql.Literal(checksum)
    )
    return {row["file"]: row["content"].encode() for row in session.rows(statement)}


def snapshot_before(session: Session, ref: RunRef, phase: Phase) -> list[str] | None:
    """Return the catalog as it was before a phase; None if none was kept."""
    rows = session.rows(_of(_SNAPSHOT, ref.user, ref.migration, phase))
    return list(rows[0]["catalog"]) if rows else None


def recorded_phases(session: Session, user: str, migration: str) -> dict[str, datetime]:
    """Return when the catalog was last recorded before each phase."""
    rows = session.rows(_of(_RECORDED, user, migration))
    return {row["phase"]: row["written_at"] for row in rows}


def baseline(session: Session, ref: RunRef, phase: Phase) -> dict[str, Any]:
    """Return the values of the `@same` queries from before a phase."""
    rows = session.rows(_of(_BASELINE, ref.user, ref.migration, phase))
    return {row["name"]: row["sample"] for row in rows}


def seconds_since_check(session: Session, ref: RunRef, phase: Phase) -> float:
    """Return the age of the last check of a phase without violations."""
    return float(session.rows(_of(_CHECKED, ref.user, ref.migration, phase))[0]["age"])


def last_until(session: Session, user: str, migration: str, action: str = "apply") -> str | None:
    """Return the `until` of the last run of an action; None for its default."""
    values = {"user": user, "migration": migration, "action": action}
    literals = {name: sql.Literal(value) for name, value in values.items()}
    rows = session.rows(_UNTIL.format(**literals))
    return (rows[0]["until"] or None) if rows else None


def json_value(value: object) -> Jsonb:
    """Return a value for a column of JSON."""
    return Jsonb(value)


def forged_rows_left(session: Session, forged: Iterable[tuple[str, int]]) -> Sequence[str]:
    """Return those of the rows that still exist, as `table ordinal`."""
    by_table: dict[str, list[int]] = {}
    for table, ordinal in forged:
        if table in LEDGER:
            by_table.setdefault(table, []).append(ordinal)
    left = []
    for table, ordinals in by_table.items():
        statement = _STILL.format(
            name=sql.Literal(table),
            table=sql.Identifier("sereno", table),
            ordinals=sql.Literal(ordinals),
        )
        left += [f"sereno.{row['name']} {row['ordinal']}" for row in session.rows(statement)]
    return left


def _of(template: sql.SQL, user: str, migration: str, phase: Phase | None = None) -> sql.Composed:
    return template.format(
        user=sql.Literal(user),
        migration=sql.Literal(migration),
        phase=sql.Literal(phase.value if phase else ""),
    )
