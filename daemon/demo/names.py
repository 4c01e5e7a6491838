"""The names of the planted faults, importable without a driver for the help."""

NAMES = (
    "orphaned_payments",
    "foreign_tenant_user",
    "invalid_index",
    "violated_constraint",
    "exhausted_sequence",
    "unanalyzed_parent",
    "expired_rows",
    "dead_rows",
    "duplicate_index",
)
