"""`sereno run`: the service."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from daemon.cli.options import (
    ConfigOption,
    config_path,
    fail,
    load_configuration,
    plain_error,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.context import Context

LAST_GOOD = "config.last-good.toml"
"""Kept beside the state file for `alerts service-failed`, in case the configuration is broken."""


def run(config: ConfigOption = None) -> None:
    """Run the service until SIGTERM; SIGHUP reloads the configuration."""
    from daemon.bootstrap import build_context, renewed
    from daemon.monitoring.log import set_up
    from daemon.service import Service, hold_signals
    from store.file_lock import LockHeldError
    from store.store import StoreError

    set_up(sys.stdout)
    path = config_path(config)
    hold_signals()
    try:
        context = build_context(load_configuration(path))
        _keep_last_good(path, context)
        Service(context, lambda: _reload(path, context), renewed).run()
        sys.stdout.flush()
        os._exit(Exit.FINE)  # exit would wait for a thread that is opening a connection
    except LockHeldError as error:
        _end(f"another sereno owns the state: {error}", Exit.BUSY)
    except (StoreError, OSError) as error:
        _end(plain_error(error), Exit.CANNOT)
    except typer.Exit as ended:
        if ended.exit_code:
            sentence = f"the configuration {path} is not valid (sereno config check)"
            _end(sentence, Exit(ended.exit_code))
        raise


def _end(sentence: str, code: Exit) -> None:
    """Report why the service cannot run to systemd, to the journal and on standard error."""
    import structlog

    from daemon.monitoring.sd_notify import notify

    notify(f"STATUS={sentence}")
    log = structlog.get_logger("service")
    log.critical("service.start_failed", error=sentence, exit=int(code))
    fail(sentence, code)


def _reload(path: Path, before: "Context") -> "Context":
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
        _keep_last_good(path, context)
    except (ConfigError, StoreError, OSError) as error:
        raise ReloadError(str(error)) from None
    return context


def _keep_last_good(path: Path, context: "Context") -> None:
    """Copy the valid configuration for `alerts service-failed`; a failure is only logged."""
    import structlog

    folder = os.environ.get("STATE_DIRECTORY") or context.config.daemon.local_folder
    kept = Path(folder) / LAST_GOOD
    fresh = kept.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        fresh.touch(mode=0o600, exist_ok=False)
        fresh.write_bytes(path.read_bytes())
        fresh.replace(kept)
    except OSError as error:
        log = structlog.get_logger("service")
        log.warning("configuration.copy_failed", path=str(kept), reason=error.strerror)
