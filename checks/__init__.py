"""Checks: read-only questions to a server about its problems."""

DISTRIBUTION = "sereno"
