"""`sereno alerts service-failed`: alerts that the service has failed, for systemd's OnFailure=.

It works without the service, and if need be without its state file or a valid configuration.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, config_path, fail
from daemon.cli.run import LAST_GOOD
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.config.model import Config
    from domain.finding import Finding

STATE_FOLDER = "/var/lib/sereno"
DELIVERY_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one channel."""

    channel: str
    notified: bool
    text: str


def service_failed(
    unit: Annotated[str, typer.Option("--unit", help="The unit that failed.")] = "sereno.service",
    config: ConfigOption = None,
) -> None:
    """Alert that the service has failed (for OnFailure=)."""
    import structlog

    from daemon.config.load import ConfigError
    from daemon.monitoring.log import set_up

    set_up(sys.stderr, quiet=True)
    log = structlog.get_logger("service")
    try:
        results = list(report_service_failure(config, unit, os.environ))
    except ConfigError as error:
        log.critical("alert.not_delivered", unit=unit, reason=str(error))
        fail(f"{unit} has failed, and nobody can be notified: {error}", Exit.CONFIG)
    for result in results:
        typer.echo(f"{result.channel}: {result.text}")
    if not any(result.notified for result in results):
        channels = {result.channel: result.text for result in results}
        log.critical("alert.not_delivered", unit=unit, channels=channels)
        raise typer.Exit(Exit.FOUND)


def report_service_failure(
    path: Path | None, unit: str, environment: Mapping[str, str]
) -> Iterator[Result]:
    """Notify every channel of critical alerts; yield the results. Raises ConfigError."""
    from domain.finding import Finding, Identity, Severity
    from domain.kinds import SERVICE_FAILED
    from store.store import StoreError

    config = _configuration(path, environment)
    result = environment.get("MONITOR_SERVICE_RESULT", "failed")
    code = environment.get("MONITOR_EXIT_STATUS", "")
    status = ""
    if code:
        status = f", exit status {code}"
    summary = f"{unit} has failed and is not restarted ({result}{status})"
    identity = Identity(SERVICE_FAILED.name, config.daemon.name, object=unit)
    remedy = f"systemctl status {unit}; journalctl -u {unit}; sereno config check"
    finding = Finding(identity, Severity.CRITICAL, summary, remedy=remedy)
    try:
        yield from _by_outbox(config, finding)
    except StoreError as error:
        summary = f"{summary}; its state file is unusable as well: {error}"
        yield from _without_outbox(config, replace(finding, summary=summary))


def _configuration(path: Path | None, environment: Mapping[str, str]) -> "Config":
    """Return the configuration, or the last valid one: a broken one may have ended the service."""
    from daemon.config.load import ConfigError

    try:
        return _without_checks(config_path(path))
    except ConfigError as error:
        kept = Path(environment.get("STATE_DIRECTORY", STATE_FOLDER)) / LAST_GOOD
        try:
            return _without_checks(kept)
        except ConfigError:
            missing = f"and there is no last valid one: {kept} (STATE_DIRECTORY)"
            raise ConfigError(error.path, [*error.problems, missing]) from None


def _without_checks(path: Path) -> "Config":
    """Load a configuration without checks and alert rules, which may have ended the service."""
    import tomllib

    from daemon.config.load import ConfigError, parse
    from daemon.registry import JOB_NAMES

    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(path, [str(error)]) from None
    values.pop("alerts", None)  # only the channels and [routes] are needed
    return parse(path, values, JOB_NAMES, with_checks=False)


def _by_outbox(config: "Config", finding: "Finding") -> Iterator[Result]:
    """Open an alert, which the next start of the service resolves, and deliver it."""
    from alerts import alert_store, outbox
    from daemon.bootstrap import build_context
    from daemon.cli.delivery import deliver_pending

    context = build_context(config, with_checks=False)
    enqueued = context.process_findings([finding])
    with context.store.reading() as transaction:
        known = alert_store.load_affected(transaction, [finding.identity.fingerprint()], [])
    suppressed_by = ""
    if known.alerts:
        suppressed_by = known.alerts[0].suppressed_by
    if not enqueued:
        text = "notified before"
        if suppressed_by:
            text = f"not notified: {suppressed_by}"
        for name in config.routes.critical:
            yield Result(name, not suppressed_by, text)
    deliver_pending(context, DELIVERY_SECONDS)
    for number in enqueued:
        with context.store.reading() as transaction:
            state, _, error, channel = outbox.load_state(transaction, number)
        if state == "sent":
            yield Result(channel, True, "notified")
        else:
            yield Result(channel, False, f"{state}: {error or 'left to the running service'}")


def _without_outbox(config: "Config", finding: "Finding") -> Iterator[Result]:
    """Send to each channel once, recording nothing."""
    import uuid

    from alerts.alert import Notification
    from alerts.channels.channel import DeliveryError, Sender
    from alerts.channels.registry import build
    from alerts.courier import now
    from alerts.policy import Policy
    from daemon.unrecorded_alerts import unrecorded_messages

    moment, instance = now(), config.daemon.name
    routes = {finding.severity: config.routes.critical}
    policy = Policy(routes, instance=instance, timezone=config.daemon.timezone)
    for channel, message in unrecorded_messages(finding, policy, moment):
        notification = Notification(uuid.uuid4().hex, channel, message, moment, attempts=1)
        try:
            build(config.channels[channel], Sender(instance)).deliver(notification)
        except DeliveryError as error:
            yield Result(channel, False, f"not notified: {error}")
        else:
            yield Result(channel, True, "notified")
