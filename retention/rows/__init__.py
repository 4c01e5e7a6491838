"""Rows that leave a table by age, in batches."""
