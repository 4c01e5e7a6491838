"""The state database: its file, transactions and schema."""

DISTRIBUTION = "sereno"
