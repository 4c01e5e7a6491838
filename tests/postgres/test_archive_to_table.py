"""Archiving to another table of the database."""

import psycopg
import pytest

from tests.postgres.archive_table import TABLE, fill, refusal


def test_rows_move_to_another_table(history):
    fill(history, 3000)
    run = history.run("archive")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", 3000), run["reason"]
    assert history.database.value("SELECT count(*) FROM public.event") == 10
    moved = history.database.rows("SELECT id, note, extra FROM history.event ORDER BY id")
    assert [row["id"] for row in moved] == list(range(1, 3001))
    assert (moved[6]["note"], moved[6]["extra"]) == ("ä 7", 7)
    assert (
        history.database.value(
            "SELECT sum(rows) FROM sereno.archive_batch WHERE destination = 'history.event'"
        )
        == 3000
    )


def test_destination_table_with_other_column_type_is_refused(history):
    fill(history, 5)
    history.database.run("ALTER TABLE history.event ALTER note TYPE varchar(3)")
    run = history.run("archive")
    assert (run["state"], "has no column note of type text" in run["reason"]) == ("failed", True)
    assert history.database.value("SELECT count(*) FROM public.event") == 15


def test_rows_stay_when_trigger_of_destination_table_drops_one(history):
    fill(history, 5)
    history.database.run(
        "CREATE FUNCTION public.eat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$"
    )
    history.database.run(
        "CREATE TRIGGER eats BEFORE INSERT ON history.event FOR EACH ROW EXECUTE FUNCTION public.eat()"
    )
    run = history.run("archive")
    assert (run["state"], "took 4 of 5 rows" in run["reason"]) == ("failed", True)
    assert history.database.value("SELECT count(*) FROM public.event") == 15
    assert history.database.value("SELECT count(*) FROM history.event") == 0


@pytest.mark.parametrize(("make", "word"), [("ALTER TABLE history.event SET UNLOGGED", "unlogged"), ("DROP TABLE history.event; CREATE VIEW history.event AS SELECT * FROM public.event", "not a table")])  # fmt: skip
def test_unlogged_table_or_view_is_refused_as_destination(history, make, word):
    history.database.run(make)
    fill(history, 5)
    assert word in refusal(history)


def test_table_is_refused_as_its_own_destination(event):
    event.extra = TABLE.replace("file://{}", "table:public.event")
    fill(event, 5)
    assert "the table that the rows leave" in refusal(event)


def test_list_shows_batch_moved_to_table(history):
    fill(history, 50)
    (step,) = history.plan("archive")
    assert "size unknown: never analyzed" in step.why
    assert history.run("archive")["state"] == "finished"
    shown = history.sereno("archive", "list").stdout
    assert "public.event moved to" in shown


def test_archive_table_keeps_rows_after_server_crash(tmp_path, clusters, make_database, make_house):
    cluster = clusters("embedded", max_connections="42")
    with make_database(cluster) as database:
        house = make_house(tmp_path, database)
        database.run("CREATE TABLE public.event (id bigint PRIMARY KEY, at timestamptz, note text); CREATE TABLE public.old (id bigint, at timestamptz, note text)")  # fmt: skip
        house.extra = TABLE.replace("file://{}", "table:public.old")
        house.install()
        fill(house, 50)
        assert house.run("archive")["state"] == "finished"
        database.admin.close()
        cluster.stop("immediate")
        cluster.start()
        database.admin = psycopg.connect(
            database.dsn, autocommit=True, row_factory=psycopg.rows.dict_row
        )
        assert database.value("SELECT count(*) FROM public.old") == 50
