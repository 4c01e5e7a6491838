"""sereno refuses to start when one of its packages is imported from another place."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.__main__ import PACKAGES

ROOT = Path(__file__).parents[2]


def run(*command, folder, path=""):
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("regular", [True, False], ids=["a package", "a plain folder"])
@pytest.mark.parametrize("where", ["the current directory", "PYTHONPATH"])
def test_package_of_the_same_name_is_reported(tmp_path, where, regular):
    """A regular package hides the one of sereno; a namespace package does not."""
    (tmp_path / "alerts").mkdir()
    if regular:
        (tmp_path / "alerts/__init__.py").touch()
    folder, path = (tmp_path, "") if where == "the current directory" else (ROOT.parent, tmp_path)
    done = run("-m", "daemon", "--version", folder=folder, path=path)
    if not regular:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 2
    assert done.stderr.startswith(f"sereno: the package 'alerts' is found at {tmp_path}/alerts")
    assert "unset PYTHONPATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_package_overwritten_by_another_distribution_is_reported(tmp_path):
    """python-daemon, for one, installs a package `daemon`; the last one installed overwrites it."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "store/__init__.py").write_text('"""Another store."""\n')
    done = run("-m", "daemon", "--version", folder=tmp_path)
    assert done.returncode == 2
    assert "the package 'store'" in done.stderr
    assert "overwritten by another distribution" in done.stderr
    (tmp_path / "store/__init__.py").write_text((ROOT / "store/__init__.py").read_text())
    assert run("-m", "daemon", "--version", folder=tmp_path).returncode == 0
