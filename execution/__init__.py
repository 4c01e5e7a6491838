"""The engine that runs steps: window, governor, retries, outcomes."""
