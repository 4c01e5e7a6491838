"""The log as a channel: one line per message, at a level that matches its severity."""

from typing import Literal

import structlog

from alerts.alert import Notification, Receipt
from alerts.channels.channel import ChannelOptions, Sender
from alerts.wording import severity_wording


class Options(ChannelOptions):
    """The log has no options."""

    type: Literal["log"]


class Log:
    """Writes to the log; cannot fail."""

    def __init__(self, options: Options, _sender: Sender) -> None:
        self.traits = options.traits
        self._logger = structlog.get_logger("alerts")

    def deliver(self, notification: Notification) -> Receipt:
        """Write the line."""
        message = notification.message
        write = getattr(self._logger, severity_wording(message.severity).level)
        write(
            "alert.notified",
            notification=notification.id,
            reason=message.reason.value,
            severity=message.severity.value,
            title=message.title,
            summary=message.summary,
            remedy=message.remedy,
        )
        return Receipt("written to the log")
