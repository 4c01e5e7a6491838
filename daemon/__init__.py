"""The head: when, and in what order."""
