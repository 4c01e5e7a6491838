"""The findings about servers that do not answer: one alert for all databases of a server. Pure."""

from daemon.config.model import Config
from daemon.config.servers import shared_servers
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import DATABASE_UNREACHABLE, SERVER_UNREACHABLE
from jobs.job import Verdict
from postgres.session import TargetError

MOST_NAMED = 5
MOST_LISTED = 200


def judge_reached(config: Config, database: str) -> Verdict:
    """Return the coverage of a database that has answered, and of its server."""
    coverage = [Coverage(DATABASE_UNREACHABLE.name, database)]
    address = shared_servers(config).get(database)
    if address is not None:
        coverage.append(Coverage(SERVER_UNREACHABLE.name, "", address))
    return Verdict(coverage=tuple(coverage))


def judge_unreachable(config: Config, database: str, error: TargetError) -> Verdict:
    """Return the finding that a database does not answer, or the server that it shares."""
    servers, reason = shared_servers(config), str(error)
    remedy = f"correct what the message names; sereno check --database {database} tries again"
    address = servers.get(database) if error.of_server else None
    if address is None:
        identity = Identity(DATABASE_UNREACHABLE.name, config.daemon.name, database=database)
        return Verdict((Finding(identity, Severity.CRITICAL, reason, remedy=remedy),))
    names = [name for name, one in servers.items() if one == address]
    identity = Identity(SERVER_UNREACHABLE.name, config.daemon.name, object=address)
    summary = f"{reason.removeprefix(f'{database}: ')}; its databases: {some_of(names)}"
    evidence = {"databases": names[:MOST_LISTED]}
    found = Finding(identity, Severity.CRITICAL, summary, remedy=remedy, evidence=evidence)
    return Verdict((found,))


def some_of(names: list[str]) -> str:
    """Return some of the names as text, and how many more there are."""
    if len(names) <= MOST_NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
