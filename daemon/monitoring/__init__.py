"""Metrics, health, logs, and supervision of the service's own threads."""
