"""Why rows and partitions leave, in words: how old, how many, how large."""

from datetime import timedelta

from archive.source import Source, walked
from daemon.config.values import in_words
from daemon.report.words import size
from postgres.partitions import Partition


def rows_why(source: Source) -> str:
    """Say how many rows leave, how large they are, how old, and how they are found."""
    if source.expired is None:
        return source.wrong
    counted = f", {size(source.bytes)}" if source.bytes else " (not analyzed yet: how large is not known)"
    much = f"about {source.expired.estimate} rows{counted}"
    return f"{much}, are older than {in_words(source.wish.age)}; {walked(source.expired)}"


def partition_why(part: Partition, age: timedelta) -> str:
    """Say what it is a partition of, how old its rows are, how many leave, and what that frees."""
    begun = "was begun with; " if part.record is not None else ""
    much = f"about {part.rows} rows, {size(part.bytes)}"
    return f"{begun}partition of {part.expired.table}: all of it is older than {in_words(age)}; {much}"
