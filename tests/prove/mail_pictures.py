"""Screenshots of alert emails in light and dark mode at phone and desktop width.

`python tests/prove/mail_pictures.py [FOLDER]` sends them through the outbox to a local SMTP server
and renders them in Chromium. No email may be wider than its window; the screenshots are for visual
inspection.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

from alerts.channels import email
from alerts.channels.channel import Sender
from alerts.courier import Courier
from alerts.policy import Policy
from alerts.processor import AlertProcessor
from daemon.monitoring.log import set_up
from domain.coverage import Coverage
from domain.finding import Finding, Identity, Severity
from store.opening import open_store
from tests.fixtures.notifications import Postbox, smtp

WIDTHS = {"phone": 390, "desktop": 900}
SCHEMES = {"light": "1", "dark": "0"}
HEIGHT = 1000
HOSTILE = 'public."<!channel> & <b>x</b> =cmd()\r\nBcc: a@b"'
FRAME = """<body style="margin:0;background:{background}">
<iframe id="mail" src="{mail}" style="border:0;width:{width}px;height:{height}px"></iframe>
<script>onload = () => {{ const inside = document.getElementById("mail").contentDocument.documentElement;
document.body.dataset.width = inside.scrollWidth; }}</script></body>"""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files")  # fmt: skip


def make_finding(
    name,
    severity,
    summary="1,204 rows have no parent row",
    remedy="sereno check orphans --database coop",
):
    return Finding(Identity("orphans", "coop", database="coop", object=name), severity, summary, remedy=remedy, evidence={"rows": "1,204", "since": "2026-03-01 02:00 UTC", "constraint": "pago_socio_fkey"})  # fmt: skip


def receive_emails(folder):
    """Fire and resolve alerts; return the received emails by case."""
    cases = {
        "firing": [make_finding('public."Pago"', Severity.CRITICAL)],
        "resolved": [],
        "several": [make_finding(f"public.tabla_{n}", list(Severity)[1 + n % 3]) for n in range(9)],
        "hostile": [make_finding(HOSTILE, Severity.HIGH, summary=HOSTILE * 3, remedy="x" * 300)],
    }
    postbox, now, mails = Postbox(), [datetime(2026, 3, 1, 2, tzinfo=UTC)], {}
    with smtp(postbox) as port:
        options = email.Options(
            type="email", host="localhost", port=port, to=("ana@example.org",), tls="none"
        )
        alert_policy = Policy(
            dict.fromkeys(Severity, ("mail",)),
            instance="coop-produccion",
            grouping_channels=frozenset({"mail"}),
        )
        channel = email.Email(options, Sender("coop-produccion"))
        courier = Courier(
            open_store(folder / "state.db"),
            {"mail": channel},
            alert_policy,
            lambda: now[0],
            ignore_grouping=True,
        )
        for name, findings in cases.items():
            now[0] += timedelta(minutes=50)
            with courier.store.transaction() as transaction:
                covered = [Coverage("orphans")] if name == "resolved" else []
                AlertProcessor(transaction, alert_policy, now[0]).process(findings, covered)
            while courier.deliver_one("mail"):
                mails[name] = postbox.mails[-1][0]
    assert mails["resolved"]["In-Reply-To"] == mails["firing"]["Message-ID"], (
        "the resolved email is in the thread of the firing one"
    )
    return mails


def take_screenshot(chromium, folder, name, width, scheme):
    """Take a screenshot of an email; return the width of its content in pixels."""
    background = "#fff" if scheme == "light" else "#111"
    page = folder / "page.html"
    page.write_text(
        FRAME.format(mail=f"{name}.html", width=WIDTHS[width], height=HEIGHT, background=background)
    )
    command = [chromium, *FLAGS, f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--user-data-dir={folder / 'profile'}", f"--window-size={WIDTHS[width]},{HEIGHT}"]  # fmt: skip
    picture = f"--screenshot={folder / f'{name}-{width}-{scheme}.png'}"
    subprocess.run([*command, picture, page.as_uri()], capture_output=True, check=True, timeout=60)
    dumped = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True, timeout=60)  # fmt: skip
    return int(re.search(r'data-width="(\d+)"', dumped.stdout)[1])


def main():
    """Take all screenshots; exit with 1 if an email is wider than its window."""
    set_up(quiet=True)
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if chromium is None:
        print("emails: skipped, Chromium is not installed")
        return
    folder = Path(
        sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sereno-mails-")
    ).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for name, mail in receive_emails(folder).items():
        (folder / f"{name}.html").write_text(mail.get_body(("html",)).get_content())
    too_wide = []
    for name, width, scheme in product(
        ("firing", "resolved", "several", "hostile"), WIDTHS, SCHEMES
    ):
        content_width = take_screenshot(chromium, folder, name, width, scheme)
        too_wide += (
            [f"{name}, {width}, {scheme}: {content_width} px"]
            if content_width > WIDTHS[width]
            else []
        )
    shutil.rmtree(folder / "profile", ignore_errors=True)
    print(
        f"emails: 16 screenshots in {folder}; wider than the window {len(too_wide)}",
        *too_wide,
        sep="\n",
    )
    sys.exit(bool(too_wide))


if __name__ == "__main__":
    main()
