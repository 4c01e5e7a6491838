"""Run claims: two daemons with the same configuration, each with its own state, on one database."""

import shutil
import threading
from datetime import datetime, timedelta

import pytest

from daemon.history import history
from daemon.runs.runner import Runner
from domain.task import Scope, Task, Trigger
from execution.progress import NoProgress
from execution.window import open_window

DUE = Trigger("daily", datetime(2026, 3, 1, 2, 0))  # noqa: DTZ001 - a nominal local minute


class Instance:
    """A daemon with its own state that runs one task."""

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
def instances(house, make_house, tmp_path):
    """Return two houses with the same logins; only the first has run `install`."""
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


def test_due_run_is_executed_by_one_instance_and_known_to_both(instances, wait):
    database = instances[0].database
    database.run(SLOW)
    one = Instance(instances[0]).begin()
    wait(
        lambda: database.rows(
            "SELECT FROM pg_stat_progress_analyze WHERE datname = current_database()"
        )
    )
    other = Instance(instances[1]).begin()
    wait(lambda: database.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sereno/analyze' AND datname = current_database()") == 3, what="the waiting session of the other instance")  # fmt: skip
    for instance in (one, other):
        instance.thread.join(30)
    assert (one.ran.state, len(one.steps())) == ("finished", 1)
    assert (other.ran.state, other.steps()) == ("finished", [])
    assert other.ran.reason.startswith("by ")
    (claim,) = database.rows("SELECT * FROM sereno.claim")
    assert (claim["state"], claim["attempts"], claim["nominal"], claim["instance"]) == (
        "finished", 1, DUE.nominal, "test",
    )  # fmt: skip


def test_other_minute_other_schedule_and_manual_run_are_separate_runs(instances):
    later = Trigger("daily", datetime(2026, 3, 1, 14, 0))  # noqa: DTZ001 - as above
    for trigger in (DUE, later, Trigger("other", DUE.nominal), Trigger()):
        assert (
            not Instance(instances[0], "integrity_check", trigger)
            .run()
            .ran.reason.startswith("by ")
        )
    assert instances[0].database.value("SELECT count(*) FROM sereno.claim") == 3


def test_interrupted_run_is_taken_over_by_other_instance(instances, wait):
    database = instances[0].database
    database.run(SLOW)
    one = Instance(instances[0]).begin()
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
    other = Instance(instances[1]).run()
    assert (other.ran.state, len(other.steps())) == ("finished", 1)
    assert database.rows("SELECT state, attempts FROM sereno.claim") == [
        {"state": "finished", "attempts": 2}
    ]
    again = Instance(instances[0]).run()
    assert (again.ran.state, again.steps()) == ("finished", [])


def test_failure_is_known_to_both_instances(instances):
    database = instances[0].database
    database.run("ALTER TABLE public.t ADD COLUMN b int")
    database.run(
        "CREATE FUNCTION public.bad(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a'; CREATE INDEX ON public.t (public.bad(a));"
        "CREATE OR REPLACE FUNCTION public.bad(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a / 0'"
    )
    one, other = Instance(instances[0]).run(), Instance(instances[1]).run()
    assert one.ran.state == other.ran.state == "failed"
    assert (other.steps(), "by zero" in other.ran.reason) == ([], True)


def test_run_refused_to_one_instance_is_left_to_other(instances):
    """Deletions are allowed to the first instance only, until the second is trusted beside it."""
    house, other = instances
    database = house.database
    database.run(
        "CREATE TABLE public.log (at timestamptz); INSERT INTO public.log VALUES (now() - interval '1 year')"
    )
    for each in instances:
        each.extra = (
            "[[jobs.log_cleanup.tables]]\ntable = 'public.log'\ncolumn = 'at'\nkeep = '30 days'\n"
        )
    house.install()
    refused = Instance(other, "log_cleanup").run()
    assert (refused.ran.state, "belongs to another sereno" in refused.ran.reason) == (
        "failed",
        True,
    )
    done = Instance(house, "log_cleanup").run()
    assert (done.ran.state, database.value("SELECT count(*) FROM public.log")) == ("finished", 0)
    database.run("INSERT INTO public.log VALUES (now() - interval '1 year')")
    other.sereno("trust", "main", "--beside", "--yes")
    later = Trigger("daily", datetime(2026, 3, 2, 2, 0))  # noqa: DTZ001 - as above
    assert Instance(other, "log_cleanup", later).run().ran.state == "finished"
    database.run("INSERT INTO public.log VALUES (now() - interval '1 year')")
    last = Trigger("daily", datetime(2026, 3, 3, 2, 0))  # noqa: DTZ001 - as above
    assert Instance(house, "log_cleanup", last).run().ran.state == "finished"
    house.sereno("trust", "main", "--yes")
    assert database.value("SELECT count(*) FROM sereno.owner") == 1


def test_claim_table_with_unknown_trigger_is_not_used(instances):
    """A trigger of another role must not fire with our privileges; no claims are made."""
    database = instances[0].database
    database.run(
        "CREATE TABLE public.fired (a int); CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN INSERT INTO public.fired VALUES (1); RETURN new; END $$;"
        "CREATE TRIGGER evil BEFORE INSERT ON sereno.claim FOR EACH ROW EXECUTE FUNCTION public.evil()"
    )
    for house in instances:
        assert Instance(house, "integrity_check").run().ran.reason == ""
    assert (
        database.rows("SELECT FROM public.fired") == database.rows("SELECT FROM sereno.claim") == []
    )


def test_scheduled_run_reconnects_after_lost_connection(house, wait):
    """Its backends are terminated during the run: it reconnects, plans again and finishes."""
    database = house.database
    house.with_logins = False
    database.run(
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 100)"
    )
    database.run(SLOW)
    one = Instance(house).begin()
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


def test_manual_run_fails_at_once_after_lost_connection(house, wait):
    database = house.database
    house.with_logins = False
    database.run(
        "CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 100)"
    )
    database.run(SLOW)
    one = Instance(house, trigger=Trigger()).begin()
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


def test_older_copy_of_the_state_file_changes_nothing_until_it_is_trusted(house, tmp_path):
    house.need_state_file()
    house.database.run("CREATE TABLE public.t (a int); INSERT INTO public.t VALUES (1)")
    house.install()
    assert Instance(house).run().ran.state == "finished"
    state = house.context().store.path
    copy = tmp_path / "copy"
    shutil.copy2(state, copy)
    next_day = Trigger("daily", DUE.nominal + timedelta(days=1))
    assert Instance(house, trigger=next_day).run().ran.state == "finished"
    copy.replace(state)
    later = Trigger("daily", DUE.nominal + timedelta(days=2))
    refused = Instance(house, trigger=later).run().ran
    assert refused.state == "failed"
    assert (
        "an older copy: it does not know the run of analyze of 2026-03-02T02:00" in refused.reason
    )
    assert Instance(house, "integrity_check", later).run().ran.state == "finished"
    house.sereno("trust", "main", "--yes")
    assert Instance(house, trigger=later).run().ran.state == "finished"


def test_claim_of_another_state_file_is_no_sign_of_an_older_copy(instances):
    one, other = (Instance(house) for house in instances)
    assert one.run().ran.state == "finished"
    next_day = Trigger("daily", DUE.nominal + timedelta(days=1))
    assert Instance(instances[1], trigger=next_day).run().ran.state == "finished"
    assert other.run().ran.reason.startswith("by ")


def test_purged_history_is_no_sign_of_an_older_copy(house):
    house.database.run("CREATE TABLE public.t (a int)")
    house.install()
    assert Instance(house).run().ran.state == "finished"
    with house.context().store.transaction() as transaction:
        transaction.execute("DELETE FROM run")
    house.database.run("UPDATE sereno.claim SET settled_at = now() - interval '401 days'")
    next_day = Trigger("daily", DUE.nominal + timedelta(days=1))
    assert Instance(house, trigger=next_day).run().ran.state == "finished"


def test_renamed_database_is_no_sign_of_an_older_copy(house):
    house.database.run("CREATE TABLE public.t (a int)")
    house.install()
    assert Instance(house).run().ran.state == "finished"
    with house.context().store.transaction() as transaction:
        transaction.execute("UPDATE run SET database = 'formerly'")
    next_day = Trigger("daily", DUE.nominal + timedelta(days=1))
    assert Instance(house, trigger=next_day).run().ran.state == "finished"
