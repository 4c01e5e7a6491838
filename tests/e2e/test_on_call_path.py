"""From the link in a mail to the acknowledged alert, in Chromium: at a desk, and on a phone.

With SERENO_PICTURES=FOLDER each step is saved as a picture.
"""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from daemon.demo.cluster import free_port
from daemon.principals import make_token
from tests.faults.slack_stand_in import SlackStandIn
from tests.fixtures.notifications import Postbox, smtp
from tests.fixtures.secrets import write_secret

CHROMIUM = shutil.which("chromium")
DEVICES = {
    "desktop": {"viewport": {"width": 1100, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
EXTRA = """
[alerts]
group_wait = "100ms"
[channels.slack]
type = "slack"
token = {{ file = "{folder}/token" }}
channel = "#ops"
api_url = "{slack}"
[channels.mail]
type = "email"
host = "localhost"
port = {smtp}
to = ["guardia@example.org"]
tls = "none"
[channels.ticket]
type = "webhook"
url = "{ticket}/"
[routes]
high = ["mail", "slack", "ticket"]
critical = ["mail", "slack", "ticket"]
[web]
listen = "127.0.0.1:{port}"
public_url = "http://127.0.0.1:{port}"
[web.principals.ana]
token_sha256 = "{digest}"
may = ["read", "operate", "acknowledge"]
"""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs chromium (apt-get install chromium)"
)


@contextmanager
def browser_page(device, port):
    """Yield a page of Chromium; at the end no script has failed, and nothing else was loaded."""
    problems, elsewhere = [], []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_context(**DEVICES[device], locale="en").new_page()
        page.on("pageerror", lambda one: problems.append(str(one)))
        page.on(
            "request",
            lambda one: (
                one.url.startswith(f"http://127.0.0.1:{port}/") or elsewhere.append(one.url)
            ),
        )
        yield page
        chromium.close()
    assert (problems, elsewhere) == ([], [])


def look(page, device, name):
    """No page is wider than its window; keep the picture if a folder is given."""
    page.wait_for_load_state("load")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= DEVICES[device]["viewport"]["width"], (name, width)
    if folder := os.environ.get("SERENO_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}-{device}.png", full_page=True)


def press(page, device, link):
    """Press a link or button: on a phone by a tap, at a desk by the keyboard."""
    if device == "phone":
        link.tap()
        return
    link.focus()
    page.keyboard.press("Enter")


@pytest.mark.parametrize("device", DEVICES)
def test_alert_is_acknowledged_from_the_link_in_a_mail(house, wait, endpoint, device):
    slack, ticket, postbox = SlackStandIn(0.0), endpoint(), Postbox()
    port, (token, digest) = free_port(), make_token()
    house.with_logins = False
    house.database.run(
        "CREATE SEQUENCE public.factura_id_seq MAXVALUE 100;"
        " SELECT setval('public.factura_id_seq', 96)"
    )
    write_secret(house.folder / "token", "x-canary")
    with smtp(postbox) as mail_port:
        house.extra = EXTRA.format(
            folder=house.folder,
            slack=slack.url,
            smtp=mail_port,
            ticket=ticket.url,
            port=port,
            digest=digest,
        )
        service = house.start("run")
        house.sereno("now", "integrity_check", check=False)
        (mail, *_), *_ = wait(lambda: postbox.mails, what="the mail")
        wait(lambda: slack.posts() and ticket.requests, what="the message and the ticket")
        link = re.search(rf"http://127\.0\.0\.1:{port}/alerts/\d+", str(mail.get_body(("plain",))))
        with browser_page(device, port) as page:
            follow(page, device, link[0], token)
        edited = wait(
            lambda: [one for one in slack.posts() if "ana" in str(one["blocks"])],
            what="the edit in Slack",
        )
        assert "acknowledged" in str(edited[0]["blocks"]).lower()
        told = wait(
            lambda: [one for one in ticket.requests if b'"acknowledged"' in one["body"]],
            what="the ticket",
        )
        assert b"ana" in told[0]["body"]
    assert service.poll() is None
    slack.close()


def follow(page, device, link, token):
    """Sign in, look at the run, start the check again, and acknowledge."""
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("token").fill("wrong")
    press(page, device, page.get_by_role("button", name="Sign in"))
    expect(page.get_by_role("alert")).to_be_visible()
    look(page, device, "sign-in")
    page.get_by_label("token").fill(token)
    press(page, device, page.get_by_role("button", name="Sign in"))
    expect(page).to_have_url(link)
    expect(page.get_by_text("public.factura_id_seq").first).to_be_visible()
    look(page, device, "alert")
    press(page, device, page.get_by_role("link", name=re.compile(r"run \d+")).first)
    expect(page.get_by_role("heading", level=1)).to_contain_text("integrity_check")
    look(page, device, "run")
    press(page, device, page.get_by_role("link", name="Overview"))
    page.get_by_label("job").select_option("analyze")
    press(page, device, page.get_by_role("button", name="Run now"))
    expect(page.get_by_text("analyze").first).to_be_visible()
    page.goto(link.rpartition("/alerts")[0] + "/")
    look(page, device, "overview")
    page.goto(link)
    press(page, device, page.get_by_role("button", name="Acknowledge"))
    expect(page.get_by_role("status")).to_be_visible()
    expect(page.get_by_text("acknowledged").first).to_be_visible()
    look(page, device, "acknowledged")
