"""The rules and the dashboard: they name metrics that exist; promtool tests the rules."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "monitoring"
NAME = re.compile(r"\bsereno_[a-z_]+\b")


@pytest.fixture(scope="module")
def known():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {row[0].strip("`") for row in module._metrics()}


def test_rules_name_metrics_that_exist(known):
    assert set(NAME.findall((FOLDER / "sereno.rules.yml").read_text())) <= known
    assert set(NAME.findall((FOLDER / "sereno.rules.test.yml").read_text())) <= known


def test_dashboard_is_valid_and_names_metrics_that_exist(known):
    board = json.loads((FOLDER / "grafana/sereno.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert set(NAME.findall(" ".join(expressions))) <= known
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) == len(expressions) >= 10
    places = [tuple(panel["gridPos"][key] for key in ("x", "y")) for panel in board["panels"]]
    assert len(set(places)) == len(places), "two panels cover each other"
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])
    for panel in board["panels"]:
        assert panel.keys() >= {"id", "title", "type", "gridPos", "targets", "datasource"}


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool: apt install prometheus"
)
@pytest.mark.parametrize("command", [("check", "rules", "sereno.rules.yml"), ("test", "rules", "sereno.rules.test.yml")])  # fmt: skip
def test_promtool_accepts_the_rules(command):
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
