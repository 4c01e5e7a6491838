"""The memory: the state file, and nothing of what is kept in it."""
