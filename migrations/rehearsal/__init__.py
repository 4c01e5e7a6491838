"""The rehearsal of a migration on a copy of the schema."""
