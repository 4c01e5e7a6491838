"""Asks servers for the databases of the configured groups; records new and missing ones."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import psycopg
import structlog
from psycopg import sql

from alerts import alert_store
from daemon.config.contradictions import AGED
from daemon.config.groups import groups_of, member_name
from daemon.config.model import Database
from daemon.context import Context
from daemon.history import found_databases, history
from daemon.runs.reaching import judge_unreachable
from daemon.runs.sessions import require_same
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import DATABASE_MISSING, DATABASE_UNREACHABLE, NOT_INSTALLED
from domain.place import SEPARATOR
from domain.units import some_of
from execution.errors import first_line
from jobs.job import Verdict
from postgres.session import MAINTAIN, TargetError, open_session
from store.store import Row, Transaction

AT_ONCE = 16
"""Servers asked side by side."""
_DATABASES = sql.SQL(
    """
    SELECT datname::text AS name, oid::bigint AS oid FROM pg_catalog.pg_database
    WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2
      AND datname::text LIKE %s AND NOT datname::text LIKE ANY (%s)
    ORDER BY datname
    """
)
"""The limit -2 marks what an interrupted DROP DATABASE has left."""

_log = structlog.get_logger("discovery")


@dataclass(frozen=True, slots=True)
class _Seen:
    """The databases of a group by name with their oids, and the server; or why there are none."""

    databases: Mapping[str, int]
    server: history.Server | None = None
    problem: TargetError | None = None


def look_for_databases(context: Context) -> dict[str, TargetError]:
    """Ask the server of each group for its databases; record new and missing ones.

    A group whose server does not answer stays as it is; it is returned with the reason. Raises
    StoreError.
    """
    groups = groups_of(context.written)
    if not groups:
        return {}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="discovery") as pool:
        seen = dict(zip(groups, pool.map(partial(_ask, context), groups), strict=True))
    with context.store.transaction() as transaction:
        look = _Look(context, transaction)
        for name, one in seen.items():
            look.record(name, groups[name], one)
        for name in {row["origin"] for row in look.rows} - groups.keys():
            look.retire_all(name)
    return {name: one.problem for name, one in seen.items() if one.problem is not None}


def _ask(context: Context, group: str) -> _Seen:
    database = context.written.databases[group]
    try:
        with context.store.reading() as transaction:
            known = history.known_server(transaction, group)
        with open_session(context.target(group), MAINTAIN, "discover", read_only=True) as opened:
            facts = opened.facts
            server = history.Server(facts.system_identifier, facts.database_oid, facts.timeline)
            if known is not None:
                require_same(group, server, known)
            patterns = (database.discover, list(database.exclude))
            rows = opened.rows(_DATABASES, patterns)
    except (TargetError, psycopg.Error) as error:
        refused = error if isinstance(error, TargetError) else _failed(group, error)
        _log.warning("discovery.failed", group=group, reason=str(refused))
        return _Seen({}, problem=refused)
    return _Seen({row["name"]: row["oid"] for row in rows}, server)


def _failed(group: str, error: psycopg.Error) -> TargetError:
    """Return the error of a look whose query failed: a bad pattern, or a session that ended."""
    return TargetError(f"{group}: its databases cannot be listed: {first_line(error)}")


class _Look:
    """One look at all groups, recorded in one transaction."""

    def __init__(self, context: Context, transaction: Transaction) -> None:
        self._context, self._transaction = context, transaction
        self._now = context.clock()
        self.rows = found_databases.load_all(transaction)

    def record(self, group: str, database: Database, seen: _Seen) -> None:
        """Record the databases of a group."""
        if seen.problem is not None or seen.server is None:
            self._tell_problem(group, seen)
            return
        apart = self._configured_apart(seen.server.system_identifier)
        found = {name: oid for name, oid in seen.databases.items() if oid not in apart}
        known = {row["name"]: row for row in self.rows if row["origin"] == group}
        for name, oid in found.items():
            self._found(group, name, oid, known.get(name))
        for name in known.keys() - found.keys():
            self._missing(group, known[name], database)
        found_databases.looked(self._transaction, group, self._now)
        history.remember_server(self._transaction, group, seen.server, self._now)
        self._process(Verdict(coverage=(Coverage(DATABASE_UNREACHABLE.name, group),)))
        self._process(self._installed(group))

    def retire_all(self, group: str) -> None:
        """Retire the databases of a group that is not configured any more."""
        for row in self.rows:
            if row["origin"] == group:
                self._retire((group, row["name"]), "its group is not configured any more")

    def _tell_problem(self, group: str, seen: _Seen) -> None:
        """Alert that a group cannot be looked at, unless its known databases tell it already."""
        known = any(row["origin"] == group for row in self.rows)
        if seen.problem is not None and not (known and seen.problem.of_server):
            self._process(judge_unreachable(self._context.policy, group, seen.problem))

    def _configured_apart(self, system_identifier: str) -> set[int]:
        """Return the oids of databases of a server that are configured by themselves."""
        names = self._context.written.databases.keys() - groups_of(self._context.written).keys()
        servers = [history.known_server(self._transaction, name) for name in names]
        return {
            one.database_oid
            for one in servers
            if one is not None and one.system_identifier == system_identifier
        }

    def _found(self, group: str, name: str, oid: int, known: Row | None) -> None:
        key, member = (group, name), member_name(group, name)
        if known is not None and known["oid"] == oid:
            if known["missing_since"]:
                found_databases.mark_back(self._transaction, key)
                self._process(Verdict(coverage=(Coverage(DATABASE_MISSING.name, member),)))
                _log.info("database.back", database=member)
            return
        if known is not None:
            self._retire(key, "it was created again")
        found_databases.add(self._transaction, key, oid, self._now)
        _log.info("database.found", database=member)

    def _missing(self, group: str, row: Row, database: Database) -> None:
        key, since = (group, row["name"]), found_databases.missing_since(row)
        if since is None:
            found_databases.mark_missing(self._transaction, key, self._now)
            _log.warning("database.missing", database=member_name(*key))
            self._process(Verdict((self._missing_finding(key, database),)))
        elif self._now - since >= database.retire_after:
            self._retire(key, "it does not exist any more")

    def _missing_finding(self, key: tuple[str, str], database: Database) -> Finding:
        group, name = key
        at = self._context.policy.local_time(self._now + database.retire_after)
        identity = Identity(
            DATABASE_MISSING.name,
            self._context.config.daemon.name,
            database=member_name(group, name),
        )
        summary = (
            f"{name} was dropped or renamed, or lets nobody connect; nothing is done there, and "
            f"its alerts end on {at}"
        )
        remedy = "nothing if that is meant; else restore the database"
        return Finding(identity, Severity.WARNING, summary, remedy=remedy)

    def _retire(self, key: tuple[str, str], why: str) -> None:
        """Forget a database, and end its alerts."""
        member = member_name(*key)
        found_databases.remove(self._transaction, key)
        found_databases.forget(self._transaction, member)
        opened = alert_store.load_open(self._transaction)
        kinds = {alert.kind for alert in opened if alert.database == member}
        ended = tuple(Coverage(kind, member, final=True) for kind in sorted(kinds))
        self._process(Verdict(coverage=ended))
        _log.warning("database.retired", database=member, reason=why, alerts=sorted(kinds))

    def _installed(self, group: str) -> Verdict:
        """Return the finding about databases of a group without the schema `sereno`."""
        rows = [
            row
            for row in found_databases.load_all(self._transaction)
            if row["origin"] == group and not row["missing_since"]
        ]
        names = [row["name"] for row in rows if row["prepared"] == 0]
        coverage = (Coverage(NOT_INSTALLED.name, "", group),)
        if not names:
            return Verdict(coverage=coverage)
        identity = Identity(NOT_INSTALLED.name, self._context.config.daemon.name, object=group)
        summary = (
            f"{len(names)} of {len(rows)} databases of {group} are not installed: "
            f"{some_of(names)}; their rows are neither deleted nor archived"
        )
        remedy = f"sereno install --discover {group} --admin DSN"
        severity = Severity.WARNING if self._loses_rows(group) else Severity.INFO
        return Verdict((Finding(identity, severity, summary, remedy=remedy),), coverage)

    def _loses_rows(self, group: str) -> bool:
        """Return whether rows are to be deleted or archived in databases of a group."""
        return any(
            table.database is None or table.database.partition(SEPARATOR)[0] == group
            for job in AGED
            for table in self._context.config.job(job).tables
        )

    def _process(self, verdict: Verdict) -> None:
        if verdict.findings or verdict.coverage:
            processor = self._context.processor(self._transaction)
            processor.process(verdict.findings, verdict.coverage)
