"""Shows a reading transaction the rows of some databases only."""

from collections.abc import Collection

from store.store import Transaction

_TABLES = (
    "last_end",
    "last_measure",
    "measure",
    "migration_state",
    "object_memory",
    "run",
    "target",
)
_CHOSEN = (
    "CREATE TEMP TABLE chosen_database (name TEXT PRIMARY KEY)",
    "CREATE TEMP TABLE chosen_address (name TEXT PRIMARY KEY)",
)
_CHOOSE = "INSERT INTO chosen_database (name) VALUES (?)"
_ADDRESS = "INSERT INTO chosen_address (name) VALUES (?)"
_VIEW = """
    CREATE TEMP VIEW {name} AS
    SELECT * FROM {main}.{name} WHERE database IN (SELECT name FROM chosen_database)
"""
_ALERTS = """
    CREATE TEMP VIEW alert AS SELECT * FROM {main}.alert
    WHERE database IN (SELECT name FROM chosen_database)
       OR (database = '' AND cluster IN (
             SELECT system_identifier FROM {main}.target
             WHERE database IN (SELECT name FROM chosen_database)))
       OR (kind = 'server_unreachable' AND object IN (SELECT name FROM chosen_address))
       OR (kind IN ('not_installed', 'group_empty')
           AND object IN (SELECT name FROM chosen_database))
"""
_EVENTS = """
    CREATE TEMP VIEW event AS
    SELECT * FROM {main}.event WHERE alert IN (SELECT id FROM {temporary}.alert)
"""


def show_only(
    transaction: Transaction, databases: Collection[str], addresses: Collection[str]
) -> None:
    """Hide the rows of other databases from the following queries of a transaction.

    The alerts of whole servers stay where a chosen database is on the server; those of a group
    where its name is among the databases. `addresses` are those of the chosen databases. Temporary
    views stand before the tables, for this connection.
    """
    for statement in _CHOSEN:
        transaction.execute(statement)
    for statement, names in ((_CHOOSE, databases), (_ADDRESS, addresses)):
        transaction.execute_many(statement, [(name,) for name in sorted(set(names))])
    places = {"main": transaction.main, "temporary": transaction.temporary}
    for table in _TABLES:
        transaction.execute(_VIEW.format(name=table, **places))
    transaction.execute(_ALERTS.format(**places))
    transaction.execute(_EVENTS.format(**places))
