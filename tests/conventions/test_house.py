"""Project rules that no linter checks."""

import ast
import os
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from daemon.__main__ import PACKAGES
from store.opening import open_store

ROOT = Path(__file__).parents[2]
MODULES = [path for folder in PACKAGES for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]
IDS = [str(path.relative_to(ROOT)) for path in MODULES]


def concatenated_statements(source):
    """Yield calls with a statement built by an f-string, +, % or .format()."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    attr="execute" | "rows" | "row" | "insert" | "executemany" | "SQL"
                )
                | ast.Name(id="SQL"),
                args=[first, *_],
            ):
                concatenated = isinstance(first, ast.JoinedStr | ast.BinOp)
                text_format = (
                    isinstance(first, ast.Call)
                    and isinstance(first.func, ast.Attribute)
                    and first.func.attr == "format"
                    and isinstance(first.func.value, ast.Constant)
                )
                if concatenated or text_format:
                    yield ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_sql_statements_are_not_concatenated(path):
    assert list(concatenated_statements(path.read_text())) == []


def test_concatenated_statement_is_detected():
    bad = [
        'c.execute(f"VACUUM {t}")',
        'c.execute("VACUUM " + t)',
        'c.execute("VACUUM %s" % t)',
        'sql.SQL("a {}".format(t))',
    ]
    assert all(list(concatenated_statements(line)) for line in bad)
    assert list(concatenated_statements('c.execute("VACUUM")')) == []


@pytest.mark.parametrize(
    ("call", "modules"),
    [
        (
            "psycopg.connect",
            {"postgres/session.py", "postgres/administrator.py", "daemon/demo/night.py"},
        ),
        ("sqlite3.connect", {"store/state_file.py"}),
    ],
)
def test_connect_call_is_used_only_in_its_modules(call, modules):
    module, name = call.split(".")
    found = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr == name
        and isinstance(node.value, ast.Name)
        and node.value.id == module
    }
    assert found == modules


def test_broad_except_is_used_only_around_run_and_delivery():
    broad = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id == "Exception"
    }
    assert broad == {"daemon/runs/runner.py", "alerts/courier.py", "alerts/heartbeat.py"}


def test_every_check_has_a_test():
    """In a file of its own, or as an illness of the catalogue."""
    from checks.registry import load

    folder = ROOT / "tests/postgres/checks"
    tested = {path.stem.removeprefix("test_") for path in folder.glob("test_*.py")}
    for path in folder.glob("test_*catalogue.py"):
        tested |= set(re.findall(r'"(\w+)"', path.read_text()))
    assert set(load()) <= tested


def test_reference_configuration_is_current():
    from daemon.config.reference import reference

    assert (ROOT / "config.toml").read_text() == reference(), "run `make reference`"


def test_reference_configuration_is_valid():
    from daemon.config.load import load_config
    from daemon.registry import JOB_NAMES

    assert load_config(ROOT / "config.toml", JOB_NAMES).databases


def test_import_names_are_not_used_by_other_distributions():
    own_files = {f"{name}/__init__.py" for name in PACKAGES}
    for distribution in distributions():
        if distribution.metadata["Name"] != "sereno":
            files = {str(file) for file in distribution.files or ()}
            assert not files & own_files, distribution.metadata["Name"]


HEAVY = {"psycopg", "pydantic", "jinja2", "matplotlib", "structlog", "apscheduler", "slack_sdk"}
"""Libraries that commands which only read the store must not import: each costs start-up time."""


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("--help", {*HEAVY, "sqlite3", "smtplib"}),
        ("status", HEAVY),
        ("history", HEAVY),
        ("alerts list", HEAVY),
    ],
)
def test_command_imports_no_heavy_library(command, heavy, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(f"[daemon]\nstate = '{tmp_path}/state.db'\n[databases.main]\nhost = '/tmp'\n")
    open_store(tmp_path / "state.db")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "daemon", *command.split()],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **{name: one for name, one in os.environ.items() if not name.startswith("COVERAGE")},
            "SERENO_CONFIG": str(config),
        },
    )
    assert done.stdout, done.stderr
    imported = {line.rpartition("|")[2].split(".")[0].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not heavy & imported


def test_modules_contain_no_todo_comments():
    words = ("TO" + "DO", "FIX" + "ME", "X" + "XX")
    for path in MODULES:
        assert not any(word in path.read_text() for word in words), path
