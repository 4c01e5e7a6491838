"""Which runs a list of jobs means, and which of them a due time still owes."""

from collections.abc import Iterator, Sequence

from daemon import history
from daemon.config.model import Config
from daemon.history import NOW, Trigger
from daemon.jobs.job import Errand, Scope
from daemon.jobs.registry import JOBS
from daemon.parts import Parts


def errands(config: Config, jobs: Sequence[str], trigger: Trigger = NOW, only: str | None = None) -> Iterator[Errand]:
    """Yield jobs in order, each wherever the configuration gives it work; `only` narrows the databases."""
    for job in (JOBS[name] for name in jobs):
        for scope in job.scopes:
            if not job.wanted(config, scope):
                continue
            if scope is not Scope.DATABASE:
                yield Errand(job, scope, "", trigger)
            else:
                yield from (Errand(job, scope, name, trigger) for name in config.databases if only in {None, name})


def owed(parts: Parts, jobs: Sequence[str], trigger: Trigger) -> list[Errand]:
    """Return, in order, what has not ended, or was interrupted."""
    with parts.store.reading() as transaction:
        return [
            errand for errand in errands(parts.config, jobs, trigger) if not history.accounted(transaction, errand.task)
        ]
