"""The endpoints of a running service: couriers, channels that listen, the HTTP server."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

import structlog

from alerts.channels.channel import Listening
from daemon.context import Context
from daemon.liveness import Watchdog
from daemon.migrating.carry_out import CarryOut
from daemon.monitoring.server import serve_metrics
from daemon.state_health import StateHealth
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from domain.kinds import METRICS_UNREACHABLE

if TYPE_CHECKING:
    from daemon.web.parts import Parts

COURIER_SECONDS = 300.0
"""A delivery has limits of its own; a slow mail server with many recipients takes minutes."""
FLUSH_SECONDS = 5.0

_log = structlog.get_logger("service")


class Endpoints:
    """Opened for one configuration; closed and opened again for another."""

    def __init__(
        self,
        carrier: CarryOut,
        watchdog: Watchdog,
        health: StateHealth,
        problem: Callable[[], str],
        *,
        delivers: bool = True,
    ) -> None:
        """`problem` returns why the service does not do its work; empty if it does.

        A worker that does not lead its fleet answers requests, but delivers nothing.
        """
        self._carrier, self._watchdog, self._delivers = carrier, watchdog, delivers
        self._health, self._problem = health, problem
        self._exits = ExitStack()
        self._context: Context
        self._parts: Parts | None = None

    def open(self, context: Context) -> None:
        """Start delivering notifications and answering requests. Raises StoreError."""
        self._context = context
        if self._delivers:
            self._deliver(context)
        listen = context.config.web.listen or context.config.daemon.listen
        findings = []
        if listen:
            try:
                self._exits.enter_context(self._served(listen))
            except OSError as error:
                findings = [_metrics_unreachable(context, listen, error)]
        if self._delivers:
            context.process_findings(findings, [Coverage(METRICS_UNREACHABLE.name)])

    def _deliver(self, context: Context) -> None:
        silence = threading.Event()
        couriers = context.courier(self._health.has_unrecorded_alerts).start(
            silence, lambda name: self._watchdog.beat(name, COURIER_SECONDS)
        )
        self._exits.callback(self._stop_couriers, context, silence, couriers)
        for channel in context.channels.values():
            ending = (
                channel.listen(context.acknowledge_from_channel)
                if isinstance(channel, Listening)
                else None
            )
            if ending is not None:
                self._exits.callback(ending)

    def use(self, context: Context) -> None:
        """Answer requests with other databases from now on; nothing is closed."""
        self._context = context
        if self._parts is not None:
            self._parts.context = context

    def close(self) -> None:
        """Close everything; deliveries in progress have some seconds."""
        self._exits.close()
        self._parts = None

    def _served(self, listen: str) -> AbstractContextManager[None]:
        """Return the server of an address: that of [web], or the small one."""
        if not self._context.config.web.listen:
            return serve_metrics(listen, lambda: self._context, self._problem)
        from daemon.web.app import build_app  # 20 MB of memory
        from daemon.web.http_server import serve
        from daemon.web.parts import Parts

        self._parts = Parts(self._context, self._carrier, self._problem)
        return serve(listen, build_app(self._parts))

    def _stop_couriers(
        self, context: Context, silence: threading.Event, couriers: Sequence[threading.Thread]
    ) -> None:
        silence.set()
        context.store.wakeup.ring()
        deadline = time.monotonic() + FLUSH_SECONDS
        for courier in couriers:
            courier.join(max(0.0, deadline - time.monotonic()))
            self._watchdog.end(courier.name)


def _metrics_unreachable(context: Context, listen: str, error: OSError) -> Finding:
    """Return the finding about a listen address in use; it stops no other work."""
    _log.error("metrics.failed", listen=listen, error=str(error))
    identity = Identity(METRICS_UNREACHABLE.name, context.config.daemon.name, object=listen)
    summary = f"no metrics on {listen}: {error.strerror or error}"
    key = "web.listen" if context.config.web.listen else "daemon.listen"
    remedy = f"free the address, or give another one in {key}; then restart sereno"
    return Finding(identity, Severity.WARNING, summary, remedy=remedy)
