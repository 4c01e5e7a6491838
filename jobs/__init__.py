"""What to do: one module a job."""
