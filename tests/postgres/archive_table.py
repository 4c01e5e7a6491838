"""A table that is archived, and the contents of its archive."""

import json
import subprocess
from pathlib import Path

import pytest
import zstandard

TABLE = """
[[jobs.archive.tables]]
table = 'public.event'
column = "at"
older_than = "30 days"
to = "file://{}"
"""


@pytest.fixture
def event(house):
    house.database.run(
        "CREATE TABLE public.event (id bigint PRIMARY KEY, at timestamptz, note text)"
    )
    house.archive = house.folder / "archive"
    house.extra = TABLE.format(house.archive)
    house.install()
    return house


@pytest.fixture
def history(event):
    event.database.run("CREATE SCHEMA history")
    event.database.run(
        "CREATE TABLE history.event (note text, id bigint, at timestamptz, extra int DEFAULT 7)"
    )
    event.extra = TABLE.replace("file://{}", "table:history.event")
    event.install()
    return event


def fill(house, old, new=10):
    house.database.run(
        f"INSERT INTO public.event SELECT n, now() - interval '31 days' - n * interval '1 s', 'ä ' || n FROM generate_series(1, {old}) n"
    )
    house.database.run(
        f"INSERT INTO public.event SELECT -n, now() - n * interval '1 hour' FROM generate_series(1, {new}) n"
    )


def files(house):
    return sorted(house.archive.rglob("*.copy.zst"))


def archived_lines(house):
    """Return the lines of all archive files, read with the zstd command where it exists."""
    return b"".join(map(decompress, files(house))).splitlines()


def decompress(path):
    if Path("/usr/bin/zstd").exists():
        command = ["zstd", "-dcq", str(path)]
        return subprocess.run(command, check=True, capture_output=True).stdout
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return reader.read()


def ids(house):
    return sorted(int(line.split(b"\t")[0]) for line in archived_lines(house))


def manifest(house):
    (path,) = house.archive.rglob("*.manifest.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def refusal(house):
    (step,) = house.run("archive")["steps"]
    assert step["status"] == "failed", step
    assert "refused: " in step["reason"]
    return step["reason"]
