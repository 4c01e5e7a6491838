"""The maintenance jobs, one module each."""
