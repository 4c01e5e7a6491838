"""The configuration that `sereno init` proposes: valid whatever the names, and harmless."""

import re
import tomllib

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from daemon.config.load import load_config
from daemon.registry import JOB_NAMES
from daemon.setup.addresses import Reached
from daemon.setup.answers import (  # fmt: skip
    Answers,
    Receivers,
    parse_folder,
    parse_names,
    parse_receivers,
    parse_smtp,
)
from daemon.setup.configuration_text import Findings, Places, configuration_text
from daemon.setup.host import host_timezone, log_files
from daemon.setup.logins import plan_logins
from daemon.setup.proposals import age_column, proposals, words
from postgres.catalog.survey import Reference, Server, SurveyedDatabase, SurveyedTable, TimeColumn
from postgres.identifiers import Relation

DAY = 86_400.0
NOW = 20_000 * DAY
SERVER = Server(
    version=180000, version_text="18.6 (Debian)", standby=False, superuser=True, port=5432,
    listen_addresses="localhost", ssl=False, timezone="UTC", logging_collector=False,
    log_directory="log", log_filename="postgresql-%Y-%m-%d_%H%M%S.log", data_directory="/var/lib/postgresql/18/main", client_address=None,
)  # fmt: skip


def column(name="created_at", kind="timestamp with time zone", **fields):
    given = {"not_null": True, "indexed": True, "partition_key": False, "default_now": True}
    given |= {"bounds": [NOW - 800 * DAY, NOW - 400 * DAY, NOW]} | fields
    return TimeColumn(name, kind, **given)


def table(name="audit_log", owner="coop", **fields):
    given = {"superuser": False, "bytes": 80 * 1024**2, "rows": 1000, "partitions": 0}
    given |= {"inserted": 1000, "updated": 0, "partitioned": False, "columns": [column()]}
    return SurveyedTable(Relation("public", name), owner, **given | fields)


def database(*tables, name="coop"):
    return SurveyedDatabase(name, tables)


def text_of(*databases, receivers=None, **fields):
    answers = Answers([one.name for one in databases], receivers or Receivers(), "localhost", "UTC", "/srv/archive")  # fmt: skip
    given = {
        "host": "127.0.0.1",
        "port": 5432,
        "options": {},
        "method": "scram-sha-256",
        "name": "host",
        "now": NOW,
    }
    findings = Findings(SERVER, databases, plan_logins(databases, "sereno"), answers, **given | fields)  # fmt: skip
    return configuration_text(findings, Places("", ""))


def loaded(text, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load_config(path, JOB_NAMES)


def with_proposals(text):
    entries = r"^#\[\[jobs\.[^\n]*\n(#[^ \n][^\n]*\n)+"
    return re.sub(
        entries, lambda found: found[0].replace("\n#", "\n")[1:], text, flags=re.MULTILINE
    )


def made(*tables):
    return proposals(database(*tables), NOW)[0]


def test_reason_has_size_growth_index_and_references():
    (one,) = made(table())
    assert one.reason == (
        "public.audit_log: 80.0 MB, grows 102.4 kB a day, indexed timestamptz created_at; nothing "
        "refers to it; about 67% of its rows are older. Moves them to files"
    )
    assert (one.job, one.days) == ("archive", 365)


@pytest.mark.parametrize(
    ("name", "job"),
    [("request_log", "log_cleanup"), ('"SesionLog"', "log_cleanup"), ("Eventos", "archive"),
     ("login_history", "archive"), ("catalogo", None), ("dialog", None), ("invoice", None)],
)  # fmt: skip
def test_job_by_words_of_the_name(name, job):
    found = made(table(name))
    assert [one.job for one in found] == ([job] if job else [])


def test_large_table_without_updates_is_proposed_and_an_updated_one_is_not():
    large = {"bytes": 2 * 1024**3, "inserted": 1000}
    assert [one.job for one in made(table("invoice", **large))] == ["archive"]
    assert not made(table("invoice", **large, updated=5000))


def test_referring_tables_go_along_unless_others_refer_to_them():
    child = Reference(Relation("public", "detail"), referenced=False, cascades=True)
    (one,) = made(table("request_log", references=[child]))
    assert (one.job, one.children) == ("archive", [child.table])
    assert one.reason.endswith("Moves them to files, with the rows that refer to them")
    deeper = Reference(Relation("public", "detail"), referenced=True, cascades=True)
    found, refused, _ = proposals(database(table(references=[deeper])), NOW)
    assert not found
    assert "public.detail is referred to in turn" in refused[0]


def test_rows_that_would_not_go_by_themselves_keep_a_table_from_being_proposed():
    """Customers refer to their last login: an archive of logins would take the customers away."""
    customer = Reference(Relation("public", "customer"), referenced=False, cascades=False)
    found, refused, _ = proposals(database(table("login_event", references=[customer])), NOW)
    assert not found
    assert "rows of public.customer would have to leave too" in refused[0]


@pytest.mark.parametrize("name", ["request_log", "patient_visits", "logins"])
def test_table_whose_rows_change_is_no_log(name):
    assert not made(table(name, updated=5000))


def test_archive_needs_a_unique_key():
    found, refused, _ = proposals(database(table(keyed=False)), NOW)
    assert not found
    assert "unique key" in refused[0]
    child = Reference(Relation("public", "d"), referenced=False, cascades=True, keyed=False)
    assert not made(table(references=[child]))


def test_table_that_was_not_looked_into_is_not_told():
    found, refused, _ = proposals(database(table(seen=False, columns=[])), NOW)
    assert (found, refused) == ([], [])


def test_table_without_index_or_age_column_is_told_and_not_proposed():
    found, refused, _ = proposals(database(table(columns=[column(indexed=False)])), NOW)
    assert not found
    assert "first CREATE INDEX CONCURRENTLY ON public.audit_log (created_at)" in refused[0]
    found, refused, _ = proposals(database(table(columns=[])), NOW)
    assert "no column tells when a row was made" in refused[0]


def test_partitions_leave_whole_if_the_age_column_is_their_key():
    (one,) = made(table("request_log", partitioned=True, partitions=3, columns=[column(partition_key=True)]))  # fmt: skip
    assert one.partitions == "drop"
    (one,) = made(table(partitioned=True, partitions=3, columns=[column(partition_key=True)]))
    assert one.partitions == "detach"


def test_age_column_is_that_of_creation():
    columns = [column("updated_at"), column("creado_en", default_now=False), column("fecha_nacimiento")]  # fmt: skip
    assert age_column(columns).name == "creado_en"
    assert age_column([column("expires_at"), column("deleted_at")]) is None
    for name in ("fecha_vencimiento", "expiry", "expiration_date", "fecha_nac", "ends_at",
                 "last_login", "ultimo_acceso", "birthday"):  # fmt: skip
        assert age_column([column(name, default_now=False)]) is None, name
    assert age_column([column("stamp", default_now=False)]) is None, "an index alone says nothing"


def test_words_of_names():
    assert words("AuditLog") == words("audit_log") == {"audit", "log"}
    assert words("HTTPRequests2024") == {"http", "requests"}
    assert words("auditoría") == {"auditoria"}


def test_owners_have_logins_of_their_own_and_superusers_are_one():
    base = database(table(owner="a"), table(owner="b"), table(owner="root", superuser=True), table(owner="postgres", superuser=True))  # fmt: skip
    logins = plan_logins([base], "sereno")["coop"]
    assert [(one.domain, one.owners, one.login.user) for one in logins.data] == [
        ("a", ("a",), "sereno_data_a"),
        ("b", ("b",), "sereno_data_b"),
        ("superusers", ("postgres", "root"), "sereno_data_superusers"),
    ]
    (only,) = plan_logins([database(table())], "sereno")["coop"].data
    assert only.login.user == "sereno_data"


def test_owners_whose_names_differ_in_signs_only_share_no_login():
    logins = plan_logins([database(table(owner="a b"), table(owner="a-b"), table(owner="A B"))], "s")["coop"]  # fmt: skip
    assert len({one.login.user for one in logins.data}) == 3
    assert len({one.login.secret for one in logins.data}) == 3


HOSTILE = st.text(
    st.characters(blacklist_characters="\x00", blacklist_categories=["Cs"]), min_size=1, max_size=20
)


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(names=st.lists(HOSTILE, min_size=1, max_size=3, unique=True), tables=st.lists(HOSTILE, max_size=3, unique=True), owner=HOSTILE)  # fmt: skip
def test_any_names_give_a_valid_configuration_with_and_without_its_proposals(
    tmp_path_factory, names, tables, owner
):
    folder = tmp_path_factory.mktemp("setup")
    found = [
        database(*(table(f"log {one}", owner) for one in tables), table("x", "other"), name=name)
        for name in names
    ]
    text = text_of(*found)
    config = loaded(text, folder)
    assert [tomllib_name(one.dsn) for one in config.databases.values()] == names
    assert not config.jobs.log_cleanup.tables
    assert not config.jobs.archive.tables
    proposed = loaded(with_proposals(text), folder)
    entries = [*proposed.jobs.log_cleanup.tables, *proposed.jobs.archive.tables]
    assert len(entries) == text.count("#[[jobs.") > (0 if tables else -1)
    assert {one.table.name for one in entries} >= {f"log {one}" for one in tables}


def tomllib_name(dsn):
    from psycopg.conninfo import conninfo_to_dict

    return conninfo_to_dict(dsn)["dbname"]


def test_channels_and_routes_follow_the_answers(tmp_path):
    receivers = Receivers(["a@example.org"], "https://hooks.slack.com/x", "https://tickets.example.org/")  # fmt: skip
    text = text_of(database(table()), receivers=receivers)
    config = loaded(text, tmp_path)
    assert config.routes.critical == ("email", "slack", "ticket")
    assert "hooks.slack.com" not in text
    assert tomllib.loads(text)["channels"]["email"]["tls"] == "none"


@pytest.mark.parametrize("text", ["guardia", "a@b c", "ftp://x/", "http://", "https://a/ https://b/", "a@b\nc:d@", "http://tickets.internal/x", "https://u:pw@host/x"])  # fmt: skip
def test_wrong_receivers_are_refused(text):
    with pytest.raises(ValueError, match=r"neither|one URL"):
        parse_receivers(text)


def test_answers_are_parsed():
    found = parse_receivers("a@example.org, b@example.org https://hooks.slack.com/services/x")
    assert (found.emails, found.slack) == (["a@example.org", "b@example.org"], "https://hooks.slack.com/services/x")  # fmt: skip
    assert "hooks" not in repr(found)
    assert parse_names("all", ["a", "b"]) == ["a", "b"]
    assert parse_names("b, b", ["a", "b"]) == ["b"]
    assert parse_folder("file:///srv/a/") == "/srv/a"
    for wrong in ("relative", "/", "", "/a\nb"):
        with pytest.raises(ValueError, match="absolute folder"):
            parse_folder(wrong)
    for wrong in ("a b", "x:70000", "", "x:y", "mail:0", "mail:٢٥"):
        with pytest.raises(ValueError, match="host"):
            parse_smtp(wrong)
    with pytest.raises(ValueError, match="there are: a, b"):
        parse_names("c", ["a", "b"])


def test_zone_of_the_host(tmp_path):
    assert host_timezone(tmp_path) == ""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/timezone").write_text("America/La_Paz\n")
    (tmp_path / "etc/localtime").write_text("")
    assert host_timezone(tmp_path) == "America/La_Paz"
    (tmp_path / "etc/timezone").write_text("../../etc/passwd\n")
    assert host_timezone(tmp_path) == ""


def test_log_files_of_the_server(tmp_path):
    from dataclasses import replace

    (tmp_path / "log").mkdir()
    (tmp_path / "log/postgresql-2026.log").write_text("x" * 2048)
    (tmp_path / "log/other.log").write_text("x" * 4096)
    here, away = Reached("/run/postgresql", 5432), Reached("db.example.org", 5432)
    collecting = replace(SERVER, logging_collector=True, data_directory=str(tmp_path))
    lines = " ".join("\n".join(log_files(collecting, here)).replace("\n# ", " ").split())
    assert "1 of them, 2.0 kB" in lines
    assert f'#path = "{tmp_path}/log/postgresql-*.*"' in lines
    assert not list(log_files(collecting, away))
    container = replace(collecting, client_address="172.17.0.1")
    assert not list(log_files(container, Reached("127.0.0.1", 5432))), "its files are elsewhere"
    for name in ("%Y.log", "*.log", "../x.log", None):
        assert not list(log_files(replace(collecting, log_filename=name), here))
    rule = tmp_path / "rule"
    rule.write_text("")
    told = " ".join(log_files(SERVER, here, rule)).replace(" # ", " ")
    assert f"{rule} rotates" in told
    assert not list(log_files(SERVER, here, tmp_path / "none"))
