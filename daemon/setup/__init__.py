"""The first set-up: from a survey of a server to a proposed configuration."""
