"""The demo: a sample cooperative with planted faults, maintained for one night and one week."""
