"""The configuration: TOML parsed into frozen models."""
