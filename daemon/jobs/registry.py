"""Every job there is."""

from daemon.jobs import analyze, disk_check, integrity_check, log_cleanup
from daemon.jobs.job import Job

JOBS: dict[str, Job] = {job.name: job for job in (log_cleanup.JOB, analyze.JOB, disk_check.JOB, integrity_check.JOB)}
