"""The worker sessions of one run: one or more per login, opened when first needed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property

import structlog
from psycopg import sql

from daemon.config.servers import session_limit
from daemon.context import Context
from daemon.runs.login_check import CheckedLogin, check_logins, read_login_settings
from daemon.runs.sessions import Sessions, server_in
from domain.task import Task
from execution.step import Step
from jobs.job import DomainSession
from postgres.fencing import advisory_locks, delete_permission
from postgres.fencing.trust_domain import (
    TrustDomain,
    join_cure,
    owners_of_tables,
    read_trust_domain,
    table_owners,
)
from postgres.identifiers import Relation, quote_identifier
from postgres.session import MAINTAIN, Login, Session, TargetError, UnreachableError

_MEMBERSHIPS = sql.SQL(
    """
    SELECT o.rolname::text AS owner FROM pg_catalog.pg_roles o
    WHERE o.rolname::text = ANY (%s) AND pg_catalog.pg_has_role(session_user, o.oid, 'USAGE')
    """
)

_log = structlog.get_logger("workers")


class Workers:
    """Opens worker sessions under the coordinator's lock; without a coordinator read-only ones.

    It is also the `Domains` of the run's job.
    """

    def __init__(
        self,
        sessions: Sessions,
        context: Context,
        task: Task,
        coordinator: Session | None,
        stack: ExitStack,
    ) -> None:
        self._sessions, self._context, self._task = sessions, context, task
        self._coordinator, self._stack = coordinator, stack
        self._job = context.jobs[task.job]
        self._deletes = self._job.deletes and coordinator is not None
        self._target = context.target(task.database)
        self._opened: dict[Login, Session] = {}
        self._sessions_open = 0
        self._owners: dict[Login, TrustDomain] = {}
        self._settings = read_login_settings(coordinator, self._target) if coordinator else {}

    def session(self, login: Login) -> Session:
        """Return the first session of a login. Raises TargetError."""
        if login.kind != "migrate":  # opened with its own search_path, whatever its user
            login = self._target.login(login)
        if login not in self._opened:
            self._opened[login] = self._open(login)
        return self._opened[login]

    def lanes(self, steps: Sequence[Step], most: int) -> Mapping[Login, Sequence[Session]]:
        """Return sessions for the logins of the steps, at most `most` for each.

        There are fewer if the server, or `databases.<name>.at_once`, has no room for more.
        """
        wanted = Counter(login for step in steps for login in step.logins)
        found = {login: [self.session(login)] for login in wanted}
        limit = session_limit(self._context.config, self._task.database)
        for login, count in wanted.items():
            while len(found[login]) < min(most, count) and 1 + self._sessions_open < limit:
                try:
                    found[login].append(self._open(self._target.login(login)))
                except UnreachableError as error:
                    lanes = len(found[login])
                    _log.warning(
                        "run.fewer_lanes", task=self._job.name, lanes=lanes, reason=str(error)
                    )
                    break
        return found

    def check_logins(self) -> list[CheckedLogin]:
        """Return how the logins used are now; call it after their sessions have been closed."""
        used = [login for login in self._opened if login.kind != "maintain"]
        if self._coordinator is None or not used:
            return []
        return check_logins(self._coordinator, self._target, used, self._settings)

    def all(self) -> Sequence[DomainSession]:
        """Return every configured domain. Raises TargetError if none may be deleted in."""
        return self._domains

    def of_table(self, table: Relation) -> DomainSession:
        """Return the domain of a table and of everything that inherits from it."""
        owners = table_owners(self.session(MAINTAIN), table)
        domains = self._domains
        if not owners:
            return _without(domains, "there is no such table")
        for one in domains:
            if one.domain.wrong and (len(domains) == 1 or owners & self._declared(one.login)):
                return one
            if owners <= one.domain.owners:
                return one
        return _without(domains, self._outside(owners))

    def uncovered(self) -> Mapping[str, str]:
        """Return the owners of tables that are in no domain, and why."""
        known = frozenset().union(*(one.domain.owners for one in self._domains))
        if not known:
            return {}
        return {
            owner: self._outside(frozenset([owner]))
            for owner in owners_of_tables(self.session(MAINTAIN))
            if owner not in known
        }

    def owner_login(self, owner: str) -> tuple[Login, str]:
        """Return the login with the rights of an owner, or the reason why there is none."""
        logins = self._logins("owner")
        for login in logins:
            if login not in self._owners:
                self._owners[login] = self._owner_domain(login)
            domain = self._owners[login]
            if domain.wrong and (len(logins) == 1 or owner in self._declared(login)):
                return MAINTAIN, domain.wrong
            if owner in domain.owners:
                return login, ""
        name = self._target.name
        return MAINTAIN, (
            f"needs a login with the rights of {quote_identifier(owner)}: configure "
            f"databases.{name}.owner (or that of its domain), then run: sereno install {name} "
            "--admin DSN"
        )

    def _owner_domain(self, login: Login) -> TrustDomain:
        """Return the owners whose rights a login of the kind `owner` has."""
        try:
            session = self.session(login)
        except TargetError as error:
            return TrustDomain(wrong=str(error))
        domain = read_trust_domain(session)
        members = {row["owner"] for row in session.rows(_MEMBERSHIPS, (list(domain.owners),))}
        return TrustDomain(frozenset(members), domain.wrong)

    @cached_property
    def _domains(self) -> Sequence[DomainSession]:
        logins = self._logins("data")
        found = [self._domain(login, alone=len(logins) == 1) for login in logins]
        if self._deletes and found and all(one.domain.wrong for one in found):
            raise TargetError(f"{self._job.name} refused: {found[0].domain.wrong}")
        return found

    def _domain(self, login: Login, *, alone: bool) -> DomainSession:
        try:
            session = self.session(login)
        except TargetError as error:
            if alone and self._job.deletes:
                raise
            return DomainSession(login, None, TrustDomain(wrong=str(error)), unreachable=True)
        domain = read_trust_domain(session)
        wrong = domain.wrong
        if not wrong and (self._deletes or session.login.kind == "data"):
            wrong = delete_permission.power_reason(session, domain)
        if not wrong and self._deletes:
            instance = self._context.store.instance()
            wrong = delete_permission.distrust_reason(session, instance)
        return DomainSession(login, session, TrustDomain(domain.owners, wrong))

    def _logins(self, kind: str) -> list[Login]:
        if not self._target.logins:
            return [MAINTAIN]
        return sorted(login for login in self._target.logins if login.kind == kind)

    def _declared(self, login: Login) -> frozenset[str]:
        return self._target.domains.get(login.domain, frozenset())

    def _outside(self, owners: frozenset[str]) -> str:
        """Return why a table of these owners may not be worked on by any login."""
        name = self._target.name
        domains = self._domains
        if not domains:
            return f"its rows need a login: databases.{name}.data is not configured"
        known = frozenset().union(*(one.domain.owners for one in domains))
        if not known:
            return f"no data login has rights on a table; run: sereno install {name} --admin DSN"
        stranger = min(owners - known, default=min(owners))
        cure = join_cure(self._target, min(known), stranger)
        return f"it belongs to {quote_identifier(stranger)}, outside the trust domain: {cure}"

    def _open(self, login: Login) -> Session:
        read_only = self._coordinator is None or self._job.read_only
        worker = self._stack.enter_context(
            self._sessions.open(self._task.database, self._job, login, read_only=read_only)
        )
        self._sessions_open += 1
        if self._coordinator is None:
            self._sessions.verify_server(worker, remember=False)
        else:
            self._require_same_server(worker, self._coordinator)
            if self._job.fence is advisory_locks.coordinator_lock:
                advisory_locks.take_worker_lock(worker)
            # otherwise another process took over before this worker registered
            advisory_locks.verify_coordinator_lock(self._coordinator)
            self._require_trusted(worker)
        return worker

    def _require_same_server(self, worker: Session, coordinator: Session) -> None:
        """Raise UnreachableError, so that the run is tried again, after a failover in between."""
        if server_in(worker) != server_in(coordinator):
            name = self._task.database
            raise UnreachableError(f"{name}: another server answers than at the start of the run")

    def _require_trusted(self, worker: Session) -> None:
        """Raise TargetError if a job that deletes may not work in this database."""
        if self._job.deletes and worker.login.kind != "data":
            instance = self._context.store.instance()
            if refused := delete_permission.distrust_reason(worker, instance):
                raise TargetError(f"{self._job.name} refused: {refused}")


def _without(domains: Sequence[DomainSession], wrong: str) -> DomainSession:
    """Return no domain, with the reason."""
    login = domains[0].login if domains else MAINTAIN
    return DomainSession(login, None, TrustDomain(wrong=wrong))
