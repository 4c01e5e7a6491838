"""Minor upgrades of PostgreSQL's packages by a unit that runs as root, and the service's veto."""
