"""`sereno run`, and what is said when it has died."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from daemon.cli.options import ConfigOption, config_path, fail, load_configuration
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.context import Context

LAST_GOOD = "config.last-good.toml"
"""Beside the state file: what tells that the service has died may need it, if a broken configuration is why."""


def run(config: ConfigOption = None) -> None:
    """Run the service: fire each schedule at its time, deliver alerts, until SIGTERM.

    SIGHUP reads the file again.
    """
    from daemon.bootstrap import build_context
    from daemon.monitoring.log import set_up
    from daemon.service import Service
    from store.file_lock import LockHeldError
    from store.store import StoreError

    set_up(sys.stdout)
    path = config_path(config)
    try:
        context = build_context(load_configuration(path))
        _keep(path, context)
        Service(context, lambda: _read_again(path, context)).run()
        sys.stdout.flush()
        os._exit(Exit.FINE)  # a thread that is just opening a connection would be waited for
    except LockHeldError as busy:
        _end(f"another sereno owns the state: {busy}", Exit.BUSY)
    except (StoreError, OSError) as error:
        _end(str(error), Exit.CANNOT)
    except typer.Exit as ended:
        if ended.exit_code:
            _end(
                f"the configuration {path} is not valid (sereno config check)",
                Exit(ended.exit_code),
            )
        raise


def _end(sentence: str, code: Exit) -> None:
    """Say it wherever somebody may look.

    To systemd, in the journal at critical priority, on standard error.
    """
    import structlog

    from daemon.monitoring.sd_notify import notify

    notify(f"STATUS={sentence}")
    structlog.get_logger("service").critical("service.cannot", error=sentence, exit=int(code))
    fail(sentence, code)


def _read_again(path: Path, before: "Context") -> "Context":
    from daemon.bootstrap import build_context
    from daemon.config.load import ConfigError, load_config
    from daemon.registry import JOB_NAMES
    from daemon.service import ReloadError
    from store.store import StoreError

    try:
        config = load_config(path, JOB_NAMES)
        for name in ("state", "name"):
            if getattr(config.daemon, name) != getattr(before.config.daemon, name):
                raise ReloadError(f"daemon.{name} cannot change while the service runs; restart it")
        context = build_context(config)
        _keep(path, context)
    except (ConfigError, StoreError, OSError) as error:
        raise ReloadError(str(error)) from None
    return context


def _keep(path: Path, context: "Context") -> None:
    """Set aside the configuration that was good, where `alerts service-failed` looks for it.

    A copy is not vital.
    """
    import structlog

    kept = Path(os.environ.get("STATE_DIRECTORY") or context.config.daemon.state.parent) / LAST_GOOD
    fresh = kept.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600, exist_ok=False)
        fresh.write_bytes(path.read_bytes())
        fresh.replace(kept)
    except OSError as error:
        structlog.get_logger("service").warning(
            "configuration.not_kept", path=str(kept), reason=error.strerror
        )
