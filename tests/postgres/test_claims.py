"""Two serenos with one configuration, each with its own state, on one database: one night."""

import threading
from datetime import datetime

import pytest

from daemon.history import history
from daemon.runs.runner import Runner
from domain.task import Scope, Task, Trigger
from execution.progress import NoProgress
from execution.window import open_window

DUE = Trigger("daily", datetime(2026, 3, 1, 2, 0))  # noqa: DTZ001 - a nominal local minute


class Twin:
    """One of the two."""

    def __init__(self, house, job="analyze", trigger=DUE, window=60.0):
        self.parts = house.context()
        self.runner = Runner(self.parts, NoProgress())
        self.task = Task(job, Scope.DATABASE, "main", trigger)
        self.window = window
        self.thread = None

    def begin(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        self.ran = self.runner.run(self.task, open_window(self.window))
        return self

    def steps(self):
        with self.parts.store.reading() as transaction:
            return history.load_steps(transaction, self.ran.number)


@pytest.fixture
def twins(house, make_house, tmp_path):
    """Two houses with the same logins; `install` has been run by the first, the second is trusted beside it."""
    house.database.run(
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 100)"
    )
    house.install()
    folder = tmp_path / "other"
    folder.mkdir()
    other = make_house(folder, house.database)
    other.maintain, other.data = house.maintain, house.data
    return house, other


SLOW = """
    CREATE FUNCTION public.slow(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';
    CREATE INDEX slow ON public.t (public.slow(a));
    CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
      $$ BEGIN PERFORM pg_sleep(0.02); RETURN a; END $$
"""


def test_a_due_run_is_done_by_one_and_known_to_both(twins, wait):
    database = twins[0].database
    database.run(SLOW)
    one = Twin(twins[0]).begin()
    wait(
        lambda: database.rows(
            "SELECT FROM pg_stat_progress_analyze WHERE datname = current_database()"
        )
    )
    other = Twin(twins[1]).begin()
    wait(lambda: database.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sereno/analyze' AND datname = current_database()") == 3, what="the other's waiting")  # fmt: skip
    for twin in (one, other):
        twin.thread.join(30)
    assert (one.ran.state, len(one.steps())) == ("finished", 1)
    assert (other.ran.state, other.steps()) == ("finished", [])
    assert other.ran.reason.startswith("by ")
    (claim,) = database.rows("SELECT * FROM sereno.claim")
    assert (claim["state"], claim["attempts"], claim["nominal"], claim["instance"]) == (
        "finished", 1, DUE.nominal, "test",
    )  # fmt: skip


def test_another_minute_another_schedule_and_a_person_are_other_runs(twins):
    later = Trigger("daily", datetime(2026, 3, 1, 14, 0))  # noqa: DTZ001 - as above
    for trigger in (DUE, later, Trigger("other", DUE.nominal), Trigger()):
        assert not Twin(twins[0], "integrity_check", trigger).run().ran.reason.startswith("by ")
    assert twins[0].database.value("SELECT count(*) FROM sereno.claim") == 3


def test_what_one_was_stopped_in_the_other_takes_over(twins, wait):
    database = twins[0].database
    database.run(SLOW)
    one = Twin(twins[0]).begin()
    wait(
        lambda: database.rows(
            "SELECT FROM pg_stat_progress_analyze WHERE datname = current_database()"
        )
    )
    one.runner.cancel()
    one.thread.join(10)
    assert one.ran.state == "interrupted"
    database.run(
        "CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a'"
    )
    other = Twin(twins[1]).run()
    assert (other.ran.state, len(other.steps())) == ("finished", 1)
    assert database.rows("SELECT state, attempts FROM sereno.claim") == [
        {"state": "finished", "attempts": 2}
    ]
    again = Twin(twins[0]).run()
    assert (again.ran.state, again.steps()) == ("finished", [])


def test_how_it_failed_is_known_to_both(twins):
    database = twins[0].database
    database.run("ALTER TABLE public.t ADD COLUMN b int")
    database.run(
        "CREATE FUNCTION public.bad(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a'; CREATE INDEX ON public.t (public.bad(a));"
        "CREATE OR REPLACE FUNCTION public.bad(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a / 0'"
    )
    one, other = Twin(twins[0]).run(), Twin(twins[1]).run()
    assert one.ran.state == other.ran.state == "failed"
    assert (other.steps(), "by zero" in other.ran.reason) == ([], True)


def test_a_refusal_of_one_leaves_it_to_the_other(twins):
    """The clean-up is trusted to the first only, until the second is trusted beside it."""
    house, other = twins
    database = house.database
    database.run(
        "CREATE TABLE public.log (at timestamptz); INSERT INTO public.log VALUES (now() - interval '1 year')"
    )
    for one in twins:
        one.extra = (
            "[[jobs.log_cleanup.tables]]\ntable = 'public.log'\ncolumn = 'at'\nkeep = '30 days'\n"
        )
    house.install()
    refused = Twin(other, "log_cleanup").run()
    assert (refused.ran.state, "belongs to another sereno" in refused.ran.reason) == (
        "failed",
        True,
    )
    done = Twin(house, "log_cleanup").run()
    assert (done.ran.state, database.value("SELECT count(*) FROM public.log")) == ("finished", 0)
    database.run("INSERT INTO public.log VALUES (now() - interval '1 year')")
    other.sereno("trust", "main", "--beside", "--yes")
    later = Trigger("daily", datetime(2026, 3, 2, 2, 0))  # noqa: DTZ001 - as above
    assert Twin(other, "log_cleanup", later).run().ran.state == "finished"
    database.run("INSERT INTO public.log VALUES (now() - interval '1 year')")
    last = Trigger("daily", datetime(2026, 3, 3, 2, 0))  # noqa: DTZ001 - as above
    assert Twin(house, "log_cleanup", last).run().ran.state == "finished"
    house.sereno("trust", "main", "--yes")
    assert database.value("SELECT count(*) FROM sereno.owner") == 1


def test_a_table_of_claims_that_is_a_strangers_is_not_touched(twins):
    """No trigger of somebody else's is fired with our rights; without claims each is on its own."""
    database = twins[0].database
    database.run(
        "CREATE TABLE public.fired (a int); CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO public.fired VALUES (1); RETURN new; END $$;"
        "CREATE TRIGGER evil BEFORE INSERT ON sereno.claim FOR EACH ROW EXECUTE FUNCTION public.evil()"
    )
    for house in twins:
        assert Twin(house, "integrity_check").run().ran.reason == ""
    assert (
        database.rows("SELECT FROM public.fired") == database.rows("SELECT FROM sereno.claim") == []
    )


def test_a_lost_connection_is_no_end(house, wait):
    """Its backends are killed in the middle: it reconnects, plans anew by measure, and finishes."""
    database = house.database
    house.with_logins = False
    database.run(
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 100)"
    )
    database.run(SLOW)
    one = Twin(house).begin()
    wait(
        lambda: database.rows(
            "SELECT FROM pg_stat_progress_analyze WHERE datname = current_database()"
        )
    )
    database.run(
        "CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a'"
    )
    database.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sereno/analyze'"
    )
    one.thread.join(30)
    assert one.ran.state == "finished"
    assert [step["status"] for step in one.steps()] == ["done"]


def test_who_asks_now_is_told_at_once(house, wait):
    database = house.database
    house.with_logins = False
    database.run(
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 100)"
    )
    database.run(SLOW)
    one = Twin(house, trigger=Trigger()).begin()
    wait(
        lambda: database.rows(
            "SELECT FROM pg_stat_progress_analyze WHERE datname = current_database()"
        )
    )
    database.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sereno/analyze'"
    )
    one.thread.join(30)
    assert (one.ran.state, "terminating connection" in one.ran.reason) == ("failed", True)
