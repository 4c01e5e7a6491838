"""The state of sereno as values, read from the store only: for the pages and the interface."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from alerts import alert_store, outbox
from alerts.alert import State
from alerts.catalogue import Tongue
from checks.check import Header
from checks.registry import headers_of
from daemon.alert_texts import spanish_texts
from daemon.config.model import Config
from daemon.context import Context
from daemon.history import audit, fleet, history, ignored, migrating, pause, statistics
from daemon.runs.recovery import is_alive
from daemon.scheduling.timetable import timings
from daemon.web.migration_values import JOB, progress_values
from domain.redaction import redact
from store.store import Row, Transaction
from store.timestamps import from_text, to_text

MOST_RUNS = 200
MOST_STEPS = 1000
MOST_FINDINGS = 500
MOST_ARCHIVED = 300
MOST_AUDIT = 200
USUAL = timedelta(days=28)
COVERAGE = timedelta(days=14)


def overview_values(context: Context) -> dict[str, Any]:
    """Return the grid of databases and jobs, the runs at work, due times, the pause."""
    now = context.clock()
    with context.store.reading() as transaction:
        last = statistics.load_last_runs(transaction)
        running = [row for row in history.running_runs(transaction) if is_alive(row["id"], row)]
        usual = _usual(statistics.load_runs(transaction, now - USUAL))
        moving = {row["run"]: row for row in migrating.open_progress(transaction, JOB)}
        paused = pause.paused(transaction, now)
        waiting = outbox.count_waiting(transaction)
        alerts = _open_alerts(transaction)
        workers = _workers(transaction, context.config.fleet.stalled_after, now)
    jobs = sorted({row["job"] for row in last})
    places = sorted({row["database"] for row in last} | set(context.config.databases))
    cells = {(row["database"], row["job"]): row for row in last}
    return {
        "jobs": jobs,
        "rows": [
            {"place": one, "cells": [_cell(cells.get((one, job)), job) for job in jobs]}
            for one in places
        ],
        "running": [_running(row, usual, moving.get(row["id"]), now) for row in running],
        "next": _next(context.config, now),
        "paused": None
        if paused is None
        else {"until": paused.until, "reason": redact(paused.reason)},
        "outbox": waiting,
        "alerts": alerts,
        "workers": workers,
    }


def _workers(
    transaction: Transaction, stalled_after: timedelta, now: datetime
) -> list[dict[str, Any]]:
    """Return the workers of the fleet, if there is one."""
    running, leader = fleet.count_running(transaction), history.load_service(transaction)
    return [
        {
            "name": one.name,
            "state": one.state(now, stalled_after),
            "leads": one.process == leader,
            "runs": running.get(one.process, 0),
            "seenAt": to_text(one.seen_at),
        }
        for one in fleet.load_workers(transaction)
    ]


def _open_alerts(transaction: Transaction) -> Mapping[str, int]:
    """Return the number of open alerts by severity; pending ones are left out."""
    found = alert_store.load_open(transaction)
    return Counter(one.severity.value for one in found if one.state is not State.PENDING)


def _cell(row: Row | None, job: str) -> dict[str, Any]:
    if row is None:
        return {"job": job, "run": None, "state": "", "at": None, "left": 0, "reason": ""}
    return {
        "job": job,
        "run": row["id"],
        "state": row["state"],
        "at": row["finished_at"] or row["started_at"],
        "left": row["steps_left"],
        "reason": redact(row["reason"]),
    }


def _usual(runs: Sequence[Row]) -> Mapping[tuple[str, str], float]:
    """Return the mean seconds of the finished runs of a job in a place."""
    times: dict[tuple[str, str], list[float]] = {}
    for row in runs:
        if row["state"] == "finished":
            times.setdefault((row["job"], row["database"]), []).append(row["seconds"])
    return {key: sum(found) / len(found) for key, found in times.items()}


def _running(
    row: Row, usual: Mapping[tuple[str, str], float], moving: Row | None, now: datetime
) -> dict[str, Any]:
    """Return a run at work: how long it has run, and how far it is where that is known."""
    seconds = (now - from_text(row["started_at"])).total_seconds()
    mean = usual.get((row["job"], row["database"]))
    progress = progress_values(moving) if moving is not None else None
    return {
        "run": row["id"],
        "job": row["job"],
        "database": row["database"],
        "subject": row["subject"],
        "seconds": round(seconds),
        "usualSeconds": round(mean) if mean is not None else None,
        "percent": progress["percent"] if progress else None,
        "etaSeconds": progress["etaSeconds"] if progress else _eta(mean, seconds),
        "waits": progress["throttled"]["reason"] if progress else None,
    }


def _eta(mean: float | None, seconds: float) -> int | None:
    return round(mean - seconds) if mean is not None and mean > seconds else None


def _next(config: Config, now: datetime) -> list[dict[str, Any]]:
    found = []
    for name, timing in timings(config).items():
        due = next(timing.upcoming(now), None)
        if due is not None:
            jobs = config.timetable[name].jobs
            found.append({"schedule": name, "at": due.instant, "jobs": list(jobs)})
    return found


def run_list(context: Context, job: str, database: str) -> list[Row]:
    """Return the newest runs, of one job or database where they are given."""
    with context.store.reading() as transaction:
        rows = history.load_runs(transaction, MOST_RUNS * 10)
    kept = [
        {**row, "reason": redact(row["reason"])}
        for row in rows
        if job in {"", row["job"]} and database in {"", row["database"]}
    ]
    return kept[:MOST_RUNS]


def run_values(context: Context, number: int, tongue: Tongue = "en") -> dict[str, Any] | None:
    """Return a run with its steps and findings; None if it does not exist."""
    headers = _headers(context, tongue)
    with context.store.reading() as transaction:
        run = history.load_run(transaction, number)
        if run is None:
            return None
        steps = history.load_steps(transaction, number)
        findings = history.load_findings(transaction, number)
    return {
        "run": {**run, "reason": redact(run["reason"])},
        "steps": [
            {**step, "object": redact(step["object"]), "reason": redact(step["reason"])}
            for step in steps[:MOST_STEPS]
        ],
        "stepsLeftOut": max(0, len(steps) - MOST_STEPS),
        "findings": [_finding(row, headers.get(row["kind"])) for row in findings[:MOST_FINDINGS]],
    }


def finding_list(
    context: Context, wanted: Mapping[str, str], tongue: Tongue = "en"
) -> list[dict[str, Any]]:
    """Return the findings of the last run of each job and place, the worst first, filtered."""
    headers = _headers(context, tongue)
    with context.store.reading() as transaction:
        rows = statistics.load_last_findings(transaction)
    checks = context.config.checks.keys()
    found = [
        {
            **_finding(row, headers.get(row["kind"])),
            "place": row["place"],
            "where": row["database"] or (f"server of {row['place']}" if row["place"] else "host"),
            "can_be_ignored": row["kind"] in checks and bool(row["object"]),
        }
        for row in rows
        if _is_wanted(row, wanted)
    ]
    order = ("critical", "high", "warning", "info")
    found.sort(key=lambda one: (order.index(one["severity"]), one["kind"], one["object"]))
    return found[:MOST_FINDINGS]


def _is_wanted(row: Row, wanted: Mapping[str, str]) -> bool:
    names = ("severity", "database", "kind")
    return all(not wanted.get(name) or wanted[name] == row[name] for name in names) and (
        wanted.get("text", "").lower() in f"{row['object']} {row['summary']}".lower()
    )


def _headers(context: Context, tongue: Tongue) -> Mapping[str, Header]:
    """Return the headers that have texts in a language other than English."""
    return headers_of(context.checks) if tongue == "es" else {}


def _finding(row: Row, header: Header | None = None) -> dict[str, Any]:
    """Return a finding, in Spanish if a header is given that has its texts."""
    english = (row["summary"], row["remedy"])
    evidence = json.loads(row["evidence"]) if header is not None else {}
    summary, remedy = spanish_texts(header, row["object"], evidence, english) or english
    return {
        "run": row["run"],
        "kind": row["kind"],
        "database": row["database"],
        "object": redact(row["object"]),
        "severity": row["severity"],
        "summary": redact(summary),
        "remedy": redact(remedy),
        "found_at": row["found_at"],
    }


def ignored_values(context: Context) -> list[dict[str, Any]]:
    """Return the ignored objects: those of the configuration, and those that people added."""
    today = context.clock().date()
    with context.store.reading() as transaction:
        rows = ignored.load_active(transaction, today)
    configured = [
        {"id": None, "name": name, "object": one.object, "database": "",
         "until": one.until.isoformat(), "reason": one.reason, "principal": "configuration"}
        for name, options in sorted(context.config.checks.items())
        for one in options.ignore
        if one.until >= today
    ]  # fmt: skip
    return [*configured, *rows]


def outbox_values(context: Context) -> list[dict[str, Any]]:
    """Return the messages that wait, with the reason."""
    with context.store.reading() as transaction:
        waiting = outbox.load_waiting(transaction)
    return [
        {
            "channel": one.channel,
            "title": redact(one.title),
            "attempts": one.attempts,
            "state": one.state,
            "next": one.not_before,
            "error": redact(one.last_error),
        }
        for one in waiting
    ]


def coverage_values(context: Context) -> list[dict[str, Any]]:
    """Return how much of each database was verified, the least first."""
    with context.store.reading() as transaction:
        now = context.clock()
        found = statistics.load_coverage_now(transaction, now - COVERAGE, now)
    rows = [
        {"database": database, "objects": objects, **values,
         "share": values.get("proven", 0) / values["wanted"]}
        for (objects, database), values in found.items()
        if values.get("wanted")
    ]  # fmt: skip
    return sorted(rows, key=lambda one: (one["share"], str(one["database"]), str(one["objects"])))


def archive_values(context: Context) -> list[Row]:
    """Return the work of the job archive, newest first, as its runs recorded it."""
    with context.store.reading() as transaction:
        rows = statistics.load_done_steps(transaction, "archive", MOST_ARCHIVED)
    return [
        {**row, "object": redact(row["object"]), "reason": redact(row["reason"])} for row in rows
    ]


def audit_values(context: Context) -> list[Row]:
    """Return the newest entries of the audit log."""
    with context.store.reading() as transaction:
        return audit.load_latest(transaction, MOST_AUDIT)
