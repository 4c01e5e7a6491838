"""The survey of a server for `sereno init`: settings, databases, tables, time columns, references.

Only catalogs and statistics are read, never a table: planning a query on one may run code of its
owner, with the rights of the administrator. No lock is waited for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from postgres.administrator import Administrator
from postgres.catalog.hba import HbaRule
from postgres.identifiers import Relation
from postgres.statement_file import read_statement

MOST_TABLES = 200
"""The largest tables of a database whose columns are read."""
_DAY_SECONDS = 86_400

_SERVER = read_statement("postgres.catalog", "survey_server")
_DATABASES = read_statement("postgres.catalog", "survey_databases")
_TABLES = read_statement("postgres.catalog", "survey_tables")
_COLUMNS = read_statement("postgres.catalog", "survey_columns")
_REFERENCES = read_statement("postgres.catalog", "survey_references")
_HBA = read_statement("postgres.catalog", "survey_hba")
_HBA_16 = read_statement("postgres.catalog", "survey_hba.pg16")
_INCLUDES_SINCE = 160000
_ROLES = sql.SQL("SELECT rolname::text AS name FROM pg_catalog.pg_roles")
_EXTENSIONS = sql.SQL("SELECT extname::text AS name FROM pg_catalog.pg_extension")
_INSTANCES = sql.SQL("SELECT pg_catalog.to_regclass('sereno.owner') IS NOT NULL AS prepared")
_SETTINGS = (
    sql.SQL("SET search_path = pg_catalog, pg_temp"),
    sql.SQL("SET default_transaction_read_only = on"),
    sql.SQL("SET TimeZone = 'UTC'"),
    sql.SQL("SET DateStyle = 'ISO, YMD'"),
    sql.SQL("SET lock_timeout = '2s'"),
    sql.SQL("SET statement_timeout = '60s'"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server, its roles and the rules of pg_hba.conf."""

    version: int
    version_text: str
    standby: bool
    superuser: bool
    port: int
    listen_addresses: str
    ssl: bool
    timezone: str
    logging_collector: bool
    log_directory: str | None
    log_filename: str | None
    data_directory: str | None
    client_address: str | None
    databases: Sequence[str] = ()
    roles: frozenset[str] = frozenset()
    hba: Sequence[HbaRule] | None = None
    """None if the administrator may not read them."""


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A column that tells a row's age, and the distribution of its values."""

    name: str
    type: str
    not_null: bool
    indexed: bool
    partition_key: bool
    default_now: bool
    bounds: Sequence[float] = ()
    """Seconds since 1970 that divide the rows into equal parts; empty without statistics."""

    def days(self) -> float:
        """Return the days between the oldest and the newest row; 0 if that is not known."""
        return (self.bounds[-1] - self.bounds[0]) / _DAY_SECONDS if self.bounds else 0.0

    def share_before(self, instant: float) -> float:
        """Return the share of the rows that are older than an instant (seconds since 1970)."""
        if len(self.bounds) < 2:  # noqa: PLR2004 - one part has two bounds
            return 0.0
        return sum(bound < instant for bound in self.bounds) / len(self.bounds)


@dataclass(frozen=True, slots=True)
class Reference:
    """A table that refers to another one by a foreign key."""

    table: Relation
    referenced: bool
    """Whether other tables refer to it in turn."""
    cascades: bool = False
    """Whether its rows are deleted with the rows that they refer to (ON DELETE CASCADE)."""
    keyed: bool = True
    """Whether it has a unique key."""


@dataclass(frozen=True, slots=True)
class SurveyedTable:
    """A table with all its partitions, indexes and TOAST data."""

    table: Relation
    owner: str
    superuser: bool
    bytes: int
    rows: int
    partitions: int
    inserted: int
    updated: int
    partitioned: bool
    keyed: bool = True
    """Whether it has a unique key."""
    seen: bool = True
    """Whether its columns were read, as those of the largest tables are."""
    columns: Sequence[TimeColumn] = ()
    references: Sequence[Reference] = ()


@dataclass(frozen=True, slots=True)
class SurveyedDatabase:
    """A database: its tables, largest first, and its extensions."""

    name: str
    tables: Sequence[SurveyedTable] = ()
    extensions: frozenset[str] = frozenset()
    prepared: bool = False
    """Whether a sereno has been installed in it."""

    @property
    def bytes(self) -> int:
        """Return the size of the tables."""
        return sum(one.bytes for one in self.tables)

    @property
    def owners(self) -> Mapping[str, bool]:
        """Return the owners of the tables, each with whether it is a superuser."""
        return {one.owner: one.superuser for one in self.tables}


@dataclass(slots=True)
class _Details:
    columns: dict[int, list[TimeColumn]] = field(default_factory=dict)
    references: dict[int, list[Reference]] = field(default_factory=dict)


def read_server(administrator: Administrator) -> Server:
    """Read the server's settings, databases, roles and rules."""
    _prepare(administrator)
    row = administrator.execute(_SERVER).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    hba = None
    if row["superuser"]:
        statement = _HBA_16 if row["version"] >= _INCLUDES_SINCE else _HBA
        hba = [HbaRule(**rule) for rule in administrator.execute(statement)]
    return Server(
        **row,
        databases=[one["name"] for one in administrator.execute(_DATABASES)],
        roles=frozenset(one["name"] for one in administrator.execute(_ROLES)),
        hba=hba,
    )


def read_database(administrator: Administrator) -> SurveyedDatabase:
    """Read the tables of the database that the administrator is connected to."""
    _prepare(administrator)
    rows = administrator.execute(_TABLES).fetchall()
    seen = [row["oid"] for row in rows[:MOST_TABLES]]
    details = _read_details(administrator, seen)
    prepared = administrator.execute(_INSTANCES).fetchone()
    return SurveyedDatabase(
        name=administrator.info.dbname,
        tables=[_table(row, details, frozenset(seen)) for row in rows],
        extensions=frozenset(one["name"] for one in administrator.execute(_EXTENSIONS)),
        prepared=bool(prepared and prepared["prepared"]),
    )


def _prepare(administrator: Administrator) -> None:
    for statement in _SETTINGS:
        administrator.execute(statement)


def _read_details(administrator: Administrator, oids: Sequence[int]) -> _Details:
    details = _Details()
    for row in administrator.execute(_COLUMNS, (list(oids),)):
        details.columns.setdefault(row.pop("oid"), []).append(TimeColumn(**row))
    for row in administrator.execute(_REFERENCES, (list(oids),)):
        oid, relation = row.pop("oid"), Relation(row.pop("schema"), row.pop("name"))
        details.references.setdefault(oid, []).append(Reference(relation, **row))
    return details


def _table(row: dict[str, Any], details: _Details, seen: frozenset[int]) -> SurveyedTable:
    oid, relation = row.pop("oid"), Relation(row.pop("schema"), row.pop("name"))
    return SurveyedTable(
        table=relation,
        **row,
        seen=oid in seen,
        columns=details.columns.get(oid, ()),
        references=details.references.get(oid, ()),
    )
