"""Why a partition leaves as a whole, in words."""

from datetime import timedelta

from daemon.config.values import in_words
from postgres.partitions import Partition


def partition_why(part: Partition, age: timedelta) -> str:
    """Say what it is a partition of, how old its rows are, how many leave, and what that frees."""
    begun = "was begun with; " if part.record is not None else ""
    size = f"about {part.rows} rows, {part.bytes} bytes"
    return f"{begun}partition of {part.expired.table}: all of it is older than {in_words(age)}; {size}"
