"""`sereno run`: the service."""

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

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
    from collections.abc import Callable

    from daemon.config.model import Config
    from daemon.context import Context

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
LAST_GOOD = "config.last-good.toml"
"""Kept beside the state file for `alerts service-failed`, in case the configuration is broken."""


def run(
    worker: Annotated[
        bool,
        typer.Option(
            "--worker", help="Work with other machines that have the same state in a database."
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Name of this worker; default its host.",
            show_default=False,
            metavar="NAME",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run the service until SIGTERM; SIGHUP reloads the configuration.

    With --worker on several machines, one of them leads, and all of them work.
    """
    from daemon.bootstrap import build_context
    from daemon.monitoring.log import set_up
    from daemon.process_signals import hold_signals

    _check_name(name, worker=worker)
    set_up(sys.stdout)
    path = config_path(config)
    hold_signals()
    with _failures():
        context = build_context(_loaded(path, worker=worker))
        _keep_last_good(path, context)
        read_again = partial(_reload, path, context)
        if worker:
            _work(context, name or socket.gethostname(), read_again)
        else:
            _serve(context, read_again)
        sys.stdout.flush()
        os._exit(Exit.FINE)  # exit would wait for a thread that is opening a connection


@contextmanager
def _failures() -> Iterator[None]:
    """End with a sentence if the service cannot run."""
    from store.file_lock import LockHeldError
    from store.store import StoreError

    try:
        yield
    except LockHeldError as error:
        _end(f"another sereno owns the state: {error}", Exit.BUSY)
    except (StoreError, OSError) as error:
        _end(plain_error(error), Exit.CANNOT)


def _loaded(path: Path, *, worker: bool) -> "Config":
    try:
        loaded = load_configuration(path)
    except typer.Exit as ended:
        sentence = f"the configuration {path} is not valid (sereno config check)"
        _end(sentence, Exit(ended.exit_code))
    if worker and isinstance(loaded.daemon.state, Path):
        cure = 'daemon.state = "postgresql://HOST/NAME"'
        _end(f"--worker: several machines need their state in a database: {cure}", Exit.CONFIG)
    return loaded


def _check_name(name: str | None, *, worker: bool) -> None:
    if name is not None and not worker:
        fail("--as is the name of a worker: it needs --worker", Exit.CANNOT)
    if name is not None and not _NAME.fullmatch(name):
        allowed = "letters, digits, and . _ - (at most 63)"
        fail(f"--as: {name!r} is not a name of {allowed}", Exit.CANNOT)


def _serve(context: "Context", read_again: "Callable[[], Context]") -> None:
    """Be the service until SIGTERM."""
    from daemon.bootstrap import renewed
    from daemon.service import Service

    _refuse_beside_workers(context)
    Service(context, read_again, renewed).run()


def _work(context: "Context", name: str, read_again: "Callable[[], Context]") -> None:
    """Be a worker until SIGTERM."""
    from daemon.bootstrap import renewed

    try:
        from daemon.fleet.member import Member, NameTakenError
    except ModuleNotFoundError as error:
        _end(f"--worker needs {error.name}: pip install 'sereno[fleet]'", Exit.CANNOT)
    try:
        Member(context, name, read_again, renewed).run()
    except NameTakenError as error:
        _end(str(error), Exit.BUSY)


def _refuse_beside_workers(context: "Context") -> None:
    """Exit if workers share the state: this process would do all the work by itself."""
    from daemon.history import fleet

    with context.store.reading() as transaction:
        workers = fleet.load_workers(transaction)
    now, stalled_after = context.clock(), context.config.fleet.stalled_after
    names = [one.name for one in workers if one.is_up(now, stalled_after)]
    if names:
        cure = "run this one as a worker too (sereno run --worker), or stop them"
        _end(f"workers share this state ({', '.join(names)}): {cure}", Exit.BUSY)


def _end(sentence: str, code: Exit) -> NoReturn:
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
        for key in ("worker_at_once", "stalled_after"):
            if getattr(config.fleet, key) != getattr(before.config.fleet, key):
                raise ReloadError(f"fleet.{key} cannot change while the service runs; restart it")
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
