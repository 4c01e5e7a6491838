"""Data that leaves a database or a host: rows, partitions, files, archives."""

DISTRIBUTION = "sereno"
