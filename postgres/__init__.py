"""Connections to PostgreSQL and the facts read from it."""

DISTRIBUTION = "sereno"
