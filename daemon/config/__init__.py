"""What the operator wishes: TOML in, frozen models out."""
