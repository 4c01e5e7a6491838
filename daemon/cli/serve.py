"""`sereno run`."""

import sys

from daemon.cli.options import ConfigOption, configuration, fail
from daemon.exit import Exit


def run(config: ConfigOption = None) -> None:
    """Run the service: fire each schedule at its time, deliver alerts, until SIGTERM."""
    from daemon.app import assemble
    from daemon.log import set_up
    from daemon.service import Service
    from store.lock import Locked
    from store.store import StoreError

    loaded = configuration(config)
    set_up(sys.stdout)
    try:
        Service(assemble(loaded)).run()
    except Locked as busy:
        fail(f"another sereno owns the state: {busy}", Exit.BUSY)
    except StoreError as error:
        fail(str(error), Exit.CANNOT)
