"""Guarded schema and data migrations: format, ledger, steps, checks, rehearsal and rollback."""

DISTRIBUTION = "sereno"
