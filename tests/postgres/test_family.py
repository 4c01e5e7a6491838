"""Parents leave with their children, by foreign key: children first, all of a batch in one transaction."""

import contextlib
import threading
import time

import psycopg
import pytest
import zstandard

from execution import control

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

    def prepared(*children, action="NO ACTION", **more):
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

    return prepared


def keys(house, table):
    text = b""
    for path in sorted(house.archive.glob(f"main/public/{table}/*.copy.zst")):
        with path.open("rb") as file:
            text += zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    return sorted(int(line.split(b"\t")[0]) for line in text.splitlines())


@pytest.mark.parametrize("action", ["NO ACTION", "CASCADE", "SET NULL"])
def test_children_leave_first_however_far_they_refer(prepare, action):
    house = prepare("public.linea", 'public."Nota %"', action=action)
    run = house.run("archive")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", OLD), run
    assert keys(house, "orden") == list(range(1, OLD + 1))
    assert keys(house, "linea") == sorted(n * 10 + k for n in range(1, OLD + 1) for k in (0, 1))
    assert keys(house, "Nota%20%25") == keys(house, "linea")
    assert house.database.value("SELECT count(*) FROM public.linea") == 21
    assert house.database.value('SELECT count(*) FROM public."Nota %"') == 21
    assert "sereno" not in house.sereno("archive", "verify", "--deep").stderr


def test_they_come_back_parents_first(prepare):
    house = prepare("public.linea", 'public."Nota %"')
    digest = """SELECT md5((SELECT string_agg(t::text, ',' ORDER BY t::text) FROM (SELECT o::text FROM public.orden o UNION ALL SELECT l::text FROM public.linea l UNION ALL SELECT n::text FROM public."Nota %" n) t))"""
    before = house.database.value(digest)
    house.run("archive")
    assert house.database.value(digest) != before
    for table in ("public.orden", "public.linea", 'public."Nota %"'):
        restored = house.sereno("archive", "restore", table, "--database", "main", "--admin", house.database.dsn, "--privileged", "--yes")  # fmt: skip
        assert restored.returncode == 0, restored.stderr
    assert house.database.value(digest) == before


@pytest.mark.parametrize(
    ("children", "options", "said"),
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
def test_what_cannot_be_done_is_refused_with_its_reason(prepare, children, options, said):
    house = prepare(*children, **options)
    run = house.run("archive")
    assert run["state"] == "failed"
    assert said in run["steps"][0]["reason"]
    assert house.database.value("SELECT count(*) FROM public.orden") == OLD + 10


def test_children_that_come_meanwhile_are_never_dragged_along(prepare, monkeypatch):
    """A row inserted under a parent that is just leaving: either both stay for now, or both are archived."""
    house = prepare("public.linea", 'public."Nota %"', action="CASCADE")
    house.extra = house.extra.replace("[[jobs", "[governor]\nbatch_rows = 20\n[[jobs", 1)
    monkeypatch.setattr(control, "FIRST_WAIT_SECONDS", 0.01)
    stop, started, came = threading.Event(), threading.Event(), []

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
                    came.append(number)
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
    there = {row["id"] for row in house.database.rows("SELECT id FROM public.linea")}
    assert set(came) <= there | set(keys(house, "linea")), "none is lost"
    assert not there & set(keys(house, "linea")), "none is in two places"
