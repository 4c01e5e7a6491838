"""Archiving of parent rows with their children by foreign key."""

import contextlib
import threading
import time

import psycopg
import pytest
import zstandard

from execution import control
from tests.postgres.archive_table import TABLE, refusal

ARCHIVE = """
[[jobs.archive.tables]]
table = 'public.orden'
column = "at"
older_than = "30 days"
to = "file://{}"
children = [{}]
"""
OLD = 700


@pytest.fixture
def prepare(house):
    run = house.database.run

    def create(*children, action="NO ACTION", **more):
        run("CREATE TABLE public.orden (id bigint PRIMARY KEY, at timestamptz)")
        run("CREATE INDEX ON public.orden (at)")
        run(
            f"CREATE TABLE public.linea (id bigint PRIMARY KEY, orden bigint REFERENCES public.orden ON DELETE {action}, n int)"
        )
        run(f'CREATE TABLE public."Nota %" (a bigint, b int, linea bigint REFERENCES public.linea ON DELETE {action}, orden bigint REFERENCES public.orden ON DELETE {action}, PRIMARY KEY (a, b))')  # fmt: skip
        run(
            f"INSERT INTO public.orden SELECT n, now() - interval '40 days' FROM generate_series(1, {OLD}) n"
        )
        run("INSERT INTO public.orden SELECT -n, now() FROM generate_series(1, 10) n")
        run(
            "INSERT INTO public.linea SELECT id * 10 + k, id, k FROM public.orden, generate_series(0, 1) k"
        )
        run("INSERT INTO public.linea VALUES (0, NULL, 7)")
        run("""INSERT INTO public."Nota %" SELECT l.id, 1, CASE WHEN l.n = 0 THEN l.id END, CASE WHEN l.n = 1 THEN orden END FROM public.linea l""")  # fmt: skip
        for statement in more.get("also", ()):
            run(statement)
        house.archive = house.folder / "archive"
        house.extra = ARCHIVE.format(house.archive, ", ".join(f"'{child}'" for child in children))
        house.install()
        return house

    return create


def keys(house, table):
    text = b""
    for path in sorted(house.archive.glob(f"main/public/{table}/*.copy.zst")):
        with path.open("rb") as file:
            text += zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    return sorted(int(line.split(b"\t")[0]) for line in text.splitlines())


@pytest.mark.parametrize("action", ["NO ACTION", "CASCADE", "SET NULL"])
def test_children_of_each_level_are_archived_with_parent(prepare, action):
    house = prepare("public.linea", 'public."Nota %"', action=action)
    run = house.run("archive")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", OLD), run
    assert keys(house, "orden") == list(range(1, OLD + 1))
    assert keys(house, "linea") == sorted(n * 10 + k for n in range(1, OLD + 1) for k in (0, 1))
    assert keys(house, "Nota%20%25") == keys(house, "linea")
    assert house.database.value("SELECT count(*) FROM public.linea") == 21
    assert house.database.value('SELECT count(*) FROM public."Nota %"') == 21
    assert "sereno" not in house.sereno("archive", "verify", "--deep").stderr


def test_parents_and_children_are_restored(prepare):
    house = prepare("public.linea", 'public."Nota %"')
    digest = """SELECT md5((SELECT string_agg(t::text, ',' ORDER BY t::text) FROM (SELECT o::text FROM public.orden o UNION ALL SELECT l::text FROM public.linea l UNION ALL SELECT n::text FROM public."Nota %" n) t))"""
    before = house.database.value(digest)
    house.run("archive")
    assert house.database.value(digest) != before
    for table in ("public.orden", "public.linea", 'public."Nota %"'):
        restored = house.sereno("archive", "restore", table, "--database", "main", "--admin", house.database.dsn, "--privileged", "--yes")  # fmt: skip
        assert restored.returncode == 0, restored.stderr
        waiting = "public.linea, which refer to public.orden, are still archived"
        assert (waiting in restored.stdout) is (table == "public.orden")
    assert house.database.value(digest) == before


@pytest.mark.parametrize(
    ("children", "options", "reason"),
    [
        ((), {"action": "CASCADE"}, 'would extend the deletion to public."Nota %", public.linea'),
        (("public.linea",), {"action": "CASCADE"}, 'would extend the deletion to public."Nota %"'),
        (("public.other",), {"also": ["CREATE TABLE public.other (id int)"]}, "public.other has no foreign key to public.orden"),
        (
            ("public.linea", 'public."Nota %"'),
            {"also": ['ALTER TABLE public.linea ADD a bigint, ADD b int, ADD FOREIGN KEY (a, b) REFERENCES public."Nota %"']},
            "in a cycle",
        ),
    ],
)  # fmt: skip
def test_unsuitable_children_are_refused_with_reason(prepare, children, options, reason):
    house = prepare(*children, **options)
    run = house.run("archive")
    assert run["state"] == "failed"
    assert reason in run["steps"][0]["reason"]
    assert house.database.value("SELECT count(*) FROM public.orden") == OLD + 10


def test_child_inserted_during_run_is_neither_lost_nor_duplicated(prepare, monkeypatch):
    """The parent of an inserted row is being archived: both stay or both are archived."""
    house = prepare("public.linea", 'public."Nota %"', action="CASCADE")
    house.extra = house.extra.replace("[[jobs", "[governor]\nbatch_rows = 20\n[[jobs", 1)
    monkeypatch.setattr(control, "FIRST_WAIT_SECONDS", 0.01)
    stop, started, inserted = threading.Event(), threading.Event(), []

    def write():
        with house.database.connect(autocommit=True) as connection:
            number = 1_000_000
            while not stop.is_set():
                number += 1
                time.sleep(0.003)
                with contextlib.suppress(psycopg.errors.ForeignKeyViolation):
                    connection.execute(
                        "INSERT INTO public.linea VALUES (%s, %s, 9)", (number, number % OLD + 1)
                    )
                    inserted.append(number)
                    started.set()

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    try:
        for _ in range(3):
            house.run("archive")
    finally:
        stop.set()
        writer.join()
    assert house.run("archive")["state"] == "finished"
    remaining = {row["id"] for row in house.database.rows("SELECT id FROM public.linea")}
    assert set(inserted) <= remaining | set(keys(house, "linea")), "no row is lost"
    assert not remaining & set(keys(house, "linea")), "no row is in two places"


PARENT_AND_CHILD = """
CREATE TABLE public.orden (id bigint PRIMARY KEY, at timestamptz);
CREATE TABLE public.linea (id bigint PRIMARY KEY, orden bigint REFERENCES public.orden{});
INSERT INTO public.orden VALUES (1, now() - interval '40 days'), (2, now());
"""


def configure_child(house, more="", key="id bigint PRIMARY KEY, "):
    house.database.run(
        PARENT_AND_CHILD.format(more).replace("id bigint PRIMARY KEY, orden", f"{key}orden")
    )
    house.archive = house.folder / "archive"
    house.extra = (
        TABLE.format(house.archive).replace("public.event", "public.orden")
        + "children = ['public.linea']\n"
    )
    house.install()


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_child_that_references_itself_is_refused(house, action):
    configure_child(house, f", parent bigint REFERENCES public.linea ON DELETE {action}")
    house.database.run("INSERT INTO public.linea VALUES (1, 1, NULL), (2, 2, 1), (3, NULL, 1)")
    assert "would extend the deletion to public.linea" in refusal(house)
    assert house.database.value("SELECT count(*) FROM public.linea") == 3


def test_child_without_unique_key_is_refused(house):
    configure_child(house, key="")
    assert "public.linea has no unique key" in refusal(house)
