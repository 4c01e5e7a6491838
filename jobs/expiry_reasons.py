"""Reasons for the removal of rows and partitions: age, number and size."""

from datetime import timedelta

from domain.units import format_duration, format_size
from retention.expiring_table import ExpiringTable, describe_walk
from retention.partitions.expired import Partition


def rows_reason(source: ExpiringTable) -> str:
    """Return the number, size and age of the rows that leave, and how they are found."""
    if source.expired is None:
        return source.wrong
    counted = " (size unknown: never analyzed)"
    if source.bytes:
        counted = f", {format_size(source.bytes)}"
    much = f"about {source.expired.estimated_rows} rows{counted}"
    return (
        f"{much}, older than {format_duration(source.request.age)}; {describe_walk(source.expired)}"
    )


def partition_reason(part: Partition, age: timedelta) -> str:
    """Return the parent of a partition, its age, its rows, and the space it frees."""
    begun = ""
    if part.record is not None:
        begun = "already begun; "
    much = f"about {part.rows} rows, {format_size(part.bytes)}"
    return (
        f"{begun}partition of {part.expired.table}, entirely older than {format_duration(age)}; "
        f"{much}"
    )
