"""The engine that runs steps: executor, run limits, governor, window."""

DISTRIBUTION = "sereno"
