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

    def plan(self, **body):
        """Return the hash of a plan, as a person would review it."""
        status, _, run = self.execute(dryRun=True, **body)
        assert status == 200, run
        return run["plan"]["hash"]

    def post(self, path, body=None, who="ana", **headers):
        """Send a request with a key of its own, and wait for its end."""
        given = {"Idempotency_Key": str(uuid.uuid4()), "Prefer": "wait=20"} | headers
        return self.ask("POST", path, body, who=who, **given)

    def execute(self, who="ana", prefer="wait=20", **body):
        key = body.pop("key", str(uuid.uuid4()))
        if not body.get("dryRun", True) and "planHash" not in body:
            body["planHash"] = self.plan(**{name: body[name] for name in body.keys() & {"until"}})
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
    assert (progress["rowsDone"], progress["percent"]) == (1000, 100.0)
    metrics = web.ask("GET", "/metrics")[2]
    assert (
        f'migration_duration_seconds_count{{migration_name="{ID}",status="finished"}} 1.0'
        in metrics
    )
    assert (
        f'migration_errors_total{{error_type="plan_changed",migration_name="{ID}"}}' not in metrics
    )

    path = f"/migrations/{run['run']}/rollback"
    assert web.refused(web.post(path, {"reason": "no"}, "eva")) == (422, "invalid")
    status, _, back = web.post(path, {"reason": "no", "until": "prepare"}, "eva")
    assert (status, back["status"]) == (200, "finished"), back
    assert web.made.state() == ("rolled_back", "")
    page = web.ask("GET", "/migrations")
    assert (page[0], "rolled_back" in page[2]) == (200, True)
    assert page[2].count("<script") == page[2].count('<script src="/static/sereno.js"') == 1
    assert "default-src 'none'" in page[1]["Content-Security-Policy"]
    assert web.ask("GET", "/static/sereno.css")[0] == 200


def test_same_key_is_the_same_run_and_another_body_is_refused(web, wait):
    web.start(wait)
    key = str(uuid.uuid4())
    reviewed = web.plan(until="prepare")
    first = web.execute(dryRun=False, until="prepare", planHash=reviewed, key=key)
    again = web.execute(dryRun=False, until="prepare", planHash=reviewed, key=key)
    assert (first[0], again[0], first[2]["run"]) == (200, 200, again[2]["run"])
    assert web.made.database.value("SELECT count(*) FROM sereno.migration_run") == 1
    other = web.execute(dryRun=False, until="data", planHash=reviewed, key=key)
    assert web.refused(other) == (422, "key_reused")
    of_eva = web.execute("eva", dryRun=False, until="data", key=key)
    assert of_eva[0] == 200, "keys of two principals are apart"


def test_errors_have_a_code_and_name_what_is_missing(web, wait):
    web.start(wait)
    body = {"migrationId": ID, "dryRun": False}
    post = ("POST", "/migrations/execute")
    cases = {
        (428, "key_missing"): web.ask(*post, body, who="ana"),
        (422, "plan_missing"): web.execute(dryRun=False, planHash=""),
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
    page = web.ask("GET", "/migrations")[2]
    assert (page.count("<progress"), "see its progress above" in page) == (1, True)
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
    assert web.refused(web.ask("POST", f"{path}/resume", who="eva")) == (428, "key_missing")
    status, _, resumed = web.post(f"{path}/resume", {"reason": "on"}, "eva")
    assert (status, resumed.get("status")) == (200, "finished"), resumed
    assert web.made.state() == ("waiting_gate", "tighten")


def test_one_person_may_not_approve_and_apply(web, wait, monkeypatch):
    web.house.extra = web.house.extra.replace(
        'environment = "development"',
        'environment = "b"\nladder = ["a", "b", "c"]\nsoak = "1ms"',
    )
    for gate in ("begin.rehearsal", "begin.rung", "cleanup.rung"):
        monkeypatch.setenv("SERENO_TOKEN", web.tokens["eva"])
        waived = web.made.migrate("waive", ID, gate, "--reason", "a test", "--as", "eva")
        assert waived.returncode == 0, waived.stderr
    web.start(wait)
    _, _, run = web.execute(dryRun=False)
    assert run["status"] == "finished", run
    path = f"/migrations/{run['run']}/approve"
    closed = web.execute(dryRun=False, until="cleanup")
    assert web.refused(closed) == (409, "gate_closed")
    assert closed[2]["missing"] == ["cleanup.approval"]
    attested = {"gate": "begin.support"}
    assert web.refused(web.post(path, attested)) == (422, "invalid"), "no such gate on this rung"
    key = {"Idempotency_Key": "once"}
    assert web.post(path, **key)[0] == 200
    assert web.post(path, **key)[0] == 200, "the same request"
    assert web.refused(web.post(path)) == (403, "second_person")
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


def slow_prepare(web, seconds):
    web.made.write(
        {
            "prepare.sql": f"CREATE TABLE new_table (id bigint PRIMARY KEY); SELECT pg_sleep({seconds});"
        }
    )
    return f"SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep({seconds})%' AND application_name = 'sereno/migrate'"


def test_reload_leaves_requests_in_flight_alone(web, wait):
    sleeping = slow_prepare(web, 5)
    web.start(wait)
    key = {"key": "reload", "planHash": web.plan(until="prepare"), "until": "prepare"}
    _, _, run = web.execute(dryRun=False, prefer="wait=0", **key)
    wait(lambda: web.made.database.value(sleeping) > 0)
    web.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    wait(web.answers, what="the port after the reload")
    status, _, done = web.execute(dryRun=False, **key)
    assert (status, done["status"], done["run"]) == (200, "finished", run["run"])


def test_run_of_a_killed_service_is_told_and_its_key_gives_its_end(web, wait):
    sleeping = slow_prepare(web, 60)
    web.start(wait)
    key = {"key": "kill", "planHash": web.plan(), "dryRun": False}
    _, _, run = web.execute(prefer="wait=0", **key)
    wait(lambda: web.made.database.value(sleeping) > 0)
    web.process.kill()
    web.process.wait()
    web.start(wait)
    status, _, again = web.execute(**key)
    assert (status, again["run"], again["status"]) == (200, run["run"], "interrupted")
    found = web.status()
    assert (found["current"], found["totals"]["total"]) == (None, 1)
    alerts = json.loads(web.made.sereno("alerts", "list", "--json").stdout)
    assert [(one["kind"], one["object"]) for one in alerts] == [("migration_failed", ID)]
    assert "nothing goes on by itself" in alerts[0]["summary"]
    wait(lambda: web.made.database.value(sleeping) == 0, what="the end of the session")
    web.made.write(
        {
            "prepare.sql": "CREATE TABLE new_table (id bigint PRIMARY KEY, note text); ALTER TABLE users ADD migrated boolean;"
        }
    )
    resumed = web.made.migrate("resume", ID)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    alerts = json.loads(web.made.sereno("alerts", "list", "--json").stdout)
    assert "migration_failed" not in {one["kind"] for one in alerts}


def test_request_that_has_not_begun_can_be_stopped(web, wait):
    web.start(wait)
    with web.house.context().store.transaction() as transaction:
        transaction.execute(
            "INSERT INTO web_request (id, action, database, subject, principal, body, state, created_at)"
            " VALUES ('r1', 'apply', 'main', ?, 'ana', '{}', 'running', '2999-01-01T00:00:00.000000Z')",
            (ID,),
        )
    assert web.ask("POST", "/migrations/r1/pause", who="ana")[0] == 202
    assert web.made.state() == ("pending", "")


@pytest.mark.parametrize("host", ["[", "evil@localhost", "localhost.", "", "a b"])
def test_strange_host_is_refused_before_anything_else(web, wait, host):
    web.start(wait)
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as raw:
        raw.sendall(
            f"GET /migrations/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b""
        while part := raw.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400"), answer[:80]
