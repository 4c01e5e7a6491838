"""Checks: what is wrong in a server. They only read."""

DISTRIBUTION = "sereno"
