"""The check `backup_age`: lists of the programs, files, age and size."""

import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.backup_age import (
    CHECK,
    Backup,
    backup_rows,
    of_barman,
    of_files,
    of_pgbackrest,
    of_wal_g,
)
from checks.check import NotSeen

NOW = 1_795_950_000.0
OPTIONS = {name: one.default for name, one in CHECK.header.options.items()}
HOUR = 3600.0

PGBACKREST = json.dumps([
    {"name": "main", "status": {"code": 0, "message": "ok"}, "backup": [
        {"error": False, "info": {"size": 22992546}, "label": "20261129-091238F",
         "timestamp": {"start": 1795943558, "stop": 1795943564}, "type": "full"},
        {"error": True, "info": {"size": 1}, "label": "broken",
         "timestamp": {"start": 1795943560, "stop": 1795943999}, "type": "full"},
        {"error": False, "info": {"size": 22992546}, "label": "20261129-091238F_20261129-091245I",
         "timestamp": {"start": 1795943565, "stop": 1795943566}, "type": "incr"}]},
    {"name": "other", "status": {"code": 0, "message": "ok"}, "backup": [
        {"error": False, "info": {"size": 5}, "label": "x", "timestamp": {"stop": 1795949999}, "type": "full"}]},
])  # fmt: skip
BARMAN = json.dumps({"main": [
    {"backup_id": "20261129T010203", "end_time_timestamp": "1795943564", "size_bytes": 1000, "status": "DONE"},
    {"backup_id": "20261129T020203", "status": "FAILED"},
]})  # fmt: skip
WAL_G = json.dumps([
    {"backup_name": "base_000000010000000000000004", "time": "2026-11-29T09:12:44Z",
     "finish_time": "2026-11-29T09:12:40Z", "compressed_size": 700, "uncompressed_size": 900},
    {"backup_name": "base_000000010000000000000006_D_000000010000000000000004", "time": "2026-11-29T10:12:44Z"},
])  # fmt: skip


def found(*backups, **options):
    rows = backup_rows(backups, OPTIONS | options, "here", NOW)
    return [(row["object"], row["severity"]) for row in rows]


def test_finished_backups_of_each_program_are_read():
    assert list(of_pgbackrest(PGBACKREST, "main")) == [
        Backup("20261129-091238F", 1795943564.0, 22992546),
        Backup("20261129-091238F_20261129-091245I", 1795943566.0, 22992546, is_full=False),
    ]
    assert list(of_barman(BARMAN, "main")) == [Backup("20261129T010203", 1795943564.0, 1000)]
    assert [(one.ended, one.size, one.is_full) for one in of_wal_g(WAL_G, "")] == [
        (1795943560.0, 700, True),
        (1795947164.0, None, False),
    ]
    assert list(of_wal_g("null", "")) == []


def test_young_backups_of_about_the_same_size_are_well():
    assert found(Backup("a", NOW - 40 * HOUR, 100), Backup("b", NOW - 16 * HOUR, 90)) == []


@pytest.mark.parametrize(
    ("backups", "expected"),
    [
        ([], [("here", "high")]),
        ([Backup("a", NOW - 26 * HOUR, 1)], [("here", "warning")]),
        ([Backup("a", NOW - 52 * HOUR, 1)], [("here", "high")]),
        ([Backup("a", NOW - 200 * HOUR, 9), Backup("i", NOW, 9, is_full=False)], [("here (full)", "warning")]),
        ([Backup("i", NOW, 9, is_full=False)], [("here (full)", "high")]),
        ([Backup("a", NOW - 20 * HOUR, 100), Backup("b", NOW, 49)], [("here (size)", "high")]),
        ([Backup("a", NOW - 20 * HOUR, 100), Backup("b", NOW, 0)], [("here (size)", "high")]),
        ([Backup("a", NOW - 20 * HOUR, None), Backup("b", NOW, None)], []),
    ],
)  # fmt: skip
def test_old_missing_and_small_backups_are_found(backups, expected):
    assert found(*backups) == expected


@given(
    st.lists(
        st.builds(
            Backup,
            st.text(max_size=3),
            st.floats(0, 2e9),
            st.none() | st.integers(0, 10**15),
            st.booleans(),
        )
    )
)
def test_any_list_gives_at_most_three_rows_with_texts(backups):
    rows = list(backup_rows(backups, OPTIONS, "here", NOW))
    assert len(rows) <= 3
    assert all(row["what"] and row["what_es"] for row in rows)


def test_files_and_folders_of_pg_dump(tmp_path):
    (tmp_path / "coop-1.dump").write_bytes(b"x" * 10)
    folder = tmp_path / "coop-2.dump"
    folder.mkdir()
    (folder / "toc.dat").write_bytes(b"x" * 30)
    now = time.time()
    old = now - 5 * HOUR
    for path in (tmp_path / "coop-1.dump", folder / "toc.dat"):
        os.utime(path, (old, old))
    (tmp_path / "coop-latest.dump").symlink_to(tmp_path / "coop-1.dump")
    (tmp_path / "coop-lost.dump").symlink_to(tmp_path / "nowhere")
    pattern = str(tmp_path / "coop-*.dump")
    sizes = {one.name[-11:]: one.size for one in of_files(pattern, now)}
    assert sizes == {"coop-1.dump": 10, "coop-2.dump": 30}
    (tmp_path / "coop-3.dump").write_bytes(b"x")  # still being written
    assert len(of_files(pattern, now)) == 2
    assert list(of_files(str(tmp_path / "none-*"), now)) == []


def test_only_file_counts_though_it_may_still_be_written(tmp_path):
    (tmp_path / "coop.dump").write_bytes(b"x")
    assert len(of_files(str(tmp_path / "*.dump"), time.time())) == 1


def test_stanza_in_trouble_and_several_stanzas_are_not_seen():
    broken = json.dumps(
        [{"name": "main", "backup": [], "status": {"code": 99, "message": "other"}}]
    )
    with pytest.raises(NotSeen, match="pgbackrest: other"):
        list(of_pgbackrest(broken, "main"))
    with pytest.raises(NotSeen, match=r"set checks\.backup_age\.server"):
        list(of_pgbackrest(PGBACKREST, ""))
