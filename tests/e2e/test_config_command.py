"""The configuration through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CANARY = "c4nary-s3cret"
LEAST = '[databases.main]\ndsn = "dbname=coop"\n'


@pytest.mark.parametrize("broken", ["", "[routes]\nhigh = ['nobody']\n"])
def test_no_secret_reaches_the_screen(tmp_path, broken):
    token = tmp_path / "token"
    token.write_text(CANARY)
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
            capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        assert CANARY not in done.stdout + done.stderr, command
        assert "Traceback" not in done.stderr, done.stderr
        if broken:
            assert done.returncode == (0 if command == ["status"] else 78), command
    assert CANARY.encode() not in (tmp_path / "state.db").read_bytes() if not broken else True


def test_config_check_ends_with_78_and_every_line(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(LEAST + "a = 1\nb = 2\n")
    command = [sys.executable, "-m", "daemon", "config", "check", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 78
    assert "databases.main.a: is unknown" in done.stderr
    assert "databases.main.b: is unknown" in done.stderr


def test_config_check_as_json(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(LEAST)
    command = [sys.executable, "-m", "daemon", "config", "check", "--json", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout)["databases"] == ["main"]
