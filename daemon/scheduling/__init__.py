"""Due times, and the dispatcher that starts due runs."""
