"""The number of sessions of a run, within the limit of its server."""

from daemon.config.model import Config, Database
from daemon.config.servers import session_limit
from daemon.runs.run_context import job_settings
from jobs.job import Job


def lanes_of(config: Config, job: Job) -> int:
    """Return how many sessions of each login a job wants side by side."""
    return job.lanes(config.job(job.name), job_settings(config))


def sessions_of(config: Config, job: Job, database: str) -> int:
    """Return the most sessions that a run of a job has in a database at once.

    One holds the locks; each login has one, and one of them the further lanes, as far as
    `databases.<name>.at_once` has room for more than one of each.
    """
    logins = _logins(config.databases[database], job)
    wanted = 1 + logins + lanes_of(config, job) - 1
    return max(1 + logins, min(wanted, session_limit(config, database)))


def _logins(database: Database, job: Job) -> int:
    """Return how many logins a job uses in a database; one without any configured login."""
    domains = database.domains.values()
    configured = {
        "maintain": [database.maintain],
        "data": [database.data, *(one.data for one in domains)],
        "owner": [database.owner, *(one.owner for one in domains)],
    }
    logins = [one for kind in job.logins for one in configured[kind] if one is not None]
    return max(1, len(logins))
