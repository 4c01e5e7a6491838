"""Recorded runs, steps, findings and measures."""
