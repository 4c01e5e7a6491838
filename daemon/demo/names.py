"""The names of the planted faults, for the help: how they are planted needs a driver, this needs nothing."""

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
