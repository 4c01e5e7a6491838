"""The check that the state file is the one that was opened, and can be written."""

from datetime import datetime

from store.store import Store, StoreError, Transaction, schema_version
from store.timestamps import from_text, to_text

_COUNT = "SELECT value FROM instance WHERE name = 'checks'"
_SAVE = (
    "INSERT INTO instance (name, value) VALUES ('checks', ?), ('checked_at', ?)"
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_CHECKED_AT = "SELECT value FROM instance WHERE name = 'checked_at'"


def checked_at(transaction: Transaction) -> datetime | None:
    """Return the time of the service's last successful check; None before the first."""
    row = transaction.row(_CHECKED_AT)
    return from_text(row["value"]) if row else None


class StateCheck:
    """Counts its checks in the file and in memory: an older copy of the file has a lower count."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._instance = store.instance()
        self._count = 0

    def verify(self, now: datetime) -> None:
        """Write the next count durably. Raises StoreError with the reason."""
        name = self._store.name
        self._store.confirm_owned()
        self._store.reopen()
        with self._store.transaction() as transaction:
            version = transaction.version()
            known = schema_version()
            if version != known:
                raise StoreError(f"{name}: its schema is {version}, not {known}: another file")
            row = transaction.row("SELECT value FROM instance WHERE name = 'id'")
            if row is None or row["value"] != self._instance:
                raise StoreError(f"{name}: the state of another instance was put in its place")
            found = transaction.row(_COUNT)
            count = int(found["value"]) if found else 0
            if count < self._count:
                raise StoreError(
                    f"{name}: an older copy was put in its place; restart sereno to go on with it"
                )
            transaction.execute(_SAVE, (str(count + 1), to_text(now)))
        self._count = count + 1
