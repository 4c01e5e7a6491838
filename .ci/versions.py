"""Prints the versions of Python and of the PostgreSQL servers that the tests use."""

import platform
import subprocess
import sys

from daemon.demo.cluster import embedded_binaries

sys.stdout.write(f"Python {platform.python_version()}\n")
command = [embedded_binaries() / "postgres", "--version"]
version = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
sys.stdout.write(version.stdout)
