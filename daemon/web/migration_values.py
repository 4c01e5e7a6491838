"""Migrations as the values of the HTTP interface, read from the store only."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from daemon.history import migrating, web_requests
from daemon.runs.recovery import is_alive
from store.store import Row, Transaction
from store.timestamps import from_text

JOB = "migrate"
MOST_RUNS = 50
OLD = timedelta(minutes=15)
"""A copy of a ledger that is older is told as a problem."""
_PHASES = ("prepare", "data", "tighten", "cleanup", "purge")
_WRONG = frozenset({"failed", "tampered", "rollback_failed"})
_ENDED = frozenset({"done", "purged"})


def status_values(
    transaction: Transaction, now: datetime, problems: Sequence[str]
) -> dict[str, Any]:
    """Return the answer of /migrations/status."""
    states = migrating.load_states(transaction)
    runs = [run_values(row) for row in migrating.load_runs(transaction, JOB, MOST_RUNS)]
    plans = [plan_run_values(row) for row in web_requests.load_plans(transaction, MOST_RUNS)]
    running = {(one["migrationId"], one["database"]) for one in runs if one["status"] == "running"}
    history = sorted([*runs, *plans], key=lambda one: str(one["startedAt"]), reverse=True)
    problems = [*problems, *_failed(runs), *_problems(states, now)]
    return {
        "asOf": min((row["as_of"] for row in states), default=None),
        "current": next((one for one in runs if one["status"] == "running"), None),
        "pending": [_pending(row, running) for row in states if row["state"] not in _ENDED],
        "history": history[:MOST_RUNS],
        "totals": _totals(transaction, runs),
        "health": {"ok": not problems, "problems": problems},
    }


def _totals(transaction: Transaction, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    row = migrating.load_totals(transaction, JOB)
    return {
        "total": row["total"],
        "successful": row["finished"] or 0,
        "failed": row["failed"] or 0,
        "averageDurationSeconds": row["seconds"],
        "last": next((one for one in runs if one["finishedAt"]), None),
    }


def _pending(row: Row, running: Collection[tuple[str, str]]) -> dict[str, Any]:
    if (row["migration"], row["database"]) in running:
        row = row | {"state": "running", "reason": "", "next": "see its progress above"}
    return {
        "id": row["migration"],
        "database": row["database"],
        "title": row["title"],
        "phase": row["phase"] or None,
        "state": row["state"],
        "reason": row["reason"] or None,
        "problem": row["problem"] or None,
        "next": row["next"],
        "checksum": row["checksum"] or None,
        "gates": json.loads(row["gates"]),
    }


def _failed(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return the migrations whose newest run has failed, also if it was undone."""
    newest = {(one["migrationId"], one["database"]): one for one in reversed(runs)}
    return [
        f"the last run of {migration} in {database} failed: {one['error']}"
        for (migration, database), one in newest.items()
        if one["status"] == "failed"
    ]


def _problems(states: Sequence[Row], now: datetime) -> list[str]:
    found = [
        f"{row['migration']} in {row['database']} is {row['state']}"
        for row in states
        if row["state"] in _WRONG
    ]
    old = {row["database"] for row in states if now - from_text(row["as_of"]) > OLD}
    found += [f"the ledger of {name} was not read for 15 minutes" for name in sorted(old)]
    return found


def run_values(row: Row) -> dict[str, Any]:
    """Return a run; one whose process is gone is interrupted."""
    status, reason = row["state"], row["reason"]
    if status == "running" and not is_at_work(row):
        status, reason = "interrupted", "its process ended without a word"
    return {
        "run": row["request"] or str(row["id"]),
        "migrationId": row["subject"],
        "database": row["database"],
        "action": row["action"] or "apply",
        "phase": phase_of(row["step"]),
        "status": status,
        "dryRun": False,
        "reason": row["asked"] or None,
        "principal": row["principal"],
        "startedAt": row["started_at"],
        "finishedAt": row["finished_at"],
        "error": (reason or None) if status not in {"finished", "running"} else None,
    }


def is_at_work(row: Row) -> bool:
    """Return whether the process of a run is alive."""
    number = row["run"] if "run" in row else row["id"]
    return is_alive(number, row)


def plan_run_values(row: Row) -> dict[str, Any]:
    """Return a request as a run: a dry run, or one that has not begun or was refused."""
    states = {"done": "finished", "waiting": "pending"}
    return {
        "run": row["id"],
        "migrationId": row["subject"],
        "database": row["database"],
        "action": row["action"],
        "phase": json.loads(row["body"]).get("until"),
        "status": states.get(row["state"], row["state"]),
        "dryRun": row["action"] == "plan",
        "reason": json.loads(row["body"]).get("reason") or None,
        "principal": row["principal"],
        "startedAt": row["created_at"],
        "finishedAt": row["finished_at"],
        "error": row["error"] or None,
    }


def phase_of(step: str) -> str | None:
    """Return the phase in the title of a step, like `fill data.10_users.batch.sql`."""
    words = step.replace(".", " ").split()
    return next((word for word in words if word in _PHASES), None)


def progress_values(row: Row) -> Mapping[str, Any]:
    """Return the answer of /migrations/progress."""
    done, total, rate = row["done"], row["total"], row["rate"]
    left = max(0, total - done)
    running = row["state"] == "running" and is_at_work(row)
    status = "interrupted" if row["state"] == "running" and not running else row["state"]
    return {
        "run": row["request"] or str(row["run"]),
        "migrationId": row["subject"],
        "database": row["database"],
        "status": status,
        "phase": phase_of(row["step"]),
        "step": row["step"],
        "rowsDone": done,
        "rowsEstimated": total,
        "percent": round(min(100.0, 100.0 * done / total), 1) if total else None,
        "rate": round(rate, 1),
        "etaSeconds": round(left / rate) if running and rate and total else None,
        "batchSize": row["batch"],
        "throttled": {"reason": row["reason"] or None, "seconds": row["throttled_seconds"]},
        "lock": {
            "attempt": row["attempts"],
            "rungMs": row["rung_ms"],
            "blockers": json.loads(row["blockers"]),
        },
        "movedAt": row["moved_at"],
    }
