"""Databases that a group finds: new, without install, dropped, created again, on another server."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from psycopg.conninfo import make_conninfo

from alerts import alert_store
from alerts.heartbeat import Heartbeat
from daemon.bootstrap import renewed
from daemon.discovery import look_for_databases
from daemon.runs.runner import Runner
from daemon.scheduling.dispatcher import Dispatcher
from domain.finding import Finding, Identity, Severity
from domain.place import means
from execution.progress import NoProgress
from tests.fixtures.groups import at, look, open_alerts

HOSTILE = "co\"op %s ' $x; DROP é"


def test_new_database_is_worked_on_at_once_whatever_its_name(group, house):
    first, hostile = group.create(), group.create(HOSTILE)
    done = house.sereno("now", "analyze", "--database", "coop", "--json")
    assert {run["database"] for run in json.loads(done.stdout)} == {first, hostile}
    assert {run["state"] for run in json.loads(done.stdout)} == {"finished"}
    new = group.create("b")
    done = house.sereno("now", "analyze", "--database", new, "--json")
    assert [run["database"] for run in json.loads(done.stdout)] == [new]
    told = house.sereno("status").stdout
    assert "main, coop/" in told, told
    assert "GREEN" in told, "rows are not deleted here, so install is not missed"


def test_excluded_and_configured_databases_and_templates_are_no_members(group, house):
    group.lines = f'except = ["{group.prefix}test%"]\n'
    mine, own = group.create(), group.create("own")
    group.create("test_1")
    group.create("closed")
    group.execute(f'ALTER DATABASE "{group.prefix}closed" ALLOW_CONNECTIONS false')
    own_dsn = make_conninfo(group.dsn, dbname=own.removeprefix("coop/"))
    group.configure(f"[databases.own]\ndsn = {json.dumps(own_dsn)}\n")
    house.sereno("now", "analyze", "--database", "own")
    context = look(house.context())
    assert set(context.config.databases) == {"main", "own", mine}


def test_dropped_database_is_retired_with_its_alerts_after_a_while(group, house):
    kept, lost = group.create(), group.create("b")
    context = look(house.context())
    found = Finding(Identity("orphans", "test", database=lost), Severity.HIGH, "broken")
    context.process_findings([found])
    group.drop("b")
    context = look(context)
    assert set(context.config.databases) == {"main", kept}
    assert context.missing == {lost}
    assert open_alerts(context) == {("orphans", lost), ("database_missing", lost)}
    later = at(context, 1)
    assert open_alerts(look(later)) == {("orphans", lost), ("database_missing", lost)}
    later = look(at(context, 3))
    assert (later.missing, open_alerts(later)) == (set(), set())


def test_database_that_comes_back_goes_on_with_its_alerts(group, house):
    name = group.create()
    context = look(house.context())
    context.process_findings(
        [Finding(Identity("orphans", "test", database=name), Severity.HIGH, "broken")]
    )
    group.execute(f'ALTER DATABASE "{group.prefix}a" ALLOW_CONNECTIONS false')
    context = look(context)
    group.execute(f'ALTER DATABASE "{group.prefix}a" ALLOW_CONNECTIONS true')
    context = look(context)
    assert name in context.config.databases
    assert open_alerts(context) == {("orphans", name)}


def test_database_created_again_is_a_new_one(group, house):
    name = group.create()
    house.sereno("now", "analyze", "--database", name)
    context = look(house.context())
    context.process_findings(
        [Finding(Identity("orphans", "test", database=name), Severity.HIGH, "broken")]
    )
    group.drop("a")
    group.create()
    done = house.sereno("now", "analyze", "--database", name)
    assert done.returncode == 0, "the oid of the former one is not asked for"
    assert open_alerts(context) == {("not_installed", "")}, "unknown is no reason to end it"


def test_silent_server_changes_nothing_and_is_told(group, house):
    name = group.create()
    context = look(house.context())
    text = house.path.read_text()
    (dsn,) = re.findall(r"\[databases.coop\]\ndsn = (.*)", text)
    broken = json.dumps(make_conninfo(json.loads(dsn), host="/nowhere"))
    group.house.extra = house.extra.replace(dsn, broken)
    away = house.context()
    (problem,) = look_for_databases(away).values()
    assert "/nowhere" in str(problem)
    assert name in renewed(away).config.databases
    assert context.config.databases[name].dsn != renewed(away).config.databases[name].dsn


def test_other_server_behind_the_address_retires_nothing(group, house):
    name = group.create()
    context = look(house.context())
    with context.store.transaction() as transaction:
        transaction.execute("UPDATE target SET system_identifier = '1' WHERE database = 'coop'")
    (problem,) = look_for_databases(context).values()
    assert "sereno trust coop" in str(problem)
    assert name in renewed(context).config.databases
    assert ("database_unreachable", "coop") in open_alerts(context)
    house.sereno("trust", "coop", "--yes")
    assert name in look(context).config.databases
    assert open_alerts(context) == set()


def test_database_without_install_is_checked_and_reported_once(prepared_group, house):
    group = prepared_group
    first, second = group.create(), group.create("b")
    for name in ("a", "b"):
        group.execute("CREATE TABLE event (id int, at timestamptz)", name)
    group.configure(
        "[[jobs.log_cleanup.tables]]\ntable = 'public.event'\ncolumn = 'at'\nkeep = '30 days'\n"
        "database = 'coop'\n"
    )
    house.sereno("install", "main", "--admin", house.database.dsn)
    done = house.sereno("now", "integrity_check", "log_cleanup", "--database", "coop", "--json", check=False)  # fmt: skip
    runs = {(run["job"], run["database"]): run for run in json.loads(done.stdout)}
    assert runs["integrity_check", first]["state"] == "finished"
    assert runs["log_cleanup", first]["cause"] == "not_installed"
    context = look(house.context())
    with context.store.reading() as transaction:
        (alert,) = [a for a in alert_store.load_open(transaction) if a.kind == "not_installed"]
    assert alert.object == "coop"
    assert "2 of 2 databases of coop are not installed" in alert.summary
    planned = house.sereno("plan", "log_cleanup", "--database", "coop", "--json")
    assert json.loads(planned.stdout)["steps"] == []
    (left,) = json.loads(planned.stdout)["left_out"]
    assert left.startswith(f"log_cleanup: not in {first}, {second}, where sereno is not installed")
    installed = house.sereno("install", "--discover", "coop", "--admin", group.dsn)
    assert "coop: 2 of 2 databases prepared" in installed.stdout
    assert "not_installed" not in {kind for kind, _ in open_alerts(look(context))}
    third = group.create("c", template="a")
    done = house.sereno("now", "log_cleanup", "--database", "coop", "--json")
    states = {run["database"]: run["state"] for run in json.loads(done.stdout)}
    assert states == dict.fromkeys((first, second, third), "finished")


class Nights:
    """A dispatcher that looks for databases before each due time, as the service does."""

    def __init__(self, house, wait):
        self.wait = wait
        self.now = datetime(2026, 3, 27, 1, 50, tzinfo=ZoneInfo("America/La_Paz"))
        self.context = replace(house.context(), clock=lambda: self.now.astimezone(UTC))
        runner = Runner(self.context, NoProgress())
        self.dispatcher = Dispatcher(self.context, runner, Heartbeat(list), renew=self.renew)

    def renew(self):
        look_for_databases(self.context)
        self.context = renewed(self.context)
        self.dispatcher.use(self.context, Runner(self.context, NoProgress()))

    def at(self, day, clock):
        """Go on to a time of a day, look what is due, and return what ran."""
        hour, minute = map(int, clock.split(":"))
        self.now = datetime(2026, 3, day, hour, minute, 1, tzinfo=ZoneInfo("America/La_Paz"))
        before = len(self.runs())
        self.dispatcher.look("daily")
        self.wait(lambda: not self.dispatcher.busy, what="the end of the schedule")
        return self.runs()[before:]

    def runs(self):
        with self.context.store.reading() as transaction:
            rows = transaction.rows("SELECT database, state FROM run ORDER BY id")
        return [(row["database"], row["state"]) for row in rows if row["database"] != ""]


def test_database_made_a_minute_before_is_in_the_run_and_later_ones_are_not_missed(
    group, house, wait
):
    path = house.write()
    jobs = '["log_cleanup", "analyze", "disk_check", "integrity_check"]'
    text = path.read_text().replace(jobs, '["analyze"]')
    assert jobs not in text
    path.write_text(text)
    house.write = lambda: path
    first, nights = group.create(), Nights(house, wait)
    nights.renew()
    assert nights.at(27, "1:55") == []
    second = group.create("b")  # at 01:59
    assert {name for name, _ in nights.at(27, "2:00")} == {"main", first, second}
    third = group.create("c")
    nights.now += timedelta(hours=1)
    nights.renew()
    assert nights.at(27, "3:05") == [], "it was not there at two"
    assert nights.at(27, "7:00") == []
    assert ("task_missed", "") not in open_alerts(nights.context)
    group.drop("a")
    ran = nights.at(28, "2:00")
    assert {name for name, _ in ran} == {"main", second, third}
    assert {state for _, state in ran} == {"finished"}


def test_tags_and_groups_choose_databases_on_every_screen(group, house):
    group.lines = 'tags = ["prod", "eu"]\n'
    group.configure()
    name = group.create()
    house.sereno("now", "analyze")
    context = look(house.context())
    here = Finding(Identity("orphans", "test", database=name), Severity.CRITICAL, "orphans here")
    other = Finding(Identity("orphans", "test", database="main"), Severity.HIGH, "orphans there")
    context.process_findings([here, other])
    for chosen in (("--tag", "prod", "--tag", "eu"), ("--database", "coop")):
        planned = json.loads(house.sereno("plan", "--json", *chosen).stdout)
        assert {step["database"] for step in planned["steps"]} <= {name, ""}
        ran = json.loads(house.sereno("now", "analyze", "--json", *chosen).stdout)
        assert [run["database"] for run in ran] == [name]
        told = house.sereno("status", *chosen, check=False)
        assert (told.returncode, "main" in told.stdout) == (1, False)
        assert name in told.stdout
        page = house.sereno("report", *chosen).stdout
        assert ("orphans here" in page, "orphans there" in page) == (True, False)
        checked = house.sereno("check", "invalid_index", "--json", *chosen, check=False)
        assert checked.returncode == 0, checked.stderr
    assert house.sereno("status", "--tag", "staging", check=False).returncode == 2
    refused = house.sereno("plan", "--tag", "staging", check=False)
    assert refused.stderr == "sereno: there is no tag 'staging' (known: eu, prod)\n"


def test_every_table_with_a_database_is_restricted_or_known_not_to_be(house):
    from daemon.history import chosen_databases

    house.need_state_file()
    left = {"alert", "batch_limit", "ended_run", "finding", "ignored"}
    left |= {"migration_evidence", "web_request"}
    with house.context().store.reading() as transaction:
        rows = transaction.rows(
            "SELECT m.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c"
            " WHERE c.name = 'database'"
        )
    assert {row["name"] for row in rows} == left | set(chosen_databases._TABLES)


def test_printed_script_connects_to_each_database_and_no_name_is_run_as_sql(prepared_group, house):
    group = prepared_group
    house.sereno("install", "main", "--admin", house.database.dsn)
    group.create(HOSTILE)
    group.create("x\nDROP TABLE important; --")
    script = house.sereno(
        "install", "--discover", "coop", "--print", "--admin", group.dsn, check=False
    )
    assert script.returncode == 2
    assert "a script cannot connect to such a name" in script.stderr
    assert "important" not in script.stdout
    first, *_ = [line for line in script.stdout.splitlines() if not line.startswith("-- ")]
    name = (group.prefix + HOSTILE).replace("'", "\\'").replace('"', '""')
    assert first == f"""\\connect -reuse-previous=on "dbname='{name}'\""""


def test_query_that_fails_is_the_problem_of_its_group_alone(group, house):
    name = group.create()
    dsn = json.dumps(group.dsn)
    bad = f"[databases.bad]\ndsn = {dsn}\ndiscover = '%\\'\n"
    group.configure(bad)
    context = house.context()
    (problem,) = look_for_databases(context).items()
    assert problem[0] == "bad"
    assert "its databases cannot be listed: LIKE pattern must not end with escape" in str(
        problem[1]
    )
    assert name in renewed(context).config.databases


@pytest.mark.parametrize(
    ("name", "database", "meant"),
    [
        (None, "coop/a", True),
        ("coop", "coop/a/b", True),
        ("coop/a", "coop/a", True),
        ("coop/a", "coop/a/b", False),
        ("coop", "coop2/a", False),
        ("coop/a", "coop", False),
    ],
)
def test_name_means_a_database_or_the_group_that_found_it(name, database, meant):
    assert means(name, database) is meant
