"""The HTML of mails and pages is valid, and mails use no CSS that a mail client needs and lacks.

`python -m tests.prove.mail_html` checks alert mails, the health report in both languages with all of
its sections, and every page of the status page with the Nu HTML Checker; and the mails with the data
of caniemail.com, which says what the mail clients support. A feature that one of them lacks has to
be in LACKED, with the reason why the mail is readable without it. Needs node, npm and java.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from alerts.catalogue import TONGUES
from daemon.monitoring.log import set_up
from daemon.report.language import language
from daemon.report.render import letter
from domain.finding import Severity
from tests.e2e.test_status_page import PAGES, Page
from tests.fixtures.proof import house_and_server
from tests.prove.mail_pictures import receive_emails
from tests.unit.test_report import open_alert, report

PACKAGES = ("caniemail@2", "vnu-jar@26")
LACKED = {
    "@media": "dark colours and narrow margins only",
    "<style> element": "holds @media only; all else is in style attributes",
    "<body> element": "becomes a div; its background is repeated by the table inside",
    "display:none": "the preview line is hidden by max-height and overflow too",
    "max-height property": "display:none hides the preview line too",
    "color-scheme meta tag": "the colours of the light page",
    "system-ui, ui-serif, ui-sans-serif, ui-rounded, ui-monospace": "another monospaced font",
    "overflow": "cells are as wide as the mail, so that nothing has to be cut",
    "overflow-wrap": "long names make the mail wider there",
    "word-break": "long names make the mail wider there",
    "white-space": "numbers may break over two lines",
    "table-layout": "columns are as wide as their contents",
    "border-radius": "corners are square",
    "opacity": "the line is as bright as the title",
    "role attribute": "a screen reader names the layout table",
}


def install(folder):
    """Install the checkers by npm; return the folder and the jar."""
    subprocess.run(
        ["npm", "install", "--silent", "--ignore-scripts", "--prefix", folder, *PACKAGES],
        check=True,
    )
    return next(folder.glob("node_modules/vnu-jar/build/dist/vnu.jar"))


def write_mails(folder):
    """Write alert mails and reports; return their paths."""
    for name, mail in receive_emails(folder).items():
        (folder / f"alert-{name}.html").write_text(mail.get_body(("html",)).get_content())
    alerts = [
        open_alert(severity, 'public."Página"', new=new)
        for severity in Severity
        for new in (True, False)
    ]
    for tongue in TONGUES:
        made = letter(report('public."Página"', alerts=alerts), {}, language(tongue))
        (folder / f"report-{tongue}.html").write_text(made.html)
    return sorted(folder.glob("*.html"))


def write_pages(folder):
    """Write the status page as one sees it who may do everything; return the paths."""
    with house_and_server() as (house, _server):
        house.database.run("CREATE SEQUENCE public.nearly MAXVALUE 100; SELECT setval('public.nearly', 96)")  # fmt: skip
        made = Page(house)
        made.add("ana", "read", "operate", "acknowledge", "execute", "approve", "rollback")
        made.house.run("integrity_check")
        made.house.run("disk_check")
        with made.served():
            browser = made.signed_in()
            for number, path in enumerate((*PAGES, "/sign-in", "/runs/1", "/alerts/1")):
                status, _, html = browser.get(path)
                assert status == 200, path
                (folder / f"page-{number:02}{path.replace('/', '-')}.html").write_text(html)
    return sorted(folder.glob("page-*.html"))


def main():
    missing = [one for one in ("node", "npm", "java") if shutil.which(one) is None]
    if missing:
        print(f"mail_html: skipped, {', '.join(missing)} is not installed")
        return
    set_up(quiet=True)
    with tempfile.TemporaryDirectory(prefix="sereno-html-") as scratch:
        folder = Path(scratch)
        jar = install(folder / "npm")
        mails = write_mails(folder)
        pages = write_pages(folder)
        checked = subprocess.run(
            ["java", "-jar", jar, "--errors-only", "--format", "gnu", *mails, *pages],
            capture_output=True,
            check=False,
            text=True,
        )
        print(f"{len(mails)} mails and {len(pages)} pages, errors of HTML: {checked.stderr.count(': error')}")  # fmt: skip
        print(checked.stderr, end="")
        script = Path(__file__).with_name("mail_client.mjs")
        output = subprocess.run(
            ["node", script, folder / "npm", *mails], check=True, capture_output=True, text=True
        ).stdout
    lacked = json.loads(output)
    for feature, clients in sorted(lacked.items()):
        print(f"{feature}: not in {', '.join(clients)}; {LACKED.get(feature, 'UNEXPECTED')}")
    unexpected = sorted(lacked.keys() - LACKED.keys())
    print(f"features that a mail client lacks: {len(lacked)}, unexpected: {unexpected}")
    sys.exit(bool(unexpected or checked.returncode))


if __name__ == "__main__":
    main()
