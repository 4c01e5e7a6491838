"""Every job there is."""

from daemon.jobs import analyze, archive, disk_check, health_report, integrity_check, log_cleanup, vacuum
from daemon.jobs.job import Job

_JOBS = (log_cleanup.JOB, archive.JOB, analyze.JOB, disk_check.JOB, integrity_check.JOB, vacuum.JOB, health_report.JOB)

JOBS: dict[str, Job] = {job.name: job for job in _JOBS}
