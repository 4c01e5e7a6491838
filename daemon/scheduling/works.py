"""The works of tasks: their place, server, sessions and priority; and the limits for them."""

from collections.abc import Sequence

from daemon.config.servers import address_of, addresses, server_keys, session_limits
from daemon.context import Context
from daemon.history import statistics
from daemon.runs.lanes import sessions_of
from daemon.scheduling.admission import Limits, Work
from domain.task import Scope, Task


def read_limits(context: Context) -> Limits:
    """Return the limits of the configuration, for the servers as they are known.

    Raises StoreError.
    """
    with context.store.reading() as transaction:
        servers = server_keys(context.config, statistics.load_clusters(transaction))
    known = addresses(context.config)
    keys = {known[name]: key for name, key in servers.items()}
    return Limits(context.config.daemon.at_once, session_limits(context.config, servers), keys)


def work_of(context: Context, tasks: Sequence[Task]) -> Work:
    """Return the work of tasks in one place: as many sessions as the widest of them has."""
    first, config = tasks[0], context.config
    if first.scope is not Scope.DATABASE:
        return Work(first.place)
    name = first.database
    sessions = max(sessions_of(config, context.jobs[task.job], name) for task in tasks)
    database = config.databases[name]
    return Work(first.place, address_of(database.dsn), sessions, database.priority)
