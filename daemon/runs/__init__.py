"""Execution and recording of runs."""
