"""Why rows and partitions leave, in words: how old, how many, how large."""

from datetime import timedelta

from domain.units import format_duration, format_size
from retention.expiring_table import Source, walked
from retention.partitions.expired import Partition


def rows_why(source: Source) -> str:
    """Say how many rows leave, how large they are, how old, and how they are found."""
    if source.expired is None:
        return source.wrong
    counted = f", {format_size(source.bytes)}" if source.bytes else " (not analyzed yet: how large is not known)"
    much = f"about {source.expired.estimate} rows{counted}"
    return f"{much}, are older than {format_duration(source.wish.age)}; {walked(source.expired)}"


def partition_why(part: Partition, age: timedelta) -> str:
    """Say what it is a partition of, how old its rows are, how many leave, and what that frees."""
    begun = "was begun with; " if part.record is not None else ""
    much = f"about {part.rows} rows, {format_size(part.bytes)}"
    return f"{begun}partition of {part.expired.table}: all of it is older than {format_duration(age)}; {much}"
