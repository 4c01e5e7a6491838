"""The process: service, scheduling, runs, history, monitoring, configuration, report, command line."""

DISTRIBUTION = "sereno"
