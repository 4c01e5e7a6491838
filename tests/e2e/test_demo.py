"""`sereno demo`: a whole night from nothing; what is told is what was received; nothing stays behind."""

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
ONE_NIGHT = pytest.mark.xdist_group("demo")
"""Those that look at the same night, so that it is had once."""


def demo(tmp_path, *arguments, **options):
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
    """The path of the health report, as the demo prints it."""
    lines = output.splitlines()
    return Path(lines[lines.index("The health report:") + 1].strip())


def left_running(tmp_path):
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(tmp_path) in words:
            found.append(words)
    return found


@pytest.fixture
def tmp_path(scratch):
    """A folder that the unprivileged user of the server can reach; pytest's own is closed to it."""
    folder = scratch / f"demo-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def whole(scratch):
    """One night with all but one of the faults."""
    folder = scratch / "whole-demo"
    folder.mkdir()
    process = demo(folder, "--without", "exhausted_sequence")
    output, _ = process.communicate(timeout=120)
    return folder, process.returncode, output


@ONE_NIGHT
def test_it_ends_well_and_names_its_page(whole):
    folder, status, output = whole
    assert status == 0, output
    page = report_page(output)
    assert page.parent.name == "reports"
    assert output.splitlines()[-1].startswith("Next, ")
    assert "public.&quot;Evento&quot;" in (page.parents[1] / "index.html").read_text()
    assert left_running(folder) == []
    assert [path.name[:12] for path in (folder / "tmp").iterdir()] == ["sereno-night"]


@ONE_NIGHT
def test_every_planted_fault_is_noticed_and_the_one_left_out_is_not(whole):
    folder, _, output = whole
    noticed = output[output.rindex("planted faults noticed") :]
    for name, fault in FAULTS.items():
        assert (fault.what[:20] in noticed) is (name != "exhausted_sequence")
    assert "MISSED" not in noticed
    (night,) = (folder / "tmp").iterdir()
    messages = received(night)
    for channel in ("email", "slack", "ticket"):
        told = {
            name
            for name, fault in FAULTS.items()
            for one in messages
            if one.channel == channel and f"{fault.kind}: " in f"{one.title}\n{one.text}"
        }
        assert told == {name for name, fault in FAULTS.items() if not fault.cured} - {
            "exhausted_sequence"
        }
    ids = [one.id.strip("<>").partition("@")[0] for one in messages]
    resolved, digests, reports = 2, 1, 1
    sent = Counter(one.channel for one in messages)
    assert len(set(ids)) == len(ids)
    assert sent["ticket"] == 6 + resolved
    assert sent["email"] == 1 + digests + reports  # alerts of one run are one message
    assert sent["slack"] <= 1 + digests + 2


@ONE_NIGHT
def test_the_report_is_the_mail_and_names_every_fault_with_its_cure(whole):
    folder, _, output = whole
    page = report_page(output).read_text()
    (night,) = (folder / "tmp").iterdir()
    (mail,) = [
        mail
        for path in (night / "email").glob("*.eml")
        if (mail := message_from_bytes(path.read_bytes(), policy=policy.default))["X-Sereno-Reason"]
        == "report"
    ]
    text, related = mail.iter_parts()
    html, *images = related.iter_parts()
    inside = html.get_content().replace("\r\n", "\n")
    for image in images:
        name = image["Content-ID"].strip("<>")
        assert image.get_content().startswith(b"\x89PNG")
        encoded = base64.b64encode(image.get_content()).decode()
        inside = inside.replace(f'src="cid:{name}"', f'src="data:image/png;base64,{encoded}"')
    assert (inside.strip(), len(images)) == (page.strip(), 2)
    for name, fault in FAULTS.items():
        there = name != "exhausted_sequence"
        assert (escape(fault.object) in page) is there
        assert (fault.object in text.get_content()) is there
    shown = unescape(page)
    for cure in ("declare the foreign key", "restore the missing rows",
                 "VALIDATE CONSTRAINT", "DROP INDEX CONCURRENTLY", "120,0", "25,000"):  # fmt: skip
        assert cure in shown


@pytest.mark.parametrize("moment", ["initdb", "server.log", "state.db"])
def test_ctrl_c_leaves_nothing(tmp_path, wait, moment):
    process = demo(tmp_path)
    seen = {
        "initdb": "*/cluster/data/PG_VERSION",
        "server.log": "*/cluster/server.log",
        "state.db": "sereno-night-*/state.db",
    }
    wait(lambda: list((tmp_path / "tmp").glob(seen[moment])), 30, moment)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "Traceback" not in output, output
    wait(lambda: not left_running(tmp_path), 5, "the end of every process")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_wrong_words_get_a_sentence(tmp_path):
    process = demo(tmp_path, "--without", "orphans")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "orphaned_payments" in output
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    process = demo(tmp_path, "--folder", str(tmp_path / "full"))
    output, _ = process.communicate(timeout=30)
    assert (process.returncode, "not empty" in output) == (2, True)
    assert tuple(FAULTS) == NAMES
