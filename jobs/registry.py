"""The jobs of this package by name."""

from jobs import (
    analyze,
    archive,
    corruption_check,
    disk_check,
    integrity_check,
    log_cleanup,
    security_patches,
    vacuum,
)
from jobs.job import Job

_JOBS = (
    log_cleanup.JOB,
    archive.JOB,
    analyze.JOB,
    disk_check.JOB,
    integrity_check.JOB,
    corruption_check.JOB,
    vacuum.JOB,
    security_patches.JOB,
)

JOBS: dict[str, Job] = {job.name: job for job in _JOBS}
