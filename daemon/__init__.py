"""The process: service, scheduling, runs, history, monitoring, configuration and command line."""

DISTRIBUTION = "sereno"
