"""The findings about servers that do not answer: one alert for all databases of a server. Pure."""

from alerts.policy import Policy
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import DATABASE_MISSING, DATABASE_UNREACHABLE, SERVER_UNREACHABLE
from domain.place import SEPARATOR
from domain.units import some_of
from jobs.job import Verdict
from postgres.session import TargetError

MOST_LISTED = 200


def judge_reached(policy: Policy, database: str) -> Verdict:
    """Return the coverage of a database that has answered, and of its server."""
    coverage = [Coverage(DATABASE_UNREACHABLE.name, database)]
    address = policy.servers.get(database)
    if address is not None:
        coverage.append(Coverage(SERVER_UNREACHABLE.name, "", address))
    return Verdict(coverage=tuple(coverage))


def judge_missing(policy: Policy, database: str, reason: str) -> Verdict:
    """Return the finding that a database of a group is not there."""
    identity = Identity(DATABASE_MISSING.name, policy.instance, database=database)
    remedy = "nothing if that is meant; else restore the database"
    return Verdict((Finding(identity, Severity.WARNING, reason, remedy=remedy),))


def judge_unreachable(policy: Policy, database: str, error: TargetError) -> Verdict:
    """Return the finding that a database does not answer, or the server that it shares.

    One of a group that does not exist any more is missing: its server answers.
    """
    servers, reason = policy.servers, str(error)
    if error.lacks_database and SEPARATOR in database:
        return judge_missing(policy, database, "it does not exist any more")
    remedy = f"correct what the message names; sereno check --database {database} tries again"
    address = servers.get(database) if error.of_server else None
    if address is None:
        identity = Identity(DATABASE_UNREACHABLE.name, policy.instance, database=database)
        return Verdict((Finding(identity, Severity.CRITICAL, reason, remedy=remedy),))
    names = [name for name, one in servers.items() if one == address]
    identity = Identity(SERVER_UNREACHABLE.name, policy.instance, object=address)
    summary = f"{reason.removeprefix(f'{database}: ')}; its databases: {some_of(names)}"
    evidence = {"databases": names[:MOST_LISTED]}
    found = Finding(identity, Severity.CRITICAL, summary, remedy=remedy, evidence=evidence)
    return Verdict((found,))
