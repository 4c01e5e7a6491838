"""Partitions that leave a table as a whole."""
