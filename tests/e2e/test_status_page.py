"""The status page and its interface: sign-in, forms, alerts, runs, findings, bounds, the audit log."""

import http.client
import json
import re
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest

from daemon.demo.cluster import free_port
from daemon.history import ignored
from daemon.principals import make_token


def wait_until(condition, seconds=20.0, what="the condition"):
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := condition():
                return value
        except OSError:
            pass  # the port is not open yet
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


PAGES = (
    "/", "/runs", "/findings", "/alerts", "/outbox", "/coverage", "/archive", "/migrations", "/reports",
    "/configuration", "/audit",
)  # fmt: skip
CANARY = "c4nary-s3cret"


class Browser:
    """A browser without scripts: it keeps cookies, and fills in forms of the pages it loads."""

    def __init__(self, port):
        self.port, self.cookies, self.html = port, {}, ""

    def ask(self, method, path, body=None, **headers):
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        for header in answer.headers.get_all("Set-Cookie") or ():
            name, value = header.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return answer.status, answer.headers, text

    def get(self, path, **headers):
        status, headers, self.html = self.ask("GET", path, **headers)
        return status, headers, self.html

    def post(self, path, token=None, headers=None, **fields):
        """Send a form with the token of the last page; `for_` is the field `for`."""
        values = {name.rstrip("_"): value for name, value in fields.items()}
        found = re.search(r'name="form_token" value="(\w+)"', self.html)
        if token is not None or found:
            values["form_token"] = token if token is not None else found[1]
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(values), **kind, **(headers or {}))

    def sign_in(self, token, next_="/"):
        return self.post("/sign-in", token="", token_=token, next=next_)


class Page:
    """A status page in this process, for a configured sereno."""

    def __init__(self, house):
        self.house, self.port, self.tokens = house, free_port(), {}
        house.with_logins = False
        house.extra += f'\n[web]\nlisten = "127.0.0.1:{self.port}"\n'
        self.context = None

    def add(self, name, *rights):
        token, digest = make_token()
        self.tokens[name] = token
        listed = ", ".join(f'"{one}"' for one in rights)
        self.house.extra += (
            f'[web.principals.{name}]\ntoken_sha256 = "{digest}"\nmay = [{listed}]\n'
        )

    @contextmanager
    def served(self):
        from daemon.liveness import Watchdog
        from daemon.migrating.carry_out import CarryOut
        from daemon.web.app import build_app
        from daemon.web.http_server import serve
        from daemon.web.parts import Parts

        self.context = self.house.context()
        carrier = CarryOut(self.context, Watchdog())
        self.wrong = ""
        parts = Parts(self.context, carrier, lambda: self.wrong)
        with serve(f"127.0.0.1:{self.port}", build_app(parts)):
            wait_until(lambda: Browser(self.port).get("/healthz")[0], what="the port")
            yield Browser(self.port)
        carrier.stop()

    def signed_in(self, name="ana"):
        browser = Browser(self.port)
        browser.html = ""
        status, _, text = browser.ask(
            *("POST", "/sign-in", urlencode({"token": self.tokens[name], "next": "/"})),
            Content_Type="application/x-www-form-urlencoded",
        )
        assert status == 303, text
        browser.get("/alerts")
        return browser

    def api(self, method, path, body=None, who="ana"):
        browser = Browser(self.port)
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        if body is not None:
            headers["Content_Type"] = "application/json"
        given = None if body is None else json.dumps(body)
        status, _, text = browser.ask(method, f"/api/v1{path}", given, **headers)
        return status, json.loads(text)


@pytest.fixture
def page(house):
    """Return a page with an open alert, of which a sequence is the cause."""
    house.database.run(
        "CREATE SEQUENCE public.nearly MAXVALUE 100; SELECT setval('public.nearly', 96)"
    )
    house.extra = f'[channels.log]\ntype = "log"\n[routes]\nhigh = ["log"]\ncritical = ["log"]\n'  # noqa: F541
    made = Page(house)
    made.add("ana", "read", "operate", "acknowledge")
    made.add("reader", "read")
    house.run("integrity_check")
    return made


def alert_number(page):
    alerts = page.api("GET", "/alerts")[1]["alerts"]
    return next(one["alert"] for one in alerts if one["kind"] == "sequence_exhaustion")


def test_on_call_engineer_acknowledges_from_the_link_in_a_mail(page):
    with page.served() as browser:
        number = alert_number(page)
        status, _, html = browser.get(f"/alerts/{number}")
        assert status == 200, "reading is open on the loopback interface"
        assert "A sequence is nearly exhausted" in html
        assert f"/sign-in?next=/alerts/{number}" in html
        status, headers, _ = browser.ask(
            *(
                "POST",
                "/sign-in",
                urlencode({"token": page.tokens["ana"], "next": f"/alerts/{number}"}),
            ),
            Content_Type="application/x-www-form-urlencoded",
        )
        assert (status, headers["Location"]) == (303, f"/alerts/{number}")
        cookie = headers["Set-Cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        browser.get(headers["Location"])
        status, headers, _ = browser.post(f"/alerts/{number}/acknowledge", for_="8h")
        assert (status, headers["Location"]) == (303, f"/alerts/{number}?done=acknowledged")
        _, _, html = browser.get(headers["Location"])
        assert "acknowledged</b> by ana" in html
        found = page.api("GET", f"/alerts/{number}")[1]
        assert (found["state"], found["acknowledged_by"]) == ("acknowledged", "ana")
        actions = [row["action"] for row in page.api("GET", "/audit")[1]]
        assert actions == ["acknowledged", "signed in"]


def test_every_page_answers_and_has_its_headers(page):
    page.house.run("disk_check")
    with page.served() as browser:
        for path in (*PAGES, "/sign-in", "/runs/1", "/static/sereno.css", "/static/sereno.js"):
            status, headers, text = browser.get(path)
            assert status == 200, (path, text)
            assert "script-src 'self'" in headers["Content-Security-Policy"], path
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "on" + "click" not in text
        assert len(browser.get("/static/sereno.css")[2]) < 20_000
        for path in ("/runs/99999", "/runs/x", "/alerts/0", "/alerts/" + "9" * 40, "/reports/x", "/reports/..%2f..%2fetc%2fpasswd", "/nosuch"):  # fmt: skip
            assert browser.get(path)[0] == 404, path
        assert browser.get("/readyz")[::2] == (200, "ready\n")
        page.wrong = "the scheduler has hung"
        assert browser.get("/readyz")[::2] == (503, "the scheduler has hung\n")


def test_page_is_in_the_language_of_the_browser(page):
    with page.served() as browser:
        number = alert_number(page)
        spanish = {"Accept_Language": "es-BO,es;q=0.9,en;q=0.8"}
        for path, words in (
            ("/", ("Resumen", "Últimos resultados", "terminada")),
            (f"/alerts/{number}", ("Una secuencia está por agotarse", "abierta", "% usado", "Iniciar sesión")),
            ("/alerts", ("gravedad", "% usado")),
            ("/findings", ("Hallazgos", "% usado")),
            ("/runs/1", ("Pasos", "% usado")),
            ("/sign-in", ("Iniciar sesión",)),
        ):  # fmt: skip
            _, _, html = browser.get(path, **spanish)
            assert '<html lang="es">' in html
            assert [one for one in words if one not in html] == [], path
            assert '<html lang="en">' in browser.get(path, Accept_Language="de, en")[2]
        assert page.api("GET", f"/alerts/{number}")[1]["summary"].startswith("96.0 % used")


def test_browser_gets_errors_as_pages(page):
    page.add("hostile", "read", "acknowledge")
    with page.served():
        number, ana = alert_number(page), page.signed_in()
        ana.get(f"/alerts/{number}")
        wanted = {"Accept": "text/html", "Referer": f"http://127.0.0.1:{page.port}/alerts/{number}"}
        status, headers, html = ana.post(
            f"/alerts/{number}/silence", headers=wanted, for_="<b>soon", reason="x"
        )
        assert status == 422
        assert headers["Content-Type"].startswith("text/html")
        assert "&lt;b&gt;soon" in html
        assert f'<a href="/alerts/{number}">Back</a>' in html
        status, headers, html = ana.ask("GET", "/nosuch", Accept="text/html", Referer="//evil.example/x")  # fmt: skip
        assert (status, headers["Content-Type"][:9]) == (404, "text/html")
        assert "evil" not in html
        assert ana.ask("GET", "/api/v1/nosuch", Accept="text/html")[1]["Content-Type"] == "application/problem+json"  # fmt: skip


def test_form_without_its_token_changes_nothing(page):
    with page.served():
        number = alert_number(page)
        ana, reader = page.signed_in("ana"), page.signed_in("reader")
        path = f"/alerts/{number}/acknowledge"
        assert ana.post(path, token="")[0] == 403
        assert ana.post(path, token="0" * 64)[0] == 403
        foreign = re.search(r'name="form_token" value="(\w+)"', reader.get(f"/alerts/{number}")[2])
        assert foreign is None, "one without the right gets no form"
        assert Browser(page.port).post(path, token="x")[0] == 401  # noqa: S106
        token = re.search(r'value="(\w{64})"', ana.get(f"/alerts/{number}")[2])[1]
        assert reader.post(path, token=token)[0] == 403
        assert ana.ask("POST", f"/api/v1/alerts/{number}/acknowledge")[0] == 401, "a cookie is not enough"  # fmt: skip
        assert page.api("GET", f"/alerts/{number}")[1]["state"] == "firing"


def test_sign_in_goes_to_paths_of_this_server_only(page):
    with page.served():
        for target, expected in (
            ("/alerts/7?x=1", "/alerts/7?x=1"), ("//evil.example", "/"), ("https://evil.example", "/"),
            ("/\\evil.example", "/"), ("/a\r\nSet-Cookie: x=y", "/"), ("", "/"),
        ):  # fmt: skip
            browser = Browser(page.port)
            status, headers, _ = browser.ask(
                *("POST", "/sign-in", urlencode({"token": page.tokens["ana"], "next": target})),
                Content_Type="application/x-www-form-urlencoded",
            )
            assert (status, headers["Location"]) == (303, expected)


def test_failures_are_limited_and_recorded(page):
    with page.served():
        browser = Browser(page.port)
        send = lambda token: browser.ask(  # noqa: E731
            *("POST", "/sign-in", urlencode({"token": token})),
            Content_Type="application/x-www-form-urlencoded",
        )
        assert [send("wrong")[0] for _ in range(6)] == [403] * 5 + [429]
        status, headers, _ = send(page.tokens["ana"])
        assert (status, int(headers["Retry-After"]) <= 61) == (429, True)
        rows = page.api("GET", "/audit")[1]
        assert [row["action"] for row in rows] == ["sign-in failed"] * 5
        assert not any("wrong" in str(row) for row in rows), "a wrong token is not recorded"


def test_form_of_another_site_is_refused(page):
    with page.served():
        headers = {"Content_Type": "application/x-www-form-urlencoded", "Sec_Fetch_Site": "cross-site"}  # fmt: skip
        body = urlencode({"token": page.tokens["ana"]})
        assert Browser(page.port).ask("POST", "/sign-in", body, **headers)[0] == 403


def test_cookie_ends_with_its_token_and_cannot_be_forged(page):
    with page.served():
        ana = page.signed_in()
        value = ana.cookies["sereno_session"].strip('"')
        for wrong in (value[:-1] + ("0" if value[-1] != "0" else "1"), "x" * 3000, "a.b", ".", value.partition(".")[0] + "."):  # fmt: skip
            browser = Browser(page.port)
            browser.cookies = {"sereno_session": wrong}
            assert "ana" not in browser.get("/")[2].partition('class="who"')[2][:80]
    page.house.extra = page.house.extra.replace(
        re.search(r"[0-9a-f]{64}", page.house.extra)[0], "0" * 64
    )
    with page.served():
        browser = Browser(page.port)
        browser.cookies = ana.cookies
        assert "ana" not in browser.get("/")[2].partition('class="who"')[2][:80]


def test_silence_resolve_and_end_by_forms(page):
    with page.served():
        number, ana = alert_number(page), page.signed_in()
        ana.get(f"/alerts/{number}")
        assert ana.post(f"/alerts/{number}/silence", for_="2h", reason="")[0] == 422
        assert ana.post(f"/alerts/{number}/silence", for_="soon", reason="x")[0] == 422
        assert ana.post(f"/alerts/{number}/silence", for_="2h", reason="known")[0] == 303
        _, values = page.api("GET", "/alerts")
        (silence,) = values["silences"]
        (row,) = [one for one in values["alerts"] if one["alert"] == number]
        assert row["suppressed_by"]
        others = [one for one in values["alerts"] if one["alert"] != number]
        assert not any(one["suppressed_by"] for one in others), "one alert alone is silenced"
        assert ana.post(f"/silences/{silence['silence']}/end")[0] == 303
        assert ana.post(f"/silences/{silence['silence']}/end")[0] == 404
        assert ana.post(f"/alerts/{number}/resolve")[0] == 303
        assert page.api("GET", f"/alerts/{number}")[1]["state"] == "resolved"
        assert ana.post(f"/alerts/{number}/acknowledge")[0] == 409


def test_run_now_pause_and_resume(page):
    with page.served():
        ana = page.signed_in()
        ana.get("/")
        assert ana.post("/runs", job="analyze", database="main")[0] == 303
        ran = lambda: [  # noqa: E731
            one for one in page.api("GET", "/runs?job=analyze")[1] if one["finished_at"]
        ]
        wait_until(ran, what="the run")
        assert (ran()[0]["state"], ran()[0]["database"]) == ("finished", "main")
        assert page.api("POST", "/runs", {"job": "nosuch"})[0] == 422
        assert page.api("POST", "/runs", {"job": "migrate"})[0] == 422
        assert page.api("POST", "/runs", {"job": "analyze", "database": "x"})[0] == 422
        assert page.api("POST", "/runs", {"job": "analyze"}, who="reader")[0] == 403
        assert ana.post("/pause", for_="2h", reason="deploy")[0] == 303
        assert "Paused until" in ana.get("/")[2]
        assert page.api("GET", "/overview")[1]["paused"]["reason"] == "deploy"
        assert ana.post("/resume")[0] == 303
        assert page.api("POST", "/resume")[0] == 409


def test_ignored_finding_is_told_no_longer_until_its_day(page):
    with page.served():
        ana = page.signed_in()
        html = ana.get("/findings")[2]
        assert "public.nearly" in html
        fields = {"name": "sequence_exhaustion", "object": "public.nearly", "reason": "known"}
        for until in ("2020-01-01", "3020-01-01", "soon"):
            assert ana.post("/ignored", **fields, until=until)[0] == 422
        until = time.strftime("%Y-%m-%d", time.localtime(time.time() + 5 * 86400))
        assert ana.post("/ignored", **fields, until=until)[0] == 303
        page.house.run("integrity_check")
        found = page.api("GET", "/findings")[1]
        assert not [one for one in found["findings"] if one["object"] == "public.nearly"]
        (entry,) = found["ignored"]
        assert (entry["principal"], entry["reason"]) == ("ana", "known")
        assert page.api("DELETE", f"/ignored/{entry['id']}")[0] == 200
        page.house.run("integrity_check")
        found = page.api("GET", "/findings?check=sequence_exhaustion")[1]
        assert [one["object"] for one in found["findings"]] == ["public.nearly"]


def test_finding_is_ignored_where_it_was_found_only():
    checks = {"a": SimpleNamespace(header=SimpleNamespace(scope="database")), "b": SimpleNamespace(header=SimpleNamespace(scope="cluster"))}  # fmt: skip
    clusters = {"main": "1", "second": "1", "other": "2"}
    applies = lambda name, at, database: ignored.applies(  # noqa: E731
        {"name": name, "database": at}, database, clusters, checks
    )
    assert [applies("a", "main", one) for one in clusters] == [True, False, False]
    assert [applies("b", "main", one) for one in clusters] == [True, True, False]
    assert all(applies(name, "", one) for name in "ab" for one in clusters)
    assert not applies("b", "gone", "unmet")


def test_all_open_alerts_are_acknowledged_by_one_form(page):
    page.house.database.run(
        "CREATE SEQUENCE public.next MAXVALUE 100; SELECT setval('public.next', 96)"
    )
    page.house.run("integrity_check")
    with page.served() as browser:
        open_ = page.api("GET", "/alerts")[1]["alerts"]
        assert f"{len(open_)}" in "".join(re.findall(r"Open alerts: ([^<]+)", browser.get("/")[2]))
        assert "/alerts/acknowledge" not in browser.get("/alerts")[2]
        ana = page.signed_in()
        numbers = " ".join(str(one["alert"]) for one in open_)
        assert f'value="{numbers}"' in ana.get("/alerts")[2]
        assert ana.post("/alerts/acknowledge", numbers=f"{numbers} 99 x", for_="8h")[0] == 303
        assert {one["state"] for one in page.api("GET", "/alerts")[1]["alerts"]} == {"acknowledged"}
        found = page.api("GET", f"/alerts/{open_[0]['alert']}")[1]
        assert found["acknowledged_until"]


def test_session_that_has_ended_leads_to_the_sign_in(page):
    with page.served() as browser:
        number = alert_number(page)
        headers = {
            "Accept": "text/html",
            "Referer": f"http://127.0.0.1:{page.port}/alerts/{number}",
        }
        path = f"/alerts/{number}/acknowledge"
        status, answer, _ = browser.post(path, token="x", headers=headers)  # noqa: S106
        assert (status, answer["Location"]) == (303, f"/sign-in?next=/alerts/{number}")


def test_configuration_in_force_shows_no_secret(page):
    page.house.extra += f'[channels.hook]\ntype = "webhook"\nurl = "http://127.0.0.1:1/"\nsecret = {{ env = "{CANARY}" }}\n'  # fmt: skip
    page.house.database_lines = ""
    with page.served() as browser:
        html = browser.get("/configuration")[2]
        assert "*** (env" in html
        assert page.tokens["ana"] not in html
        digest = re.search(r"[0-9a-f]{64}", page.house.extra)[0]
        assert digest not in html


def test_password_in_a_dsn_is_masked():
    from daemon.web.state_pages import _PASSWORD

    for dsn in (
        f"host=x password={CANARY} dbname=y", f"password='{CANARY} x\\' y' host=z",
        f"postgresql://u:{CANARY}@h/db", f"host=x PASSWORD={CANARY}",
    ):  # fmt: skip
        shown = _PASSWORD.sub(lambda hit: f"{hit[1] or hit[3]}***", dsn)
        assert CANARY not in shown or "PASSWORD" in dsn, shown


def test_hostile_names_are_text(page):
    page.house.database.run('CREATE SEQUENCE public."<script>alert(1)</script>" MAXVALUE 100')
    page.house.database.run("""SELECT setval('public."<script>alert(1)</script>"', 96)""")
    page.house.run("integrity_check")
    with page.served() as browser:
        for path in ("/findings", "/alerts", "/findings?text=%3Cscript%3E%22"):
            html = browser.get(path)[2]
            assert "<script>alert" not in html
        assert "&lt;script&gt;alert" in browser.get("/alerts")[2]


def test_unchanged_page_is_not_sent_again(page):
    with page.served() as browser:
        status, headers, _ = browser.get("/alerts")
        again = [browser.get("/alerts", If_None_Match=headers["ETag"])[0] for _ in range(2)]
        assert status == 200
        assert 304 in again, "the minute in its foot may change once"


def test_kept_answer_is_of_one_principal_and_ends_with_a_change(page):
    with page.served() as browser:
        number, ana = alert_number(page), page.signed_in()
        for _ in range(2):
            assert "Sign in to acknowledge" in browser.get(f"/alerts/{number}")[2]
            assert "Sign in to acknowledge" not in ana.get(f"/alerts/{number}")[2]
        assert ana.post(f"/alerts/{number}/acknowledge")[0] == 303
        assert "acknowledged</b> by ana" in browser.get(f"/alerts/{number}")[2]


def test_reading_changes_nothing(page):
    """A GET of every page leaves the state file as it is, but for the key of the cookies."""
    page.house.need_state_file()
    with page.served() as browser:
        browser.get("/alerts")
        page.signed_in()
        before = page.house.folder.joinpath("state.db").read_bytes()
        for path in PAGES:
            browser.get(path)
        assert page.house.folder.joinpath("state.db").read_bytes() == before


def test_proxy_is_believed_from_its_address_only(page):
    page.house.extra = page.house.extra.replace(
        "[web.principals.ana]", 'proxies = ["127.0.0.2"]\n[web.principals.ana]', 1
    )
    with page.served() as browser:
        who = lambda: browser.get("/", X_Remote_User="ana")[2].partition('class="who"')[2][:30]  # noqa: E731
        assert "ana" not in who()
    page.house.extra = page.house.extra.replace("127.0.0.2", "127.0.0.1")
    with page.served() as browser:
        assert "ana" in who()
        number = alert_number(page)
        html = browser.get(f"/alerts/{number}", X_Remote_User="ana")[2]
        assert "/sign-out" not in html
        headers = {"X_Remote_User": "ana"}
        assert browser.post(f"/alerts/{number}/acknowledge", headers=headers)[0] == 303
        assert browser.post(f"/alerts/{number}/acknowledge", token="", headers=headers)[0] == 403


def test_public_page_asks_to_sign_in(page):
    page.house.extra = page.house.extra.replace(
        "[web.principals.ana]", 'public_url = "https://sereno.example.org"\n[web.principals.ana]', 1
    )
    with page.served() as browser:
        status, headers, _ = browser.get("/alerts/7?x=1")
        assert (status, headers["Location"]) == (303, "/sign-in?next=/alerts/7%3Fx%3D1")
        assert page.api("GET", "/alerts", who=None)[0] == 401


def test_page_answers_while_fifty_clients_load_it(page):
    """No answer is an error; the figures are those of `python -m benchmarks.web`."""
    with page.served():
        states = []

        def load():
            browser = Browser(page.port)
            states.extend(browser.get("/")[0] for _ in range(4))

        threads = [threading.Thread(target=load) for _ in range(50)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(60)
        assert states == [200] * 200
