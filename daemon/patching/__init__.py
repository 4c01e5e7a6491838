"""Minor upgrades of PostgreSQL's packages: a unit of root's, and what the service says to it."""
