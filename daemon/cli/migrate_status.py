"""The state of migrations as people read it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon.context import Context
    from daemon.migrating.views import Listed


def print_status(context: "Context", found: "Sequence[Listed]") -> None:
    """Print state, reason and next command of each migration."""
    from daemon.cli.output import line, local_minute, prose

    zone = context.config.daemon.timezone
    for one in found:
        since = f" since {local_minute(one.since, zone)}" if one.since else ""
        line(f"{one.id} in {one.database}: {one.state.value}{since}")
        if one.phase:
            line(f"complete: {one.phase}", indent=2)
        for text in (one.reason, one.problem):
            if text:
                prose(text, indent=2)
        prose(f"next: {one.next}", indent=2)
