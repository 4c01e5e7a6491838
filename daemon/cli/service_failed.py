"""What is told when the service itself has died.

Without it, and if need be without its state file or configuration.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli.options import config_path
from daemon.cli.run import LAST_GOOD

if TYPE_CHECKING:
    from daemon.config.model import Config
    from domain.finding import Finding

STATE_FOLDER = "/var/lib/sereno"
SECONDS = 45.0


def report_service_failure(
    path: Path | None, unit: str, environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Tell it on every channel of what is critical; yield each with what came of it.

    ConfigError: none is known.
    """
    from daemon.service import FAILED
    from domain.finding import Finding, Identity, Severity
    from store.store import StoreError

    config = _configuration(path, environment)
    result = environment.get("MONITOR_SERVICE_RESULT", "failed")
    code = environment.get("MONITOR_EXIT_STATUS", "")
    summary = f"{unit} has died and is not started again ({result}{f', exit status {code}' if code else ''})"
    identity = Identity(FAILED, config.daemon.name, object=unit)
    remedy = f"systemctl status {unit}; journalctl -u {unit}; sereno config check"
    finding = Finding(identity, Severity.CRITICAL, summary, remedy=remedy)
    try:
        yield from _by_outbox(config, finding)
    except StoreError as error:
        yield from _straight(
            config, replace(finding, summary=f"{summary}; nor can its state file be used: {error}")
        )


def _configuration(path: Path | None, environment: Mapping[str, str]) -> "Config":
    """Return the configuration, or the last that was good.

    A broken one may be what the service died of.
    """
    from daemon.config.load import ConfigError

    try:
        return _without_checks(config_path(path))
    except ConfigError as error:
        kept = Path(environment.get("STATE_DIRECTORY", STATE_FOLDER)) / LAST_GOOD
        try:
            return _without_checks(kept)
        except ConfigError:
            nor = f"nor is there one that was good before: {kept} (STATE_DIRECTORY says where)"
            raise ConfigError(error.path, [*error.problems, nor]) from None


def _without_checks(path: Path) -> "Config":
    """Read a configuration but for its checks.

    A bad file among them may be what the service died of.
    """
    import tomllib

    from daemon.config.load import ConfigError, parse
    from daemon.registry import JOB_NAMES

    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(path, [str(error)]) from None
    values.pop("checks", None)
    if isinstance(values.get("daemon"), dict):
        values["daemon"]["checks"] = os.devnull
    if isinstance(values.get("jobs"), dict):
        values["jobs"].pop("integrity_check", None)
    return parse(path, values, JOB_NAMES)


def _by_outbox(config: "Config", finding: "Finding") -> Iterator[tuple[str, str]]:
    """The usual way: an alert, that the next start of the service ends."""
    from alerts import alert_store, outbox
    from daemon.alerting import process_findings
    from daemon.bootstrap import build_context
    from daemon.cli.now_session import deliver_pending

    context = build_context(config)
    owed = process_findings(context, [finding])
    with context.store.reading() as transaction:
        known = alert_store.load_affected(transaction, [finding.identity.fingerprint()], []).alerts
    quiet = known[0].suppressed_by if known else ""
    if not owed:
        yield from (
            (name, f"not told: {quiet}" if quiet else "told before")
            for name in config.routes.critical
        )
    deliver_pending(context, SECONDS)
    for number in owed:
        with context.store.reading() as transaction:
            state, _, error, channel = outbox.load_state(transaction, number)
        yield (
            channel,
            "told" if state == "sent" else f"{state}: {error or 'the service that runs has it'}",
        )


def _straight(config: "Config", finding: "Finding") -> Iterator[tuple[str, str]]:
    """Without an outbox: each channel once, and no memory of it."""
    import uuid

    from alerts.alert import Notification
    from alerts.channels.channel import DeliveryError, Sender
    from alerts.channels.registry import build
    from alerts.courier import now
    from alerts.lifecycle import AlertState, decide
    from alerts.message import compose
    from alerts.policy import Policy

    moment, instance = now(), config.daemon.name
    (change,) = decide(
        [finding], (), AlertState(()), Policy({finding.severity: config.routes.critical}), moment
    )
    message = compose(change, instance, moment)
    for channel in change.channels:
        try:
            notification = Notification(uuid.uuid4().hex, channel, message, moment, attempts=1)
            build(config.channels[channel], Sender(instance)).deliver(notification)
        except DeliveryError as error:
            yield channel, f"not told: {error}"
        else:
            yield channel, "told"
