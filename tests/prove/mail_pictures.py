"""What a mail looks like to who reads it: firing, resolved and a list, light and dark, as wide as a phone and a desk.

`python tests/prove/mail_pictures.py [FOLDER]` sends them through the real outbox to a mail server of its own, and has
Chromium draw what arrived. Nothing may stick out to the right; the pictures are for looking at.
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
from store.store import open_store
from tests.e2e.test_delivery import Postbox, smtp

WIDTHS = {"phone": 390, "desk": 900}
SCHEMES = {"light": "1", "dark": "0"}
HEIGHT = 1000
HOSTILE = 'public."<!channel> & <b>x</b> =cmd()\r\nBcc: a@b"'
FRAME = """<body style="margin:0;background:{ground}">
<iframe id="mail" src="{mail}" style="border:0;width:{width}px;height:{height}px"></iframe>
<script>onload = () => {{ const inside = document.getElementById("mail").contentDocument.documentElement;
document.body.dataset.widest = inside.scrollWidth; }}</script></body>"""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files")  # fmt: skip


def found(
    name,
    severity,
    summary="1,204 rows of it point to nobody",
    remedy="sereno check orphans --database coop",
):
    return Finding(Identity("orphans", "coop", database="coop", object=name), severity, summary, remedy=remedy, evidence={"rows": "1,204", "since": "2026-03-01 02:00 UTC", "constraint": "pago_socio_fkey"})  # fmt: skip


def arrived(folder):
    """Let troubles come and go; return the mails by their names."""
    looks = {
        "firing": [found('public."Pago"', Severity.CRITICAL)],
        "resolved": [],
        "several": [found(f"public.tabla_{n}", list(Severity)[1 + n % 3]) for n in range(9)],
        "hostile": [found(HOSTILE, Severity.HIGH, summary=HOSTILE * 3, remedy="x" * 300)],
    }
    postbox, clock, mails = Postbox(), [datetime(2026, 3, 1, 2, tzinfo=UTC)], {}
    with smtp(postbox) as port:
        options = email.Options(
            type="email", host="localhost", port=port, to=("ana@example.org",), tls="none"
        )
        rules = Policy(
            dict.fromkeys(Severity, ("mail",)),
            instance="coop-produccion",
            grouping_channels=frozenset({"mail"}),
        )
        channel = email.Email(options, Sender("coop-produccion"))
        courier = Courier(
            open_store(folder / "state.db"),
            {"mail": channel},
            rules,
            lambda: clock[0],
            ignore_grouping=True,
        )
        for name, findings in looks.items():
            clock[0] += timedelta(minutes=50)
            with courier.store.transaction() as transaction:
                covered = [Coverage("orphans")] if name == "resolved" else []
                AlertProcessor(transaction, rules, clock[0]).process(findings, covered)
            while courier.deliver_one("mail"):
                mails[name] = postbox.mails[-1][0]
    assert mails["resolved"]["In-Reply-To"] == mails["firing"]["Message-ID"], (
        "the pair is one thread"
    )
    return mails


def drawn(chromium, folder, name, width, scheme):
    """Draw one; return how wide it would like to be."""
    ground = "#fff" if scheme == "light" else "#111"
    page = folder / "page.html"
    page.write_text(
        FRAME.format(mail=f"{name}.html", width=WIDTHS[width], height=HEIGHT, ground=ground)
    )
    words = [chromium, *FLAGS, f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--user-data-dir={folder / 'profile'}", f"--window-size={WIDTHS[width]},{HEIGHT}"]  # fmt: skip
    picture = f"--screenshot={folder / f'{name}-{width}-{scheme}.png'}"
    subprocess.run([*words, picture, page.as_uri()], capture_output=True, check=True, timeout=60)
    looked = subprocess.run([*words, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True, timeout=60)  # fmt: skip
    return int(re.search(r'data-widest="(\d+)"', looked.stdout)[1])


def main():
    """Draw all of them; exit 1 if one is wider than its reader's window."""
    set_up(quiet=True)
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if chromium is None:
        sys.exit("Chromium is not installed: nothing was drawn")
    folder = Path(
        sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="sereno-mails-")
    ).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for name, mail in arrived(folder).items():
        (folder / f"{name}.html").write_text(mail.get_body(("html",)).get_content())
    wide = []
    for name, width, scheme in product(
        ("firing", "resolved", "several", "hostile"), WIDTHS, SCHEMES
    ):
        widest = drawn(chromium, folder, name, width, scheme)
        wide += [f"{name}, {width}, {scheme}: {widest} px"] if widest > WIDTHS[width] else []
    shutil.rmtree(folder / "profile", ignore_errors=True)
    print(f"mails: 16 pictures in {folder}; wider than the window: {len(wide)}", *wide, sep="\n")
    sys.exit(bool(wide))


if __name__ == "__main__":
    main()
