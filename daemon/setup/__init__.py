"""The first set-up: from what a server holds to a proposed configuration."""
