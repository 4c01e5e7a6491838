"""The daily list by the real command line: what the server's own log and the real receivers have seen of it."""

import json
import re
from dataclasses import dataclass

import pytest


@dataclass
class Scene:
    """A schema, its log table, and a child whose parent the schema does not declare."""

    setup: str
    log: str
    age: str
    child: str
    parent: str
    old: int
    old_rows: str
    """Inserts two expired rows."""
    orphan: str
    repair: str
    analyzed: str


COOPERATIVE = Scene(
    setup="""
        CREATE TABLE public."AuditLog" (id bigint PRIMARY KEY, fecha timestamptz, note text);
        CREATE INDEX ON public."AuditLog" (fecha);
        CREATE TABLE public."Factura" (id int PRIMARY KEY);
        CREATE TABLE public."Pago" (id int PRIMARY KEY, factura_id int);
        INSERT INTO public."AuditLog" SELECT n, now() - interval '500 days', 'x' FROM generate_series(1, 5000) n;
        INSERT INTO public."AuditLog" SELECT -n, now(), 'x' FROM generate_series(1, 100) n;
        INSERT INTO public."Factura" SELECT generate_series(1, 500);
        INSERT INTO public."Pago" SELECT n, n FROM generate_series(1, 500) n;
    """,
    log='public."AuditLog"',
    age="fecha",
    child='public."Pago"(factura_id)',
    parent='public."Factura"(id)',
    old=5000,
    old_rows="""INSERT INTO public."AuditLog" SELECT n, now() - interval '500 days' FROM generate_series(8001, 8002) n""",
    orphan='INSERT INTO public."Pago" VALUES (777, 9999)',
    repair='DELETE FROM public."Pago" WHERE id = 777',
    analyzed='public."Factura"',
)
PAGILA = Scene(
    setup="""
        CREATE DOMAIN public.year AS integer CHECK (VALUE >= 1901 AND VALUE <= 2155);
        CREATE TYPE public.mpaa_rating AS ENUM ('G', 'PG', 'R');
        CREATE TABLE public.film (film_id serial PRIMARY KEY, title text NOT NULL, release_year public.year,
          rating public.mpaa_rating DEFAULT 'G', special_features text[], fulltext tsvector NOT NULL DEFAULT '',
          last_update timestamptz NOT NULL DEFAULT now());
        CREATE INDEX film_fulltext_idx ON public.film USING gist (fulltext);
        CREATE TABLE public.customer (customer_id serial PRIMARY KEY, first_name text, active boolean DEFAULT true);
        CREATE TABLE public.rental (rental_id serial PRIMARY KEY, customer_id int REFERENCES public.customer,
          rental_date timestamptz);
        CREATE TABLE public.payment (payment_id serial, customer_id int NOT NULL REFERENCES public.customer,
          rental_id int, amount numeric(5,2), payment_date timestamptz NOT NULL, PRIMARY KEY (payment_date, payment_id))
          PARTITION BY RANGE (payment_date);
        CREATE TABLE public.payment_p2022_01 PARTITION OF public.payment FOR VALUES FROM ('2022-01-01') TO ('2022-02-01');
        CREATE TABLE public.payment_p2022_02 PARTITION OF public.payment FOR VALUES FROM ('2022-02-01') TO ('2022-03-01');
        CREATE TABLE public.payment_now PARTITION OF public.payment DEFAULT;
        CREATE VIEW public.customer_list AS SELECT customer_id AS id, first_name AS name FROM public.customer;
        CREATE MATERIALIZED VIEW public.rental_by_category AS SELECT rating, count(*) FROM public.film GROUP BY 1;
        CREATE FUNCTION public.last_updated() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN NEW.last_update = CURRENT_TIMESTAMP; RETURN NEW; END $$;
        CREATE TRIGGER last_updated BEFORE UPDATE ON public.film FOR EACH ROW EXECUTE FUNCTION public.last_updated();
        INSERT INTO public.customer (first_name) SELECT 'c' || n FROM generate_series(1, 300) n;
        INSERT INTO public.film (title, release_year) SELECT 'f' || n, 1901 + n % 100 FROM generate_series(1, 500) n;
        INSERT INTO public.rental (customer_id, rental_date) SELECT 1 + n % 300, '2022-01-05' FROM generate_series(1, 1600) n;
        INSERT INTO public.payment (customer_id, rental_id, amount, payment_date)
          SELECT 1 + n % 300, n, 2.99, '2022-01-01'::timestamptz + n * interval '50 minutes'
          FROM generate_series(1, 1500) n;
    """,
    log="public.payment",
    age="payment_date",
    child="public.payment(rental_id)",
    parent="public.rental(rental_id)",
    old=1500,
    old_rows="INSERT INTO public.payment (customer_id, rental_id, payment_date) VALUES (1, 1, '2022-01-09'), (1, 2, '2022-02-09')",
    orphan="INSERT INTO public.payment (customer_id, rental_id, payment_date) VALUES (1, 99999, now())",
    repair="DELETE FROM public.payment WHERE rental_id = 99999",
    analyzed="public.film",
)
HOSTILE = Scene(
    setup="""
        CREATE SCHEMA "Ünïcode";
        CREATE TABLE public.x (a int);
        CREATE TABLE "Ünïcode"."we""ird; drop table x --" ("a""t'; --%s" timestamptz, "%(x)s" text);
        CREATE TABLE "Ünïcode"."child 🔒" ("key of %" int);
        CREATE TABLE "Ünïcode"."parent" ("key" int);
        INSERT INTO "Ünïcode"."we""ird; drop table x --" SELECT now() - interval '500 days' FROM generate_series(1, 2100);
        INSERT INTO "Ünïcode"."child 🔒" SELECT generate_series(1, 300);
        INSERT INTO "Ünïcode"."parent" SELECT generate_series(1, 300);
    """,
    log='"Ünïcode"."we""ird; drop table x --"',
    age='"a""t\'; --%s"',
    child='"Ünïcode"."child 🔒"("key of %")',
    parent='"Ünïcode".parent(key)',
    old=2100,
    old_rows="""INSERT INTO "Ünïcode"."we""ird; drop table x --" SELECT now() - interval '500 days' FROM generate_series(1, 2)""",
    orphan='INSERT INTO "Ünïcode"."child 🔒" VALUES (777)',
    repair='DELETE FROM "Ünïcode"."child 🔒" WHERE "key of %" = 777',
    analyzed='"Ünïcode"."child 🔒"',
)
EXTRA = """
[[jobs.log_cleanup.tables]]
table = {log}
column = {age}
keep = "400 days"
[[checks.orphans]]
child = {child}
parent = {parent}
[governor]
batch_rows = 700
[channels.ticket]
type = "webhook"
url = "{url}/tickets"
[routes]
warning = ["ticket"]
high = ["ticket"]
critical = ["ticket"]
"""


def requests(scene, ticket):
    names = {
        name: json.dumps(getattr(scene, name), ensure_ascii=False)
        for name in ("log", "age", "child", "parent")
    }
    return EXTRA.format(url=ticket.url, **names)


WRITES = re.compile(
    r"\b(INSERT|UPDATE|DELETE|TRUNCATE|CREATE|ALTER|DROP|GRANT|ANALYZE|VACUUM|REINDEX|COPY)\b"
)


class Witness:
    """The server's log: every statement of every session of our two logins, since the last look."""

    def __init__(self, house):
        self._house, self._log, self._read = house, house.database.cluster.log, 0
        self.statements()

    def statements(self):
        text = self._log.read_bytes()[self._read :].decode("utf-8", "replace")
        self._read = self._log.stat().st_size
        entries = [
            entry
            for entry in re.split(r"\n(?=\d{4}-\d\d-\d\d )", text)
            if "statement:" in entry or "execute" in entry
        ]
        ours = [
            entry
            for entry in entries
            if any(f"|{role}|" in entry for role in (self._house.maintain, self._house.data))
        ]
        assert all(re.match(r".*?\] sereno/\w+\|", entry) for entry in ours)
        return [entry.split("LOG: ", 1)[1] for entry in ours if "LOG: " in entry]


@pytest.fixture
def ticket(endpoint):
    return endpoint()


def told(ticket):
    found = [json.loads(request["body"])["data"] for request in ticket.requests]
    ticket.requests.clear()
    return sorted((one["state"], one["kind"]) for one in found)


def night(house):
    return {
        run["job"]: run
        for run in json.loads(house.sereno("now", "daily", "--json").stdout)
        if run["database"]
    }


@pytest.mark.parametrize(
    "scene", [COOPERATIVE, PAGILA, HOSTILE], ids=["cooperative", "pagila", "hostile"]
)
def test_four_nights(scene, any_server, make_database, make_house, tmp_path, ticket):
    with make_database(any_server, f"a b {tmp_path.name}") as database:
        house = make_house(tmp_path, database)
        house.maintain += " Ñ"
        owner = f"app_{house.maintain}"
        database.run(f'CREATE ROLE "{owner}" LOGIN; GRANT ALL ON SCHEMA public TO "{owner}"')
        database.run(f'GRANT ALL ON DATABASE "{database.name}" TO "{owner}"')
        with database.connect(owner.replace(" ", "\\ "), autocommit=True) as application:
            application.execute(scene.setup)
            _four_nights(scene, house, application, ticket)


def _four_nights(scene, house, application, ticket):
    application.execute(scene.orphan)
    # what was filled in is counted now: when it comes after the first night's ANALYZE, the second night has one too
    new = application.info.server_version >= 150000
    application.execute("SELECT pg_stat_force_next_flush()" if new else "SELECT pg_sleep(1)")
    house.extra = requests(scene, ticket)
    house.install()
    witness = Witness(house)

    house.sereno("plan", "--json")
    assert [line for line in witness.statements() if WRITES.search(line.split("FROM")[0])] == []
    assert told(ticket) == []

    first = night(house)
    deletes = [line for line in witness.statements() if "DELETE FROM" in line]
    assert len(deletes) >= scene.old / 700
    assert all(int(re.search(r"LIMIT '?(\d+)", line)[1]) <= 700 for line in deletes)
    assert first["log_cleanup"]["steps"][0]["rows"] == scene.old
    assert scene.analyzed in {step["object"] for step in first["analyze"]["steps"]}
    assert {run["state"] for run in first.values()} == {"finished"}
    assert told(ticket) == [("firing", "orphans")]

    second = night(house)
    assert (second["log_cleanup"]["steps"], second["analyze"]["steps"]) == ([], [])
    assert told(ticket) == []
    assert not any("DELETE FROM" in line or "ANALYZE " in line for line in witness.statements())

    application.execute(scene.old_rows)
    application.execute('CREATE TABLE public."Otro" (id int PRIMARY KEY, ref int)')
    application.execute('INSERT INTO public."Otro" VALUES (1, 777777)')
    pair = json.dumps(scene.parent, ensure_ascii=False)
    house.extra += f"[[checks.orphans]]\nchild = 'public.\"Otro\"(ref)'\nparent = {pair}\n"
    third = night(house)
    assert third["log_cleanup"]["steps"][0]["rows"] == 2
    assert told(ticket) == [("firing", "orphans")]

    application.execute(scene.repair)
    application.execute('DELETE FROM public."Otro"')
    night(house)
    assert told(ticket) == [("resolved", "orphans"), ("resolved", "orphans")]
    night(house)
    assert told(ticket) == []


def test_every_session_has_its_name_and_its_limits(house, ticket, wait):
    """Seen in pg_stat_activity while the clean-up works, and by a table's own trigger from inside the session."""
    database = house.database
    database.run(COOPERATIVE.setup)
    database.run(
        "CREATE TABLE public.seen (name text, lock_timeout text, statement_timeout text, path text)"
    )
    database.run("GRANT INSERT ON public.seen TO PUBLIC")
    database.run(
        "CREATE FUNCTION public.witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen SELECT"
        " current_setting('application_name'), current_setting('lock_timeout'), current_setting('statement_timeout'),"
        " current_setting('search_path'); RETURN NULL; END $$"
    )
    database.run(
        'CREATE TRIGGER w AFTER DELETE ON public."AuditLog" FOR EACH STATEMENT EXECUTE FUNCTION public.witness()'
    )
    house.extra = requests(COOPERATIVE, ticket)
    house.install()
    night(house)
    seen = database.rows("SELECT DISTINCT name, lock_timeout, path FROM public.seen")
    assert seen == [
        {"name": "sereno/log_cleanup", "lock_timeout": "300ms", "path": "pg_catalog,pg_temp"}
    ]
    assert (
        database.value("SELECT count(*) FROM public.seen WHERE statement_timeout IN ('0', '0ms')")
        == 0
    )


def test_a_random_schema_with_hostile_names(server, make_database, make_house, tmp_path):
    """Names drawn from all that a name may be, quotes, blanks, percent signs, 63 bytes; none of them is ever run."""
    import random

    from psycopg import sql

    from postgres.identifiers import Columns, Relation

    draw = random.Random(20260301)
    alphabet = [
        *"aZ \"'%;-\\$`{}[]<>&äñ漢🔒\t\n.:,()",
        "--",
        "/*",
        "*/",
        "''",
        '""',
        "%s",
        "%(x)s",
        "$$",
        "DROP TABLE x",
    ]

    def name():
        made = "".join(draw.choice(alphabet) for _ in range(draw.randint(1, 40)))
        return made.encode()[:63].decode("utf-8", "ignore") or "x"

    with make_database(server, f"a b {tmp_path.name[-20:]} %") as database:
        house = make_house(tmp_path, database)
        database.run("CREATE TABLE public.x (a int)")
        house.extra = ""
        relations = [Relation(name(), name()) for _ in range(12)]
        for relation in relations:
            column = name()
            table = sql.Identifier(relation.schema, relation.name)
            create = sql.SQL("CREATE TABLE {} ({} timestamptz, {} int)")
            database.admin.execute(
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(relation.schema))
            )
            database.admin.execute(
                create.format(table, sql.Identifier(column), sql.Identifier(column[:5] + "z"))
            )
            database.admin.execute(
                sql.SQL(
                    "INSERT INTO {} SELECT now() - interval '9 days', n FROM generate_series(1, 99) n"
                ).format(table)
            )
            quoted = (
                json.dumps(str(relation), ensure_ascii=False),
                json.dumps(
                    str(Columns(relation, (column,))).removeprefix(str(relation))[1:-1],
                    ensure_ascii=False,
                ),
            )
            house.extra += f'[[jobs.log_cleanup.tables]]\ntable = {quoted[0]}\ncolumn = {quoted[1]}\nkeep = "1 day"\n'
            pair = json.dumps(str(Columns(relation, (column[:5] + "z",))), ensure_ascii=False)
            house.extra += f"[[checks.orphans]]\nchild = {pair}\nparent = {pair}\n"
        assert house.install().returncode == 0
        runs = night(house)
        assert {run["state"] for run in runs.values()} == {"finished"}
        assert [step["rows"] for step in runs["log_cleanup"]["steps"]] == [99] * 12
        analyzed = {step["object"] for step in runs["analyze"]["steps"]}
        assert {str(relation) for relation in relations} <= analyzed
        assert runs["integrity_check"]["findings"] == []
        assert database.value("SELECT to_regclass('public.x') IS NOT NULL")
