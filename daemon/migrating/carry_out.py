"""Carries out requests from the HTTP interface: plans, runs, approvals, one per database."""

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import structlog

from daemon.context import Context
from daemon.history import web_requests
from daemon.liveness import Watchdog
from daemon.migrating.decisions import Decision, record_decision
from daemon.migrating.plan_values import plan_values
from daemon.migrating.requests import Preview, Wish, migration_task, preview
from daemon.migrating.state_copy import copy_if_possible
from daemon.migrating.views import (
    require_begun,
    run_at_work,
    stop_run,
    unfinished_phase,
    wait_for_end,
)
from daemon.runs.result import RunState
from daemon.runs.runner import FENCE_SECONDS, FinishedRun, Runner
from daemon.scheduling.tasks import tasks_of
from domain.cause import Cause
from domain.place import means
from domain.task import Task
from execution.errors import first_line
from execution.progress import NoProgress
from execution.window import open_window
from migrations.format import Phase
from migrations.read_folder import FormatError
from migrations.statements import GrammarError
from migrations.steps.migration_step import MigrationError
from postgres.session import TargetError
from store.store import Row, StoreError

WAITS_AT_MOST = timedelta(minutes=10)
"""A request that the service did not get to in this time is given up, not begun late."""
CODES: Mapping[Cause, str] = {
    Cause.GATE_CLOSED: "gate_closed",
    Cause.PLAN_CHANGED: "plan_changed",
    Cause.BUSY: "busy",
}
"""The codes of refusals; every other one is `wrong_state`."""

_log = structlog.get_logger("migrations")


InTurn = Callable[[Task, str, Callable[[], None]], None]
"""Runs a task of a named request as soon as the limits allow; returns after its end."""


class RefusedError(Exception):
    """A request that cannot be carried out, with the code for its caller."""

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        super().__init__(sentence)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that is carried out."""

    row: Row
    body: Mapping[str, Any]

    @property
    def until(self) -> Phase | None:
        return Phase(self.body["until"]) if self.body.get("until") else None

    def wish(self, **more: Any) -> Wish:  # noqa: ANN401 - the fields of Wish
        reason, who = str(self.body.get("reason") or ""), self.row["principal"]
        given = {"run": self.row["id"], "principal": who, "reason": reason} | more
        return Wish(self.row["subject"], **given)


class CarryOut:
    """Carries out the requests that the store has, each database by itself."""

    def __init__(
        self,
        context: Context,
        watchdog: Watchdog,
        in_turn: InTurn = lambda _task, _name, do: do(),
        *,
        leads: bool = True,
    ) -> None:
        """Carry out nothing unless this process `leads`: the leader of the fleet does."""
        self._leads = leads
        self._context, self._watchdog, self._in_turn = context, watchdog, in_turn
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._runners: dict[str, Runner] = {}
        self._guard = threading.Lock()
        self._stopping = False
        self._cancelled: set[str] = set()
        self._changing: dict[str, threading.Lock] = {}
        """By database, held by the request that runs a migration there."""
        self._actions: Mapping[str, Callable[[_Asked], Mapping[str, Any]]] = {
            "plan": self._plan,
            "apply": self._apply,
            "resume": self._resume,
            "rollback": self._rollback,
            "cancel": self._cancel,
            "approve": self._approve,
            "run": self._run_job,
        }

    def use(self, context: Context) -> None:
        """Use a new context from now on."""
        self._context = context

    def recover(self) -> None:
        """End the requests of a process that died, at its start; `look` begins those that wait.

        One whose run had ended gets that end; the others can be asked again with the same key.
        """
        now = self._context.clock()
        with self._context.store.transaction() as transaction:
            for row in web_requests.load_left(transaction, now - WAITS_AT_MOST):
                answer: dict[str, Any] = {"code": "interrupted"}
                error = "the service ended before it was begun; ask again"
                if row["run"] is not None:
                    answer = {"state": row["state"], "number": row["run"]}
                    error = "" if row["state"] == "finished" else row["reason"] or row["state"]
                else:
                    web_requests.free_key(transaction, row["id"])
                web_requests.end(transaction, row["id"], json.dumps(answer), error, now)

    def look(self) -> None:
        """Begin the requests that wait. Raises StoreError."""
        if not self._leads:
            return
        with self._context.store.reading() as transaction:
            rows = web_requests.waiting(transaction)
        for row in rows:
            with self._guard:
                if self._stopping:
                    return
                if row["database"] not in self._pools:
                    name = f"requests {row['database']}"
                    self._pools[row["database"]] = ThreadPoolExecutor(2, thread_name_prefix=name)
                pool = self._pools[row["database"]]
                with self._context.store.transaction() as transaction:
                    taken = web_requests.take(transaction, row["id"])
                if taken:
                    pool.submit(self._carry_out, row).add_done_callback(_log_crash)

    def cancel(self, request: str) -> None:
        """Stop a request that has not begun its run, or its run. Raises StoreError."""
        if not self._leads:
            with self._context.store.transaction() as transaction:
                if web_requests.take(transaction, request):
                    answer, why = (
                        json.dumps({"code": "cancelled"}),
                        "it was stopped before it began",
                    )
                    web_requests.end(transaction, request, answer, why, self._context.clock())
            return
        with self._guard:
            runner = self._runners.get(request)
            if runner is None:
                self._cancelled.add(request)
        if runner is not None:
            runner.cancel_in_background()

    def runners(self) -> list[Runner]:
        """Return the runners at work, to be cancelled when the service stops."""
        return list(self._runners.values())

    def stop(self) -> None:
        """Begin nothing more."""
        with self._guard:
            self._stopping = True
            for pool in self._pools.values():
                pool.shutdown(wait=False, cancel_futures=True)

    def _carry_out(self, row: Row) -> None:
        """Carry out a request and record its end, whatever happens."""
        answer: Mapping[str, Any] = {"code": "failed"}
        error = "an error of sereno itself; its log has it"
        try:
            answer = self._actions[row["action"]](_Asked(row, json.loads(row["body"])))
            error = str(answer.get("error") or "")
        except RefusedError as refused:
            answer, error = {"code": refused.code}, str(refused)
            self._free_key(row)
        except MigrationError as refused:
            answer, error = {"code": _code(refused.cause)}, str(refused)
        except (TargetError, FormatError, GrammarError, StoreError) as failed:
            answer, error = {"code": "wrong_state"}, str(failed)
        except psycopg.Error as failed:
            answer, error = {"code": "failed"}, first_line(failed)
        finally:
            self._end(row, answer, error)

    def _free_key(self, row: Row) -> None:
        """Let a key be used again after a refusal that only the moment caused."""
        with suppress(StoreError), self._context.store.transaction() as transaction:
            web_requests.free_key(transaction, row["id"])

    def _end(self, row: Row, answer: Mapping[str, Any], error: str) -> None:
        """Record the end of a request, after the copy of the ledger, which shows its effect."""
        context = self._context
        with self._guard:
            self._cancelled.discard(row["id"])
        if row["action"] not in {"plan", "run"}:
            copy_if_possible(context, row["database"])
        try:
            with context.store.transaction() as transaction:
                text = json.dumps(answer, default=str)
                web_requests.end(transaction, row["id"], text, error, context.clock())
        except StoreError as failed:
            _log.critical("request.unrecorded", request=row["id"], error=str(failed))

    def _plan(self, asked: _Asked) -> Mapping[str, Any]:
        wish = asked.wish(until=asked.until, shows_only=True)
        return plan_values(preview(self._context, asked.row["database"], wish))

    def _apply(self, asked: _Asked) -> Mapping[str, Any]:
        reviewed = str(asked.body.get("planHash") or "")
        return self._run(asked, asked.wish(until=asked.until, reviewed=reviewed))

    def _resume(self, asked: _Asked) -> Mapping[str, Any]:
        until = require_begun(self._context, asked.row["database"], asked.row["subject"])
        return self._run(asked, asked.wish(until=Phase(until) if until else None))

    def _rollback(self, asked: _Asked) -> Mapping[str, Any]:
        accepts = bool(asked.body.get("accept"))
        wish = asked.wish(action="rollback", until=asked.until, accepts=accepts)
        return self._run(asked, wish)

    def _cancel(self, asked: _Asked) -> Mapping[str, Any]:
        context, database = self._context, asked.row["database"]
        number = stop_run(context, database, asked.row["subject"], asked.row["principal"])
        if number is not None:
            wait_for_end(context, number)
        phase = unfinished_phase(context, database, asked.row["subject"])
        if phase is None:
            return {"state": "nothing is half done"}
        return self._run(asked, asked.wish(action="rollback", until=phase, reason="cancelled"))

    def _approve(self, asked: _Asked) -> Mapping[str, Any]:
        gate, note = str(asked.body.get("gate") or ""), str(asked.body.get("note") or "")
        decision = Decision(gate, asked.row["principal"], note)
        found = record_decision(
            self._context, asked.row["database"], asked.row["subject"], decision
        )
        return {"gate": found.name}

    def _run_job(self, asked: _Asked) -> Mapping[str, Any]:
        """Run a job now, in one database or wherever it is wanted; return the numbers of the runs.

        Raises RefusedError if the service ends.
        """
        wanted = asked.row["database"] or None
        only = [name for name in self._context.config.databases if means(wanted, name)]
        tasks = list(tasks_of(self._context, [asked.row["subject"]], only=only))
        ended = [self._ran_task(asked.row["id"], task) for task in tasks]
        failed = [one for one in ended if one.state is not RunState.FINISHED]
        error = f"{failed[0].job} {failed[0].database}: {failed[0].reason}" if failed else ""
        return {"runs": [one.number for one in ended], "error": error}

    def _run(self, asked: _Asked, wish: Wish) -> Mapping[str, Any]:
        """Run a wish as a run of its own. Raises RefusedError if another is at work."""
        context, database = self._context, asked.row["database"]
        with self._guard:
            changing = self._changing.setdefault(database, threading.Lock())
        if not changing.acquire(blocking=False):
            raise RefusedError("busy", f"another request is carried out in {database}")
        try:
            if other := run_at_work(context, database):
                raise RefusedError("busy", f"run {other['id']} of {other['subject']} is at work")
            return self._ran(asked.row["id"], database, preview(context, database, wish))
        finally:
            changing.release()

    def _ran(self, request: str, database: str, shown: Preview) -> Mapping[str, Any]:
        """Run a plan; return its end."""
        ran = self._ran_task(request, migration_task(database, shown.request))
        error = "" if ran.state is RunState.FINISHED else ran.reason or ran.state.value
        code = _code(ran.cause) if ran.cause else ran.state.value
        return {"state": ran.state.value, "number": ran.number, "error": error, "code": code}

    def _ran_task(self, request: str, task: Task) -> FinishedRun:
        """Run a task with a runner that others may stop. Raises RefusedError before its start."""
        runner = Runner(
            self._context, NoProgress(), FENCE_SECONDS, threading.Event(), self._watchdog
        )
        with self._guard:
            if self._stopping or request in self._cancelled:
                raise RefusedError("cancelled", "it was stopped before it began")
            self._runners[request] = runner
        ended: list[FinishedRun] = []

        def run() -> None:
            if not runner.stop.is_set():
                ended.append(runner.run(task, open_window(None)))

        try:
            self._in_turn(task, request, run)
        finally:
            with self._guard:
                del self._runners[request]
        if not ended:
            raise RefusedError("cancelled", "it was stopped before it began")
        return ended[0]


def _log_crash(ended: Future[None]) -> None:
    if not ended.cancelled() and (error := ended.exception()) is not None:
        _log.error("request.crashed", exc_info=error)


def _code(cause: Cause | None) -> str:
    return CODES.get(cause, "wrong_state") if cause else "wrong_state"
