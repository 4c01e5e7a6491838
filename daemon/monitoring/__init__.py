"""Metrics, health, logs, systemd notifications and the self-check."""
