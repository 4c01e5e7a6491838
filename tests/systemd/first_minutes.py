"""The README's first ten minutes, in stock Debian 12 and 13: from `pip install` to the first plan.

`make systemd-test` runs it as root. The commands are those of docs/tutorial.md, in a chroot made by
debootstrap; PostgreSQL is Debian's own, and pg_hba.conf is as its package leaves it.
"""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from tests.systemd.conftest import MARKS, MISSING, build_wheels
from tests.systemd.machine import ROOT, run

pytestmark = MARKS

PACKAGES = "python3,python3-venv,ca-certificates"
SERVERS = {"bookworm": 15, "trixie": 17}
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
LONGEST_MINUTES = 5
ENVIRONMENT = ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root"]  # fmt: skip


class Root:
    """A Debian root that commands are run in by chroot."""

    def __init__(self, folder, release):
        self.folder, self.release = folder, release

    def run(self, command, *, check=True, timeout=600):
        proxies = [
            f"{key}={value}" for key, value in os.environ.items() if key.lower().endswith("_proxy")
        ]
        inside = ["chroot", self.folder, *ENVIRONMENT, *proxies, "sh", "-euc", command]
        return run(*inside, check=check, timeout=timeout)


def sections():
    """Return the commands of the tutorial by the number of their section."""
    text = (ROOT / "docs" / "tutorial.md").read_text()
    parts = re.split(r"^## (\d+)\. .*\n", text, flags=re.MULTILINE)[1:]
    blocks = zip(parts[::2], parts[1::2], strict=True)
    return {
        int(number): "\n".join(re.findall(r"```sh\n(.*?)```", body, re.DOTALL))
        for number, body in blocks
    }


@pytest.fixture(params=SERVERS)
def root(request):
    folder = Path(tempfile.mkdtemp(prefix="sereno-first-", dir="/var/tmp"))
    place = folder / "root"
    cached = os.environ.get(f"SERENO_TEST_ROOT_{request.param.upper()}")
    if cached and Path(cached).exists():
        run("cp", "-a", cached, place)
    else:
        mirror = [one for one in [os.environ.get("SERENO_TEST_MIRROR")] if one]
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", request.param, place, *mirror)  # fmt: skip
    run("mount", "-t", "proc", "proc", place / "proc")
    for name in ("dev", "sys"):
        run("mount", "--bind", f"/{name}", place / name)
    made = Root(place, request.param)
    try:
        yield made
    finally:
        made.run("pg_ctlcluster --force $(pg_lsclusters -h | cut -d' ' -f1) main stop", check=False)
        for name in ("sys", "dev", "proc"):
            run("umount", "--lazy", place / name, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_from_wheel_to_first_plan_in_three_commands(root):
    commands = sections()
    root.run(commands[1])
    version = SERVERS[root.release]
    root.run(f"pg_ctlcluster {version} main start", check=False)
    listed = root.run("pg_lsclusters -h").stdout.split()
    assert (listed[0], listed[3]) == (str(version), "online"), listed
    root.run(commands[2])

    wheels = root.folder / "root/wheels"
    wheels.mkdir()
    build_wheels(wheels, PYTHONS[root.release])
    (root.folder / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /root/wheels\n")  # fmt: skip
    began = time.monotonic()
    typed = [line for line in commands[3].splitlines() if line and not line.startswith("#")]
    assert len(typed) <= 3
    output = ""
    for line in typed:
        done = root.run(line)
        output += done.stdout + done.stderr
    minutes = (time.monotonic() - began) / 60
    assert minutes < LONGEST_MINUTES
    assert "pg_hba" not in output
    assert "Next:" in output
    configuration = (root.folder / "etc/sereno/config.toml").read_text()
    assert 'dsn = "host=127.0.0.1 dbname=coop"' in configuration
    assert "(scram-sha-256)" in configuration
    assert '#table = "public.audit_log"' in configuration
    secrets = root.folder / "etc/sereno/credentials"
    assert {one.name: one.stat().st_mode & 0o777 for one in secrets.iterdir()} == {"maintain": 0o600, "data": 0o600}  # fmt: skip
    print(output)
    print(f"    {root.release}, PostgreSQL {version}: {minutes * 60:.0f} s from pip to the plan")

    for number in (4, 5):
        done = root.run(commands[number])
        print(done.stdout)
    assert "archive  public.audit_log, 11,2" in done.stdout
