"""The maintenance jobs, one module each."""

DISTRIBUTION = "sereno"
