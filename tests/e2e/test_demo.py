"""`sereno demo`: every planted fault is reported, the report is mailed, and the demo cleans up."""

import base64
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from email import message_from_bytes, policy
from html import unescape
from pathlib import Path

import pytest
from markupsafe import escape

from daemon.demo.faults import FAULTS
from daemon.demo.names import NAMES
from daemon.demo.received import received

ROOT = Path(__file__).parents[2]
SHARED_DEMO = pytest.mark.xdist_group("demo")
"""Tests of one demo: one worker runs it once."""


def start_demo(tmp_path, *arguments, **options):
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "COLUMNS": "160"}
    (tmp_path / "tmp").mkdir(exist_ok=True)
    # A background job ignores SIGINT, and its children inherit that.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "daemon", "demo", *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        **options,
    )


def report_page(output):
    """Return the path of the health report that the demo prints."""
    lines = output.splitlines()
    return Path(lines[lines.index("The health report:") + 1].strip())


def running_commands(tmp_path):
    """Return the command lines of processes that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(tmp_path) in command:
            found.append(command)
    return found


@pytest.fixture
def tmp_path(scratch):
    """Return a folder that the unprivileged user of the server can enter, unlike pytest's."""
    folder = scratch / f"demo-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def finished_demo(scratch):
    """Run one demo with all but one of the faults."""
    folder = scratch / "whole-demo"
    folder.mkdir()
    process = start_demo(folder, "--without", "exhausted_sequence")
    output, _ = process.communicate(timeout=120)
    return folder, process.returncode, output


@SHARED_DEMO
def test_demo_exits_zero_and_prints_the_report_path(finished_demo):
    folder, status, output = finished_demo
    assert status == 0, output
    page = report_page(output)
    assert page.parent.name == "reports"
    assert output.splitlines()[-1].startswith("Next, ")
    assert "public.&quot;Evento&quot;" in (page.parents[1] / "index.html").read_text()
    assert running_commands(folder) == []
    assert [path.name[:12] for path in (folder / "tmp").iterdir()] == ["sereno-night"]


def reported_faults(messages, channel):
    texts = [f"{one.title}\n{one.text}" for one in messages if one.channel == channel]
    return {
        name for name, fault in FAULTS.items() if any(f"{fault.kind}: " in text for text in texts)
    }


@SHARED_DEMO
def test_demo_notifies_of_every_planted_fault_and_no_other(finished_demo):
    folder, _, output = finished_demo
    table = output[output.rindex("planted faults noticed") :]
    for name, fault in FAULTS.items():
        assert (fault.what[:20] in table) is (name != "exhausted_sequence")
    assert "MISSED" not in table
    (state,) = (folder / "tmp").iterdir()
    messages = received(state)
    for channel in ("email", "slack", "ticket"):
        assert reported_faults(messages, channel) == {
            name for name, fault in FAULTS.items() if not fault.cured
        } - {"exhausted_sequence"}
    ids = [one.id.strip("<>").partition("@")[0] for one in messages]
    resolved, digests, reports = 2, 1, 1
    sent = Counter(one.channel for one in messages)
    assert len(set(ids)) == len(ids)
    assert sent["ticket"] == 6 + resolved
    assert sent["email"] == 1 + digests + reports  # the alerts of one run are grouped
    assert sent["slack"] <= 1 + digests + 2


@SHARED_DEMO
def test_demo_mails_the_report_with_every_fault_and_remedy(finished_demo):
    folder, _, output = finished_demo
    page = report_page(output).read_text()
    (state,) = (folder / "tmp").iterdir()
    (mail,) = [
        mail
        for path in (state / "email").glob("*.eml")
        if (mail := message_from_bytes(path.read_bytes(), policy=policy.default))["X-Sereno-Reason"]
        == "report"
    ]
    text, related = mail.iter_parts()
    html, *images = related.iter_parts()
    body = html.get_content().replace("\r\n", "\n")
    for image in images:
        name = image["Content-ID"].strip("<>")
        assert image.get_content().startswith(b"\x89PNG")
        encoded = base64.b64encode(image.get_content()).decode()
        body = body.replace(f'src="cid:{name}"', f'src="data:image/png;base64,{encoded}"')
    assert (body.strip(), len(images)) == (page.strip(), 1)
    for name, fault in FAULTS.items():
        planted = name != "exhausted_sequence"
        assert (escape(fault.object) in page) is planted
        assert (fault.object in text.get_content()) is planted
    shown = unescape(page)
    for remedy in ("declare the foreign key", "restore the missing rows",
                 "VALIDATE CONSTRAINT", "DROP INDEX CONCURRENTLY", "120,0", "25,000"):  # fmt: skip
        assert remedy in shown


@pytest.mark.parametrize("moment", ["initdb", "server.log", "state.db"])
def test_demo_interrupt_removes_files_and_processes(tmp_path, wait, moment):
    process = start_demo(tmp_path)
    pattern = {
        "initdb": "*/cluster/data/PG_VERSION",
        "server.log": "*/cluster/server.log",
        "state.db": "sereno-night-*/state.db",
    }
    wait(lambda: list((tmp_path / "tmp").glob(pattern[moment])), 30, moment)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "Traceback" not in output, output
    wait(lambda: not running_commands(tmp_path), 5, "the exit of every process")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_demo_rejects_an_unknown_fault_and_a_folder_with_files(tmp_path):
    process = start_demo(tmp_path, "--without", "orphans")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "orphaned_payments" in output
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    process = start_demo(tmp_path, "--folder", str(tmp_path / "full"))
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, "not empty" in output) == (2, True)
    assert tuple(FAULTS) == NAMES
