"""Records which databases the groups have: new, missing and retired ones, with their alerts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from alerts import alert_store
from daemon.config.contradictions import AGED
from daemon.config.groups import groups_of, member_name
from daemon.config.model import Config
from daemon.config.servers import address_of, database_of
from daemon.context import Context
from daemon.history import found_databases, history
from daemon.runs.reaching import judge_missing, judge_unreachable
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import DATABASE_MISSING, DATABASE_UNREACHABLE, GROUP_EMPTY, NOT_INSTALLED
from domain.place import SEPARATOR
from domain.units import some_of
from postgres.session import TargetError
from store.store import Row, Transaction

_log = structlog.get_logger("discovery")


@dataclass(frozen=True, slots=True)
class Listed:
    """A database of a server, and whether its name fits the group."""

    oid: int
    fits: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The databases of a server by name, and the server; or why there are none."""

    asked_at: datetime
    databases: Mapping[str, Listed]
    server: history.Server | None = None
    problem: TargetError | None = None


def record_answers(context: Context, answers: Mapping[str, Answer]) -> None:
    """Record the answers of all groups in one transaction, with the alerts. Raises StoreError.

    An answer that is older than one recorded meanwhile changes nothing.
    """
    with context.store.transaction() as transaction:
        record = _Record(context, transaction)
        for group in groups_of(context.written):
            record.answer(group, answers.get(group))
        record.retire_other_groups()
        record.process()


def retire_missing(context: Context, member: str) -> None:
    """Forget a database of a group that is missing, and end its alerts. Raises StoreError."""
    group, _, name = member.partition(SEPARATOR)
    with context.store.transaction() as transaction:
        record = _Record(context, transaction)
        record.retire((group, name), "sereno fleet retire")
        record.process()


class _Record:
    """The changes of one look at all groups."""

    def __init__(self, context: Context, transaction: Transaction) -> None:
        self._context, self._transaction = context, transaction
        self._now = context.clock()
        self._groups = groups_of(context.written)
        self._rows: dict[str, dict[str, Row]] = defaultdict(dict)
        for row in found_databases.load_all(transaction):
            self._rows[row["origin"]][row["name"]] = row
        self._open: dict[str, set[str]] = defaultdict(set)
        for alert in alert_store.load_open(transaction):
            self._open[alert.database].add(alert.kind)
        self._taken = _Taken(context.written, transaction)
        self._findings: list[Finding] = []
        self._coverage: list[Coverage] = []
        self._retired: set[str] = set()
        self._back: set[str] = set()

    def answer(self, group: str, answer: Answer | None) -> None:
        """Record the databases of a group; None if it was not asked."""
        known = self._rows[group]
        looked_at = found_databases.looked_at(self._transaction, group)
        if answer is None or (looked_at and answer.asked_at < looked_at <= self._now):
            self._taken.keep(group, known)
            return
        if answer.server is None:
            self._taken.keep(group, known)
            if answer.problem is not None:
                self._tell_problem(group, answer.problem, known)
            return
        found, left = self._sorted(group, answer.databases, answer.server)
        for name, oid in found.items():
            self._found((group, name), oid, known.get(name))
        for name in known.keys() - found.keys():
            if name in left:
                self.retire((group, name), left[name])
            else:
                self._missing((group, name), known[name])
        found_databases.looked(self._transaction, group, answer.asked_at)
        history.remember_server(self._transaction, group, answer.server, self._now)
        self._coverage.append(Coverage(DATABASE_UNREACHABLE.name, group))
        self._tell_empty(group, found)
        self._tell_not_installed(group, found, known)

    def retire_other_groups(self) -> None:
        """Retire the databases of groups that are not configured any more."""
        for group in self._rows.keys() - self._groups.keys():
            for name in self._rows[group]:
                self.retire((group, name), "its group is not configured any more")

    def process(self) -> None:
        """Forget retired databases, and process the alerts."""
        jobs = self._context.jobs
        found_databases.forget(self._transaction, self._retired, jobs)
        found_databases.forget_planned(self._transaction, self._back, jobs)
        if self._findings or self._coverage:
            processor = self._context.processor(self._transaction)
            processor.process(self._findings, self._coverage)

    def _sorted(
        self, group: str, listed: Mapping[str, Listed], server: history.Server
    ) -> tuple[dict[str, int], dict[str, str]]:
        """Return the oids of the group's databases, and why each other one is not of the group."""
        found, left = dict[str, int](), dict[str, str]()
        for name, one in listed.items():
            other = self._taken.by(group, name, (server.system_identifier, one.oid))
            if not one.fits:
                left[name] = f"databases.{group} leaves it out"
            elif other:
                left[name] = f"it is the database of databases.{other}"
            else:
                found[name] = one.oid
        self._taken.add(group, server.system_identifier, found.values())
        return found, left

    def _found(self, key: tuple[str, str], oid: int, known: Row | None) -> None:
        member = member_name(*key)
        if known is not None and known["oid"] == oid:
            if known["missing_since"]:
                found_databases.mark_back(self._transaction, key, self._now)
                self._back.add(member)
                _log.info("database.back", database=member)
            self._end(member, {DATABASE_MISSING.name})
            return
        if known is not None:
            self.retire(key, "it was created again")
        found_databases.add(self._transaction, key, oid, self._now)
        _log.info("database.found", database=member)

    def _missing(self, key: tuple[str, str], row: Row) -> None:
        since, member = found_databases.missing_since(row), member_name(*key)
        retire_after = self._groups[key[0]].retire_after
        if since is not None and self._now - since >= retire_after:
            self.retire(key, "it does not exist any more")
            return
        self._end(member, {DATABASE_UNREACHABLE.name})
        if since is None:
            found_databases.mark_missing(self._transaction, key, self._now)
            _log.warning("database.missing", database=member)
            until = self._context.policy.local_time(self._now + retire_after)
            why = f"{key[1]} was dropped or renamed, or lets nobody connect"
            policy = self._context.policy
            verdict = judge_missing(policy, member, f"{why}; its alerts end on {until}")
            self._findings += verdict.findings

    def retire(self, key: tuple[str, str], why: str) -> None:
        """Forget a database, and end its alerts."""
        member = member_name(*key)
        found_databases.remove(self._transaction, key)
        self._retired.add(member)
        self._end(member, self._open[member])
        _log.warning("database.retired", database=member, reason=why)

    def _end(self, member: str, kinds: set[str]) -> None:
        """End the open alerts of some kinds about a database."""
        ended = sorted(kinds & self._open[member])
        self._coverage += [Coverage(kind, member, final=True) for kind in ended]

    def _tell_problem(self, group: str, problem: TargetError, known: Mapping[str, Row]) -> None:
        """Alert that a group cannot be looked at, unless its known databases tell it already."""
        if not (known and problem.of_server):
            verdict = judge_unreachable(self._context.policy, group, problem)
            self._findings += verdict.findings

    def _tell_empty(self, group: str, found: Mapping[str, int]) -> None:
        """Tell that a group stands for no database."""
        self._coverage.append(Coverage(GROUP_EMPTY.name, "", group))
        if not found:
            pattern = self._groups[group].discover
            summary = f"no database of its server has a name like {pattern}: nothing is done"
            remedy = f"correct databases.{group}.discover, or create such a database"
            self._tell(GROUP_EMPTY.name, group, Severity.WARNING, (summary, remedy))

    def _tell_not_installed(
        self, group: str, found: Mapping[str, int], known: Mapping[str, Row]
    ) -> None:
        """Tell which databases of a group lack the schema `sereno`; unknown ones change nothing."""
        same = {name: known[name] for name in found if name in known}
        states = [
            same[name]["prepared"] if name in same and same[name]["oid"] == oid else None
            for name, oid in found.items()
        ]
        lacking = [name for name, state in zip(found, states, strict=True) if state == 0]
        if lacking or None not in states:
            self._coverage.append(Coverage(NOT_INSTALLED.name, "", group))
        if lacking:
            summary = (
                f"{len(lacking)} of {len(found)} databases of {group} are not installed: "
                f"{some_of(lacking)}; their rows are neither deleted nor archived"
            )
            remedy = f"sereno install --discover {group} --admin DSN"
            severity = Severity.WARNING if self._loses_rows(group) else Severity.INFO
            self._tell(NOT_INSTALLED.name, group, severity, (summary, remedy))

    def _tell(self, kind: str, group: str, severity: Severity, texts: tuple[str, str]) -> None:
        identity = Identity(kind, self._context.config.daemon.name, object=group)
        self._findings.append(Finding(identity, severity, texts[0], remedy=texts[1]))

    def _loses_rows(self, group: str) -> bool:
        """Return whether rows are to be deleted or archived in databases of a group."""
        return any(
            table.database is None or table.database.partition(SEPARATOR)[0] == group
            for job in AGED
            for table in self._context.config.job(job).tables
        )


class _Taken:
    """The databases that belong to an entry of their own, or to an earlier group."""

    def __init__(self, config: Config, transaction: Transaction) -> None:
        self._transaction, self._config = transaction, config
        self._named: dict[tuple[str, str], str] = {}
        self._met: dict[tuple[str, int], str] = {}
        for name, one in config.databases.items():
            if one.discover:
                continue
            self._named[address_of(one.dsn), database_of(one.dsn)] = name
            server = history.known_server(transaction, name)
            if server is not None:
                self._met[server.system_identifier, server.database_oid] = name

    def by(self, group: str, name: str, met: tuple[str, int]) -> str:
        """Return the entry that a database belongs to; empty for none."""
        address = address_of(self._config.databases[group].dsn)
        return self._named.get((address, name)) or self._met.get(met, "")

    def add(self, group: str, system_identifier: str, oids: Iterable[int]) -> None:
        """Add the databases of a group."""
        self._met |= dict.fromkeys(((system_identifier, oid) for oid in oids), group)

    def keep(self, group: str, known: Mapping[str, Row]) -> None:
        """Add the databases of a group whose server has not answered."""
        server = history.known_server(self._transaction, group)
        if server is not None:
            self.add(group, server.system_identifier, (row["oid"] for row in known.values()))
