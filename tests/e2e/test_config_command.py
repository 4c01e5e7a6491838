"""`sereno config check`: errors, exit codes, secrets that stay out of the output."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli.overview import DAEMON_KEYS, SECTIONS
from daemon.config.model import Config, Daemon
from store.opening import open_store
from tests.fixtures.secrets import write_secret

ROOT = Path(__file__).parents[2]
CANARY = "c4nary-s3cret"
MINIMAL = '[databases.main]\ndsn = "dbname=coop"\n'


@pytest.mark.parametrize("broken", ["", "[routes]\nhigh = ['nobody']\n"])
def test_commands_print_no_secret(tmp_path, broken):
    token = tmp_path / "token"
    write_secret(token, CANARY)
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
        [daemon]
        state = "{tmp_path}/state.db"
        [databases.main]
        dsn = "postgresql://user:{CANARY}@127.0.0.1:1/x?connect_timeout=1"
        [channels.slack]
        type = "slack"
        token = {{ file = "{token}" }}
        channel = "#x"
        {broken}
        """
    )
    open_store(tmp_path / "state.db")
    for command in (
        ["config", "check"],
        ["config", "check", "--json"],
        ["now", "analyze"],
        ["plan", "analyze"],
        ["check"],
        ["status"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "daemon", *command, "--config", str(path)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert CANARY not in done.stdout + done.stderr, command
        assert "Traceback" not in done.stderr, done.stderr
        if broken:
            assert done.returncode == (0 if command == ["status"] else 78), command
    assert CANARY.encode() not in (tmp_path / "state.db").read_bytes() if not broken else True


def test_config_check_reports_every_error_and_exits_78(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL + "a = 1\nb = 2\n")
    command = [sys.executable, "-m", "daemon", "config", "check", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 78
    assert "databases.main.a: is unknown" in done.stderr
    assert "databases.main.b: is unknown" in done.stderr


@pytest.mark.parametrize("command", ["status", "history", "alerts list"])
def test_misspelt_key_is_refused_by_commands_that_read_the_store_only(tmp_path, command):
    path = tmp_path / "config.toml"
    path.write_text(f'{MINIMAL}[daemon]\nstat = "{tmp_path}/state.db"\n')
    arguments = [sys.executable, "-m", "daemon", *command.split(), "--config", str(path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 78
    assert "daemon.stat: is unknown; did you mean 'state'?" in done.stderr


def test_known_keys_are_those_of_the_models():
    assert Config.model_fields.keys() == SECTIONS
    assert Daemon.model_fields.keys() == DAEMON_KEYS


def test_config_check_prints_json(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(MINIMAL)
    command = [sys.executable, "-m", "daemon", "config", "check", "--json", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout)["databases"] == ["main"]
