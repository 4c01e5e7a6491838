"""The channels by their type in the configuration."""

from collections.abc import Callable
from typing import Any

from alerts.channels import alertmanager, command, email, jira, log, pagerduty, slack, webhook
from alerts.channels.channel import Channel, ChannelOptions, Sender

CHANNELS: dict[str, tuple[type[ChannelOptions], Callable[[Any, Sender], Channel]]] = {
    "slack": (slack.Options, slack.Slack),
    "email": (email.Options, email.Email),
    "webhook": (webhook.Options, webhook.Webhook),
    "jira": (jira.Options, jira.Jira),
    "pagerduty": (pagerduty.Options, pagerduty.PagerDuty),
    "alertmanager": (alertmanager.Options, alertmanager.Alertmanager),
    "command": (command.Options, command.Command),
    "log": (log.Options, log.Log),
}


def build(options: ChannelOptions, sender: Sender) -> Channel:
    """Return the channel for its options."""
    return CHANNELS[options.type][1](options, sender)
