"""The service in a process of its own: start it, make a schedule due, read its runs and alerts."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from daemon.history.history import remember_planned
from daemon.scheduling.tasks import tasks_of
from domain.task import Trigger

LA_PAZ = timedelta(hours=-4)
DAILY_CRON = 'cron = "0 2 * * *"'
DAILY_JOBS = '["log_cleanup", "analyze", "disk_check", "integrity_check"]'
SLOW_ANALYZE = """
    CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 1000);
    CREATE FUNCTION public.slow(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';
    CREATE INDEX slow ON public.t (public.slow(a));
    CREATE OR REPLACE FUNCTION public.slow(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
      $$ BEGIN PERFORM pg_sleep(0.05); RETURN a; END $$
"""
ANALYZING = "SELECT FROM pg_stat_progress_analyze WHERE datname = current_database()"


def cron_now():
    local = datetime.now(UTC) + LA_PAZ
    return f"{local.minute} {local.hour} * * *"


def schedule_now(house, jobs, more=""):
    """Schedule jobs for the current minute as if planned long ago, so that they are caught up.

    Return the cron line.
    """
    house.with_logins = False
    path, cron = house.write(), cron_now()
    text = path.read_text().replace(DAILY_CRON, f'cron = "{cron}"\n{more}')
    path.write_text(text.replace(DAILY_JOBS, json.dumps(jobs)))
    house.write = lambda: path
    mark_planned_long_ago(house)
    return cron


def mark_planned_long_ago(house):
    context = house.context()
    with context.store.transaction() as transaction:
        for name, schedule in context.config.timetable.items():
            tasks = tasks_of(context, schedule.jobs, Trigger(name))
            since = dict.fromkeys(tasks, datetime(2026, 1, 1, tzinfo=UTC))
            remember_planned(transaction, str(schedule.cron), since)


def query(house, *arguments):
    return json.loads(house.sereno(*arguments, "--json").stdout)


def runs(house, job="analyze", database="main"):
    return [
        run for run in query(house, "history") if (run["job"], run["database"]) == (job, database)
    ]


def alert_kinds(house):
    return [alert["kind"] for alert in query(house, "alerts", "list")]


@contextmanager
def running_service(house, **environment):
    house.write()
    service = subprocess.Popen(
        [sys.executable, "-m", "daemon", "run", "--config", house.path],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield service
    finally:
        service.kill()
        service.wait()
        print(service.stdout.read())  # noqa: T201 - shown where a test fails
        service.stdout.close()
