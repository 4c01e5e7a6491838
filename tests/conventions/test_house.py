"""House rules that no linter checks."""

import ast
import subprocess
import sys
import time
from importlib.metadata import distributions
from pathlib import Path

import pytest

from daemon.__main__ import PACKAGES

ROOT = Path(__file__).parents[2]
MODULES = [path for folder in PACKAGES for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]
IDS = [str(path.relative_to(ROOT)) for path in MODULES]


def put_together(source):
    """Statements that are strings put together: f-strings, +, %, .format() on text."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    attr="execute" | "rows" | "row" | "insert" | "executemany" | "SQL"
                )
                | ast.Name(id="SQL"),
                args=[first, *_],
            ):
                glued = isinstance(first, ast.JoinedStr | ast.BinOp)
                text_format = (
                    isinstance(first, ast.Call)
                    and isinstance(first.func, ast.Attribute)
                    and first.func.attr == "format"
                    and isinstance(first.func.value, ast.Constant)
                )
                if glued or text_format:
                    yield ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_no_statement_is_built_from_strings(path):
    assert list(put_together(path.read_text())) == []


def test_the_rule_sees_what_it_is_for():
    bad = [
        'c.execute(f"VACUUM {t}")',
        'c.execute("VACUUM " + t)',
        'c.execute("VACUUM %s" % t)',
        'sql.SQL("a {}".format(t))',
    ]
    assert all(list(put_together(line)) for line in bad)
    assert list(put_together('c.execute("VACUUM")')) == []


@pytest.mark.parametrize(
    ("call", "home"),
    [
        ("psycopg.connect", {"postgres/session.py", "daemon/demo/night.py"}),
        ("sqlite3.connect", {"store/store.py"}),
    ],
)
def test_one_door_to_each_outer_system(call, home):
    module, name = call.split(".")
    users = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr == name
        and isinstance(node.value, ast.Name)
        and node.value.id == module
    }
    assert users == home


def test_broad_excepts_stand_only_around_a_run_and_a_delivery():
    broad = {
        str(path.relative_to(ROOT))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id == "Exception"
    }
    assert broad == {"daemon/runs/runner.py", "alerts/courier.py", "alerts/heartbeat.py"}


def test_every_check_has_the_test_of_its_illness():
    from checks.registry import load

    tested = {
        path.stem.removeprefix("test_")
        for path in (ROOT / "tests/postgres/checks").glob("test_*.py")
    }
    assert set(load()) <= tested


def test_the_reference_configuration_is_current():
    from daemon.config.reference import reference

    assert (ROOT / "config.toml").read_text() == reference(), "make reference"


def test_the_reference_configuration_is_fine():
    from daemon.config.load import load_config
    from daemon.registry import JOB_NAMES

    assert load_config(ROOT / "config.toml", JOB_NAMES).databases


def test_no_other_distribution_brings_our_import_names():
    ours = {f"{name}/__init__.py" for name in PACKAGES}
    for distribution in distributions():
        if distribution.metadata["Name"] != "sereno":
            files = {str(file) for file in distribution.files or ()}
            assert not files & ours, distribution.metadata["Name"]


def test_help_comes_at_once():
    """Aim: 0.4 s. What is imported decides, so that is what is asserted; the time is bounded loosely."""
    probe = "import sys, daemon.cli.main; print(' '.join(sorted({name.split('.')[0] for name in sys.modules})))"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert time.monotonic() - began < 5
    heavy = {
        "psycopg",
        "pydantic",
        "rich",
        "structlog",
        "apscheduler",
        "slack_sdk",
        "sqlite3",
        "smtplib",
    }
    assert not heavy & set(done.stdout.split())


def test_nothing_is_left_to_be_done_later():
    words = ("TO" + "DO", "FIX" + "ME", "X" + "XX")
    for path in MODULES:
        assert not any(word in path.read_text() for word in words), path
