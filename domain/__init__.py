"""Shared vocabulary; imports no other package of sereno."""

DISTRIBUTION = "sereno"
