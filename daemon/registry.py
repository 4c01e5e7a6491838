"""Every job by name: those of the package `jobs`, two of the service's own store, and `migrate`.

No schedule may name `migrate`.
"""

from collections.abc import Mapping

from daemon import self_cleanup
from daemon.config.model import Config
from daemon.report import health_report
from jobs.job import Job
from jobs.registry import JOBS
from migrations import migrate
from store.store import Store

JOB_NAMES = (*JOBS, self_cleanup.NAME, health_report.NAME)


def build_jobs(config: Config, store: Store) -> Mapping[str, Job]:
    """Return every job; the service's own are bound to its configuration and its store."""
    own = (self_cleanup.job(config, store), health_report.job(config, store))
    return JOBS | {job.name: job for job in (*own, migrate.JOB)}
