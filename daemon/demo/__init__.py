"""A sample cooperative with planted faults, and one night in it."""
