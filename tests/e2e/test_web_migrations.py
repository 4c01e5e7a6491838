"""The HTTP interface of migrations, in the service: plans, runs, gates, errors, bounds."""

import base64
import http.client
import json
import signal
import socket
import time
import uuid

import pytest

from daemon.demo.cluster import free_port
from tests.postgres.migration_folder import Migrating

ID = Migrating.ID
RIGHTS = ("read", "operate", "execute", "approve", "rollback")


class Web:
    """A service with [web], and a client of it."""

    def __init__(self, made):
        self.made, self.house = made, made.house
        self.port = free_port()
        self.house.extra += f'\n[web]\nlisten = "127.0.0.1:{self.port}"\n'
        self.tokens = {name: made.principal(name, *RIGHTS) for name in ("ana", "eva")}
        self.tokens["reader"] = made.principal("reader", "read")
        self.process = None

    def start(self, wait):
        self.process = self.house.start("run")
        wait(self.answers, what="the port")

    def answers(self):
        assert self.process.poll() is None, self.process.stdout.read()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, method, path, body=None, *, who=None, **headers):
        """Return status, headers and body of a request."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if who is not None:
            given["Authorization"] = f"Bearer {self.tokens.get(who, who)}"
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
        try:
            connection.request(method, path, sent, given)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if "json" in answer.headers.get("Content-Type", ""):
            return answer.status, answer.headers, json.loads(text)
        return answer.status, answer.headers, text

    def execute(self, who="ana", prefer="wait=20", **body):
        key = body.pop("key", str(uuid.uuid4()))
        return self.ask(
            *("POST", "/migrations/execute", {"migrationId": ID} | body),
            who=who,
            Idempotency_Key=key,
            Prefer=prefer,
        )

    def refused(self, answer):
        """Return status and code of an error."""
        status, headers, body = answer
        assert headers["Content-Type"] == "application/problem+json", body
        assert body["detail"]
        return status, body["code"]

    def status(self):
        return self.ask("GET", "/migrations/status")[2]


@pytest.fixture
def web(house, wait):
    made = Migrating(house, rows=1000)
    made.write()
    found = Web(made)
    yield found
    if found.process is not None:
        found.process.send_signal(signal.SIGTERM)
        found.process.wait(20)


def test_migration_is_planned_applied_and_rolled_back_through_http(web, wait):
    web.start(wait)
    status, headers, plan = web.execute(dryRun=True)
    assert (status, plan["status"], plan["dryRun"]) == (200, "finished", True), plan
    assert headers["Location"] == f"/migrations/runs/{plan['run']}"
    assert [step["name"] for step in plan["plan"]["steps"]].count("fill") == 1
    assert web.made.state() == ("pending", ""), "a dry run changes nothing"

    wrong = web.execute(dryRun=False, planHash="0" * 16)
    assert web.refused(wrong) == (409, "plan_changed")
    status, headers, run = web.execute(
        dryRun=False, planHash=plan["plan"]["hash"], reason="ticket 7", prefer="wait=0"
    )
    assert (status, list(run)) == (202, ["run"])
    done = wait(lambda: web.ask("GET", headers["Location"])[2]["finishedAt"], what="the run")
    _, _, run = web.ask("GET", headers["Location"])
    assert (run["status"], run["error"], run["principal"]) == ("finished", None, "ana"), (run, done)
    assert web.made.state() == ("waiting_gate", "tighten")
    ledger = "SELECT run, principal, reason FROM sereno.migration_run"
    assert tuple(web.made.database.rows(ledger)[0].values()) == (run["run"], "ana", "ticket 7")

    found = web.status()
    assert found["totals"]["successful"] == 1
    assert [one["dryRun"] for one in found["history"]].count(True) == 1
    assert [one["state"] for one in found["pending"]] == ["waiting_gate"]
    progress = web.ask("GET", f"/api/v1/migrations/progress?id={ID}")[2]
    assert (progress["rowsDone"], progress["percent"]) == (1000, 100.0) or progress["step"]
    metrics = web.ask("GET", "/metrics")[2]
    assert (
        f'migration_duration_seconds_count{{migration_name="{ID}",status="finished"}} 1.0'
        in metrics
    )
    assert (
        f'migration_errors_total{{error_type="plan_changed",migration_name="{ID}"}}' not in metrics
    )

    status, _, back = web.ask(
        *("POST", f"/migrations/{run['run']}/rollback", {"reason": "no"}),
        who="eva",
        Prefer="wait=20",
    )
    assert (status, back["status"]) == (200, "finished"), back
    assert web.made.state() == ("rolled_back", "")
    page = web.ask("GET", "/migrations")
    assert (page[0], "rolled_back" in page[2]) == (200, True)
    assert "<script" not in page[2]
    assert "default-src 'none'" in page[1]["Content-Security-Policy"]
    assert web.ask("GET", "/static/sereno.css")[0] == 200


def test_same_key_is_the_same_run_and_another_body_is_refused(web, wait):
    web.start(wait)
    key = str(uuid.uuid4())
    first = web.execute(dryRun=False, until="prepare", key=key)
    again = web.execute(dryRun=False, until="prepare", key=key)
    assert (first[0], again[0], first[2]["run"]) == (200, 200, again[2]["run"])
    assert web.made.database.value("SELECT count(*) FROM sereno.migration_run") == 1
    other = web.execute(dryRun=False, until="data", key=key)
    assert web.refused(other) == (422, "key_reused")
    of_eva = web.execute("eva", dryRun=False, until="data", key=key)
    assert of_eva[0] == 200, "keys of two principals are apart"


def test_errors_have_a_code_and_name_what_is_missing(web, wait):
    web.start(wait)
    body = {"migrationId": ID, "dryRun": False}
    post = ("POST", "/migrations/execute")
    cases = {
        (428, "key_missing"): web.ask(*post, body, who="ana"),
        (401, "unauthenticated"): web.ask(*post, body),
        (403, "forbidden"): web.ask(*post, body, who="reader"),
        (422, "invalid"): web.ask(*post, body | {"skipValidation": True}, who="ana"),
        (400, "bad_json"): web.ask(*post, "{", who="ana"),
        (413, "too_large"): web.ask(*post, "x" * 70_000, who="ana"),
        (404, "not_found"): web.ask("POST", "/migrations/none/pause", who="ana"),
        (404, "unknown_database"): web.execute(database="other"),
        (400, "bad_host"): web.ask("GET", "/migrations/status", Host="evil.example"),
        (405, "method_not_allowed"): web.ask("DELETE", "/migrations/status"),
        (409, "wrong_state"): web.execute(migrationId="0009_none"),
    }
    for expected, answer in cases.items():
        assert web.refused(answer) == expected, answer
    assert cases[422, "invalid"][2]["missing"] == ["skipValidation"]
    assert web.refused(web.ask("GET", "/migrations/status", who="wrong")) == (
        401,
        "unauthenticated",
    )
    assert web.refused(web.ask("GET", "/migrations/progress?id=none")) == (404, "not_found")
    basic = base64.b64encode(f"reader:{web.tokens['reader']}".encode()).decode()
    assert web.ask("GET", "/migrations", Authorization=f"Basic {basic}")[0] == 200
    by_password = web.ask(*post, body, Authorization=f"Basic {basic}")
    assert web.refused(by_password) == (401, "unauthenticated"), "a browser sends it unasked"
    chunks = iter([b"y" * 40_000, b"y" * 40_000])
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=10)
    connection.request(
        *post, chunks, {"Authorization": f"Bearer {web.tokens['ana']}"}, encode_chunked=True
    )
    assert connection.getresponse().status == 413
    assert web.made.state() == ("pending", "")
    assert not web.made.database.rows("SELECT FROM sereno.migration_run")


def test_running_migration_is_paused_limited_and_resumed(web, wait):
    toml = '[steps."data.10_fill.batch.sql"]\ntable = "public.users"\nkey = "id"\npause = 30\n'
    web.made.write({"migration.toml": f'title = "slow"\narchive = ["public.new_table"]\n{toml}'})
    web.start(wait)
    web.made.migrate("batch", ID, "--rows", "20")
    _, _, run = web.execute(dryRun=False, prefer="wait=0")
    path = f"/migrations/{run['run']}"

    def moving():
        status, _, found = web.ask("GET", f"/migrations/progress?id={run['run']}")
        return status == 200 and found["rowsDone"] >= 40 and found

    found = wait(moving, what="some batches")
    assert (found["batchSize"], found["phase"]) == (20, "data")
    assert found["rowsEstimated"] >= 1000
    busy = web.execute("eva", dryRun=False)
    assert web.refused(busy) == (409, "busy")
    assert web.ask("GET", "/migrations")[2].count("<progress") == 1
    assert web.ask("POST", f"{path}/batch", {"rows": 500}, who="ana")[0] == 202
    wait(lambda: web.ask("GET", f"/migrations/progress?id={ID}")[2]["batchSize"] > 20)
    assert web.ask("POST", f"{path}/pause", who="ana")[0] == 202
    wait(lambda: web.made.state()[0] == "paused", what="the pause")
    paused = web.ask("POST", f"{path}/pause", who="ana")
    assert web.refused(paused) == (409, "wrong_state")
    web.made.write(
        {
            "migration.toml": f'title = "slow"\narchive = ["public.new_table"]\n{toml.replace("30", "0")}'
        }
    )
    status, _, resumed = web.ask(
        "POST", f"{path}/resume", {"reason": "on"}, who="eva", Prefer="wait=20"
    )
    assert (status, resumed.get("status")) == (200, "finished"), resumed
    assert web.made.state() == ("waiting_gate", "tighten")


def test_one_person_may_not_approve_and_apply(web, wait):
    web.house.extra = web.house.extra.replace(
        'environment = "development"',
        'environment = "b"\nladder = ["a", "b", "c"]\nsoak = "1ms"',
    )
    for gate in ("begin.rehearsal", "begin.rung", "cleanup.rung"):
        assert web.made.migrate("waive", ID, gate, "--reason", "a test").returncode == 0
    web.start(wait)
    _, _, run = web.execute(dryRun=False)
    assert run["status"] == "finished", run
    path = f"/migrations/{run['run']}/approve"
    closed = web.execute(dryRun=False, until="cleanup")
    assert web.refused(closed) == (409, "gate_closed")
    assert closed[2]["missing"] == ["cleanup.approval"]
    assert web.ask("POST", path, who="ana", Prefer="wait=20")[0] == 200
    assert web.refused(web.ask("POST", path, who="ana")) == (403, "second_person")
    assert web.refused(web.execute(dryRun=False, until="cleanup")) == (403, "second_person")
    status, _, done = web.execute("eva", dryRun=False, until="cleanup")
    assert (status, done["status"]) == (200, "finished"), done
    assert web.made.state() == ("done", "cleanup")


def test_service_stops_within_seconds_in_the_middle_of_a_requested_run(web, wait):
    web.made.write(
        {"prepare.sql": "CREATE TABLE new_table (id bigint PRIMARY KEY); SELECT pg_sleep(60);"}
    )
    web.start(wait)
    web.execute(dryRun=False, prefer="wait=0")
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND application_name = 'sereno/migrate'"
    wait(lambda: web.made.database.value(sleeping) > 0)
    began = time.monotonic()
    web.process.send_signal(signal.SIGTERM)
    assert web.process.wait(30) == 0
    assert time.monotonic() - began < 12
    assert web.made.state()[0] == "paused"


def test_slow_and_many_connections_are_closed(web, wait):
    web.start(wait)
    slow = socket.create_connection(("127.0.0.1", web.port))
    slow.sendall(b"GET /healthz HTTP/1.1\r\n")
    many = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(120)]
    assert web.ask("GET", "/healthz")[0] == 200, "the oldest of them give way"
    closed = 0
    for one in many[:20]:
        one.settimeout(15)
        try:
            closed += one.recv(1) == b""
        except ConnectionResetError:
            closed += 1
    assert closed == 20, "no request came in ten seconds"
    for one in (slow, *many):
        one.close()
