"""`sereno report` and the job health_report: comparison with the last report, charts, delivery."""

import base64
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from store.timestamps import to_text
from tests.fixtures.notifications import respond_with

PNG_SIGNATURE = b"\x89PNG"


def email_channel(port):
    return (
        f'[channels.mail]\ntype = "email"\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n'
        'to = ["a@example.org"]\n'
    )


def reports(house):
    with house.context().store.reading() as transaction:
        rows = transaction.rows(
            "SELECT channel, message FROM notification WHERE reason = 'report' ORDER BY rowid"
        )
    return [(row["channel"], json.loads(row["message"])) for row in rows]


def test_report_compares_findings_with_the_previous_report(house):
    house.with_logins = False
    house.extra = email_channel(1)
    run = house.database.run
    run("CREATE SEQUENCE public.old MAXVALUE 100; SELECT setval('public.old', 95)")
    run("CREATE SEQUENCE public.gone MAXVALUE 100; SELECT setval('public.gone', 95)")
    run("CREATE TABLE public.t (a int); INSERT INTO public.t SELECT generate_series(1, 5000)")
    house.run("integrity_check")
    assert house.run("health_report")["state"] == "finished"
    run("SELECT setval('public.gone', 1)")
    run("CREATE SEQUENCE public.new MAXVALUE 100; SELECT setval('public.new', 95)")
    house.run("analyze")
    house.run("integrity_check")
    done = house.run("health_report")
    (_, first), (channel, second) = reports(house)
    assert (channel, second["title"]) == (
        "mail",
        f"health report of {first['title'].split()[3][:-1]}: orange",
    )
    text = second["letter"]["text"]
    assert "New: 1 · still open: 1 · worse: 0 · better: 0 · gone: 1" in " ".join(text.split())
    assert "main public.gone" in text.partition("What changed")[2].partition("The nights")[0]
    assert "analyze main public.t" in " ".join(text.split())
    assert "This is the first report" in first["letter"]["text"]
    assert first["letter"]["images"].keys() == set(), "no measures, so no chart"
    (step,) = done["steps"]
    page = (house.folder / "reports").iterdir().__next__()
    assert step["object"] == str(page)
    assert step["bytes"] == page.stat().st_size
    assert "public.new" in page.read_text()


def test_report_charts_growth_and_predicts_full_disks(house):
    house.with_logins = False
    house.extra = email_channel(1)
    context = house.context()
    house.run("disk_check")
    now = datetime.now(UTC)
    with context.store.transaction() as transaction:
        for back in range(1, 20):
            at = to_text(now - timedelta(days=back))
            for name, place, value in (
                ("database_bytes", ("main", ""), 9e9 - back * 1e8),
                ("disk_bytes", ("", "/data $x$"), 1e11),
                ("disk_used_bytes", ("", "/data $x$"), 9e10 - back * 1e9),
            ):
                transaction.execute(
                    "INSERT INTO measure VALUES (1, ?, ?, ?, ?, ?)", (name, *place, value, at)
                )
    house.run("health_report")
    ((_, message),) = reports(house)
    assert all(
        base64.b64decode(image).startswith(PNG_SIGNATURE)
        for image in message["letter"]["images"].values()
    )
    assert message["letter"]["images"].keys() == {"growth", "disks"}
    full = (now + timedelta(days=10)).date()
    text = " ".join(message["letter"]["text"].split())
    assert f"/data $x$ 82.9 GB 93.1 GB 89% {full.day} {full:%b} {full.year} (" in text


def test_each_channel_gets_its_language(house):
    house.with_logins = False
    house.extra = email_channel(1) + email_channel(1).replace("mail]", 'correo]\nlanguage = "es"')
    house.database.run("CREATE SEQUENCE public.s MAXVALUE 100; SELECT setval('public.s', 95)")
    house.run("integrity_check")
    house.run("health_report")
    sent = dict(reports(house))
    assert sent["mail"]["title"].startswith("health report of ")
    assert sent["correo"]["title"].startswith("informe de salud del ")
    assert "A sequence is nearly exhausted" in sent["mail"]["letter"]["text"]
    assert "Una secuencia está por agotarse" in sent["correo"]["letter"]["text"]
    assert 'lang="es"' in sent["correo"]["letter"]["html"]
    (page,) = (house.folder / "reports").iterdir()
    assert 'lang="en"' in page.read_text()


def test_report_goes_to_the_other_languages_when_one_channel_refuses(house, endpoint):
    refusing, taking = endpoint(respond_with(400)), endpoint()
    house.with_logins = False
    house.extra = (
        f'[channels.first]\ntype = "webhook"\nurl = "{refusing.url}/"\n'
        f'[channels.segundo]\ntype = "webhook"\nlanguage = "es"\nurl = "{taking.url}/"\n'
        '[jobs.health_report]\nchannels = ["first", "segundo"]\n'
    )
    sent = house.sereno_here("report", "--send")
    assert sent.returncode == 1
    assert "first: " in sent.stderr
    assert "segundo: accepted" in sent.stderr
    assert any("informe de salud" in one["body"].decode() for one in taking.requests)


def test_report_of_four_hundred_databases_is_small_and_quick(house, tmp_path):
    """A mail of 100 kB is shown whole; 200 MB and 30 s are the bounds of its making."""
    house.with_logins = False
    now = datetime.now(UTC)
    with house.context().store.transaction() as transaction:
        runs, measures = [], []
        for back in range(1, 61):
            at = to_text(now - timedelta(days=back))
            for number in range(400):
                state = "failed" if number % 40 == 0 else "finished"
                jobs = ("analyze", "disk_check", "integrity_check", "vacuum")
                runs += [(job, f"coop_{number}", at, at, state) for job in jobs]
                measures.append(("database_bytes", f"coop_{number}", 9e9 - back * number * 1e5, at))
        transaction.execute_many(
            "INSERT INTO run (job, scope, database, started_at, finished_at, state, process)"
            " VALUES (?, 'database', ?, ?, ?, ?, 1)", runs,
        )  # fmt: skip
        transaction.execute_many("INSERT INTO measure VALUES (1, ?, ?, '', ?, ?)", measures)
        for number in range(400):
            transaction.execute(
                "INSERT INTO alert (fingerprint, kind, cluster, database, object, task, state, severity, summary, remedy,"
                " opened_at, last_seen_at, fired_at) VALUES (?, 'dead_tuples', '', ?, 'public.t', '', 'firing', 'high',"
                " 'many dead rows', 'VACUUM public.t', ?, ?, ?)", (str(number), f"coop_{number}", at, at, at),
            )  # fmt: skip
    out = tmp_path / "page.html"
    script = (
        "import re, time\nbegan = time.monotonic()\n"
        "from daemon.cli.main import app\n"
        "try: app()\nexcept SystemExit: pass\n"
        # getrusage() would include the process that started this one
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]\n"
        "print(int(peak) // 1024, time.monotonic() - began)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "report", "--out", out, "--config", house.path],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    megabytes, seconds = map(float, done.stdout.split()[-2:])
    assert megabytes < 200
    assert seconds < 30
    html = "".join(out.read_text().split("data:image/png;base64,")[:1])
    text = out.read_text()
    images = sum(len(part.partition('"')[0]) for part in text.split("base64,")[1:])
    assert len(text) - images < 100_000
    assert "400 alerts need attention" in html


def test_report_is_sent_without_images_when_charts_fail(house, monkeypatch):
    import daemon.report.draw as drawing

    house.with_logins = False
    house.extra = email_channel(1)
    house.run("analyze")
    monkeypatch.setattr(drawing.sys, "executable", "/bin/false")
    assert house.run("health_report")["state"] == "finished"
    ((_, message),) = reports(house)
    assert message["letter"]["images"] == {}
    assert "cid:" not in message["letter"]["html"]


def test_report_does_not_import_packages_from_the_current_directory(house, tmp_path):
    folder = tmp_path / "folder"
    (folder / "daemon" / "report").mkdir(parents=True)
    for package in (folder / "daemon", folder / "daemon" / "report"):
        (package / "__init__.py").touch()
    (folder / "daemon" / "report" / "charts.py").write_text(
        f"open({str(tmp_path / 'caught')!r}, 'w')\n"
    )
    house.with_logins = False
    house.write()
    sereno = Path(sys.executable).with_name("sereno")
    done = subprocess.run(
        [sereno, "report", "--out", tmp_path / "x.html", "--config", house.path],
        cwd=folder,
        check=False,
    )
    assert (done.returncode, (tmp_path / "caught").exists()) == (0, False)


def test_report_stop_kills_the_chart_process(house, wait, tmp_path, monkeypatch):
    """SIGTERM ends a chart process that hangs, and the run is recorded as interrupted."""
    slow = tmp_path / "slow.py"
    script = tmp_path / "sleeper"
    script.write_text("#!/bin/sh\nexec sleep 300\n")
    script.chmod(0o755)
    slow.write_text(
        "import types, sys\nimport daemon.report.draw as drawing\n"
        "from daemon.__main__ import main\n"
        f"drawing.sys = types.SimpleNamespace(executable={str(script)!r})\nmain()\n"
    )
    house.with_logins = False
    house.write()
    process = subprocess.Popen(
        [sys.executable, str(slow), "now", "health_report", "--json", "--config", str(house.path)],
        stdout=subprocess.PIPE, env={"PYTHONPATH": ".", "PATH": "/bin:/usr/bin"},
    )  # fmt: skip

    def chart_processes():
        found = subprocess.run(
            ["pgrep", "-P", str(process.pid), "sleep"], check=False, capture_output=True, text=True
        )
        return found.stdout.split()

    (child,) = wait(chart_processes, what="the chart process")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert json.loads(output)[0]["state"] == "interrupted"
    assert subprocess.run(["kill", "-0", child], check=False, capture_output=True).returncode != 0


def test_report_command_prints_writes_and_sends(house, endpoint, tmp_path):
    ticket = endpoint()
    house.with_logins = False
    house.extra = f'[channels.ticket]\ntype = "webhook"\nurl = "{ticket.url}/"\n'
    house.sereno_here("now", "disk_check", "analyze", "--json")
    shown = house.sereno_here("report").stdout
    assert shown.startswith("GREEN: All is well: 3 runs, all finished")
    out = tmp_path / "page.html"
    assert house.sereno_here("report", "--out", str(out)).stdout.strip() == str(out)
    assert "main" in out.read_text()
    assert json.loads(house.sereno_here("report", "--json").stdout)["colour"] == "green"
    refused = house.sereno_here("report", "--send")
    assert (refused.returncode, "jobs.health_report.channels" in refused.stderr) == (2, True)
    house.extra += '[jobs.health_report]\nchannels = ["ticket"]\n'
    sent = house.sereno_here("report", "--send")
    assert (sent.returncode, sent.stderr.strip()) == (0, "ticket: accepted: HTTP 200, ticket T-1")
    body = json.loads(ticket.requests[0]["body"])
    assert (body["type"], body["data"]["type"]) == ("report", "HEALTH_REPORT")
    assert house.sereno_here("report", "--language", "es").stdout.startswith(
        "VERDE: Todo está bien"
    )
    assert "there are en, es" in house.sereno_here("report", "--language", "fr").stderr
    assert house.sereno_here("report", "--out", str(tmp_path)).returncode == 2
    assert house.sereno_here("report", "--out", str(tmp_path / "no" / "x")).returncode == 2
    assert house.sereno_here("history", "--json").stdout.count('"job": "health_report"') == 0
    house.extra = house.extra.replace('channels = ["ticket"]', 'channels = ["tiket"]')
    wrong = house.sereno_here("report")
    assert (wrong.returncode, "did you mean 'ticket'" in wrong.stderr) == (78, True)
