"""Gates: evidence of the rung below, attestations, two people, waivers."""

import json
import os
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.demo.cluster import embedded_binaries
from store.timestamps import to_text
from tests.postgres.migration_folder import PREPARE, Migrating

ID = Migrating.ID
PROBES = {
    "probe.old.sql": "-- @probe read\nSELECT id FROM users LIMIT 1;\n",
    "probe.new.sql": "-- @probe read\nSELECT id FROM users LIMIT 1;\n",
    "sample.sql": "INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 20) n;\n",
}
LADDER = '[migrations]\nfolder = "{folder}"\nladder = ["staging", "production"]\nenvironment = "{environment}"\nscratch = "{scratch}"\n'


class Rung(Migrating):
    """An environment of a ladder of two, with a scratch server for rehearsals."""

    def __init__(self, house, environment, scratch):
        super().__init__(house, rows=50)
        self.write(PREPARE | PROBES)
        house.extra = LADDER.format(
            folder=self.folder, environment=environment, scratch=scratch.dsn()
        )
        self.gate_settings = ""

    def code(self, *arguments):
        """Run a command; return its exit code and both outputs."""
        done = self.migrate(*arguments)
        return done.returncode, done.stdout + done.stderr

    def fine(self, *arguments):
        code, text = self.code(*arguments)
        assert code == 0, text
        return text

    def gates(self):
        """Return the state of each gate."""
        plan = json.loads(self.fine("plan", ID, "--json"))
        return {one["name"]: one["state"] for one in plan["gates"]}

    def refused(self, *arguments, code=4):
        found, text = self.code(*arguments)
        assert found == code, text
        return " ".join(text.split())


def new_key(path):
    return CliRunner().invoke(app, ["migrate", "new-key", str(path)])


@pytest.fixture
def rungs(clusters, make_database, make_house, tmp_path, monkeypatch):
    """Return staging and production, on two servers of which each is the other's scratch server."""
    monkeypatch.setenv("PATH", f"{embedded_binaries()}:{os.environ['PATH']}")
    # two servers that no other test leaves roles on
    servers = [clusters("embedded", max_connections=str(number)) for number in (57, 58)]
    with make_database(servers[0]) as first, make_database(servers[1]) as second:
        made = []
        for database, name, scratch in (
            (first, "staging", servers[1]),
            (second, "production", servers[0]),
        ):
            (tmp_path / name).mkdir()
            made.append(Rung(make_house(tmp_path / name, database), name, scratch))
            made[-1].scratch = scratch
        other = {servers[0]: made[0], servers[1]: made[1]}
        for rung in made:
            for role in (rung.owner, rung.login, rung.house.maintain, rung.house.data):
                other[rung.scratch].database.run(f"CREATE ROLE {role}")
        yield made


def test_migration_climbs_the_ladder_by_evidence_and_two_people(rungs, monkeypatch):
    staging, production = rungs
    assert "gates" not in staging.fine("plan", ID).split()
    closed = production.refused("apply", ID, "--yes")
    for missing in (
        "begin.rehearsal: not rehearsed with this checksum",
        "begin.rung: migrations.rungs.staging.public_key is not configured",
        "nobody has attested: the maintenance window was announced",
    ):
        assert missing in closed
    assert production.state() == ("pending", "")

    key = staging.house.folder / "key"
    printed = new_key(key).stdout
    assert oct(key.stat().st_mode)[-3:] == "600"
    assert new_key(key).exit_code == 2, "nothing is overwritten"
    staging.house.extra += f'signing_key = {{ file = "{key}" }}\n'
    production.house.extra += "[migrations.rungs.staging]\n" + printed.splitlines()[-1] + "\n"

    assert "no rehearsal without problems" in staging.refused("evidence", ID, "--sign", code=2)
    staging.fine("rehearse", ID, "--seconds", "0.2")
    assert "apply it first" in staging.refused("evidence", ID, "--sign", code=2)
    staging.fine("apply", ID, "--yes")
    signed = staging.fine("evidence", ID, "--sign")
    evidence = production.folder / ID / "evidence.staging.json"

    forged = json.loads(signed) | {"phase": "purge"}
    evidence.write_text(json.dumps(forged))
    assert "the signature is not of the listed key" in production.refused("apply", ID, "--yes")
    evidence.write_text(signed)
    gates = production.gates()
    assert (gates["begin.rung"], gates["cleanup.rung"]) == ("open", "closed")

    prepare = production.folder / ID / "prepare.sql"
    prepare.write_text(PREPARE["prepare.sql"].replace("boolean", "bool  "))
    assert "another version of the files" in production.refused("apply", ID, "--yes")
    prepare.write_text("-- Licence: none\n" + PREPARE["prepare.sql"])
    production.fine("rehearse", ID, "--seconds", "0.2")
    gates = production.gates()
    assert (gates["begin.rehearsal"], gates["begin.rung"]) == ("open", "open"), "a comment only"

    for gate in ("backup", "window", "support"):
        production.fine("approve", ID, "--gate", f"begin.{gate}", "--note", "mail of today")
    assert "is not opened by a person" in production.refused(
        "approve", ID, "--gate", "cleanup.rung", "--note", "x", code=2
    )
    production.fine("apply", ID, "--yes")
    assert production.state() == ("waiting_gate", "tighten")
    passed = "SELECT count(*) FROM sereno.migration_gate WHERE state = 'passed'"
    assert production.database.value(passed) == 5

    tokens = {name: production.principal(name, "execute", "approve") for name in ("ana", "eva")}

    def be(name):
        monkeypatch.setenv("SERENO_TOKEN", tokens[name])

    closed = production.refused("apply", ID, "--yes", "--until", "cleanup")
    assert "cleanup.rung: the evidence of staging ends with tighten" in closed
    assert "left since tighten is complete" in closed
    be("ana")
    assert "is not its token" in production.refused("approve", ID, "--as", "eva", code=2)
    production.fine("approve", ID, "--as", "ana")
    assert "a second person is needed" in production.refused("approve", ID, "--as", "ana", code=2)
    staging.fine("apply", ID, "--yes", "--until", "cleanup")
    evidence.write_text(staging.fine("evidence", ID, "--sign"))
    production.fine(
        *(
            "approve",
            ID,
            "--as",
            "ana",
            "--gate",
            "cleanup.old-application",
            "--note",
            "none in logs",
        )
    )
    production.fine("waive", ID, "cleanup.soak", "--as", "ana", "--reason", "no traffic at night")
    closed = production.refused("apply", ID, "--yes", "--until", "cleanup", "--as", "ana")
    assert closed.endswith("ana approved it and applies it: a second person is needed")
    assert "say who applies it" in production.refused("apply", ID, "--yes", "--until", "cleanup")
    assert "--as NAME" in production.refused("waive", ID, "cleanup.soak", "--reason", "x", code=2)
    be("eva")
    production.fine("apply", ID, "--yes", "--until", "cleanup", "--as", "eva")
    assert production.state() == ("done", "cleanup")
    listed = production.sereno("alerts", "list", "--json")
    assert [one["kind"] for one in json.loads(listed.stdout)] == ["gate_waived"]


def test_approval_is_void_after_a_rollback(rungs):
    production = rungs[1]
    production.house.extra += 'soak = "1ms"\n'
    for gate in (
        *("begin.rehearsal", "begin.rung", "begin.backup", "begin.window", "begin.support"),
        *("cleanup.rung", "cleanup.old-application", "cleanup.approval"),
    ):
        if gate == "cleanup.rung":
            production.fine("apply", ID, "--yes")
        production.fine("waive", ID, gate, "--reason", "a test")
    production.fine("apply", ID, "--yes", "--until", "cleanup")
    production.fine("rollback", ID, "--yes", "--until", "cleanup")
    closed = production.refused("apply", ID, "--yes", "--until", "cleanup")
    assert "cleanup.approval: nobody has approved it" in closed


@pytest.fixture
def laddered(migrating):
    """Return a migration on the second of three rungs, where nothing is to wait for."""
    migrating.house.extra = migrating.house.extra.replace(
        'environment = "development"', 'environment = "b"\nladder = ["a", "b", "c"]\nsoak = "1ms"'
    )
    return migrating


def waive(migrating, *gates):
    for gate in gates:
        done = migrating.migrate("waive", ID, gate, "--reason", "a test")
        assert done.returncode == 0, done.stderr


def test_gates_are_asked_again_for_other_files_and_after_an_adoption(laddered):
    waive(laddered, "begin.rehearsal", "begin.rung")
    assert laddered.migrate("apply", ID, "--yes", "--until", "prepare").returncode == 0
    assert laddered.migrate("plan", ID).returncode == 0
    laddered.write({"tighten.check.sql": "-- @check other\nSELECT id FROM users WHERE id < 0;\n"})
    closed = laddered.migrate("apply", ID, "--yes")
    assert (closed.returncode, "begin.rehearsal: not rehearsed" in closed.stderr) == (4, True)
    passed = "SELECT count(*) FROM sereno.migration_gate WHERE state = 'passed'"
    assert laddered.database.value(passed) == 2, "nothing that is closed counts as passed"

    laddered.write()
    assert laddered.migrate("apply", ID, "--yes").returncode == 0, "the files are as before"
    assert laddered.migrate("rollback", ID, "--yes").returncode == 0
    closed = laddered.migrate("apply", ID, "--yes")
    assert (closed.returncode, "begin.rung" in closed.stderr) == (4, True), "void after a rollback"


def test_adopted_phase_opens_no_gate_and_is_not_signed(laddered, tmp_path):
    laddered.house.extra += f'signing_key = {{ file = "{tmp_path}/key" }}\n'
    assert new_key(tmp_path / "key").exit_code == 0
    laddered.write({"prepare.check.sql": "-- @check c\nSELECT id FROM users WHERE id < 0;\n"})
    adopted = laddered.migrate("adopt", ID, "--phase", "prepare", "--reason", "by hand")
    assert adopted.returncode == 0, adopted.stderr
    assert laddered.migrate("apply", ID, "--yes").returncode == 4
    with laddered.house.context().store.transaction() as transaction:
        checksum = json.loads(laddered.migrate("plan", ID, "--json").stdout)["checksum"]
        transaction.execute(
            "INSERT INTO migration_evidence (migration, checksum, environment, ok, evidence, recorded_at)"
            """ VALUES (?, ?, 'b', 1, '{"round_trips": ["prepare"]}', ?)""",
            (ID, checksum, to_text(datetime.now(UTC))),
        )
    signed = laddered.migrate("evidence", ID, "--sign")
    assert (signed.returncode, "is adopted here" in signed.stderr) == (2, True), signed.stdout


def test_operator_may_not_apply_further_phases_by_resuming(laddered, monkeypatch):
    waive(laddered, "begin.rehearsal", "begin.rung")
    assert laddered.migrate("apply", ID, "--yes", "--until", "prepare").returncode == 0
    monkeypatch.setenv("SERENO_TOKEN", laddered.principal("op", "operate"))
    refused = laddered.migrate("resume", ID, "--as", "op")
    assert (refused.returncode, "may not execute" in refused.stderr) == (2, True)
    assert laddered.state() == ("paused", "prepare")


def test_migration_behind_another_one_is_not_rolled_back_half(migrating):
    other = {
        "migration.toml": 'title = "later"\n',
        "prepare.sql": "CREATE TABLE later (id int);",
        "prepare.check.sql": "-- @check c\nSELECT id FROM later WHERE id < 0;",
        "prepare.rollback.sql": "DROP TABLE later;",
    }
    migrating.write(
        other | {"migration.toml": 'title = "later"\narchive = ["public.later"]\n'}, "0002_later"
    )
    assert migrating.migrate("apply", ID, "--yes").returncode == 0
    assert migrating.migrate("apply", "0002_later", "--yes").returncode == 0
    refused = migrating.migrate("rollback", ID, "--yes")
    assert (refused.returncode, "0002_later was applied after" in refused.stderr) == (2, True)
    assert migrating.state() == ("waiting_gate", "tighten"), "nothing is undone"
    assert migrating.migrate("rollback", "0002_later", "--yes").returncode == 0
    assert migrating.migrate("rollback", ID, "--yes").returncode == 0


def test_embedded_rehearsal_takes_nothing_away(laddered):
    laddered.write(PROBES)
    with laddered.house.context().store.transaction() as transaction:
        checksum = json.loads(laddered.migrate("plan", ID, "--json").stdout)["checksum"]
        transaction.execute(
            "INSERT INTO migration_evidence (migration, checksum, environment, ok, evidence, recorded_at)"
            " VALUES (?, ?, 'b', 1, '{}', ?)",
            (ID, checksum, to_text(datetime.now(UTC))),
        )
    assert laddered.migrate("rehearse", ID, "--embedded", "--seconds", "0").returncode == 0
    gates = json.loads(laddered.migrate("plan", ID, "--json").stdout)["gates"]
    assert gates[0]["state"] == "open", gates[0]
