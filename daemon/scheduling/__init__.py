"""When a job is due, and the dispatcher that starts due runs."""
