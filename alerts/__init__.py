"""Alerts: their lifecycle, the outbox, and delivery to channels."""

DISTRIBUTION = "sereno"
