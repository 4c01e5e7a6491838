"""The daily schedule run by the command line, seen in the server log and a ticket endpoint."""

import json
import random
import re
from dataclasses import dataclass

import pytest
from psycopg import sql

from postgres.identifiers import Columns, Relation


@dataclass
class Schema:
    """A schema, its log table with expired rows, and a child without a declared foreign key."""

    setup: str
    log: str
    age_column: str
    child: str
    parent: str
    expired: int
    insert_expired: str
    """A statement that inserts two expired rows."""
    insert_orphan: str
    delete_orphan: str
    analyzed: str


COOPERATIVE = Schema(
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
    age_column="fecha",
    child='public."Pago"(factura_id)',
    parent='public."Factura"(id)',
    expired=5000,
    insert_expired="""INSERT INTO public."AuditLog" SELECT n, now() - interval '500 days' FROM generate_series(8001, 8002) n""",
    insert_orphan='INSERT INTO public."Pago" VALUES (777, 9999)',
    delete_orphan='DELETE FROM public."Pago" WHERE id = 777',
    analyzed='public."Factura"',
)
PAGILA = Schema(
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
    age_column="payment_date",
    child="public.payment(rental_id)",
    parent="public.rental(rental_id)",
    expired=1500,
    insert_expired="INSERT INTO public.payment (customer_id, rental_id, payment_date) VALUES (1, 1, '2022-01-09'), (1, 2, '2022-02-09')",
    insert_orphan="INSERT INTO public.payment (customer_id, rental_id, payment_date) VALUES (1, 99999, now())",
    delete_orphan="DELETE FROM public.payment WHERE rental_id = 99999",
    analyzed="public.film",
)
HOSTILE = Schema(
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
    age_column='"a""t\'; --%s"',
    child='"Ünïcode"."child 🔒"("key of %")',
    parent='"Ünïcode".parent(key)',
    expired=2100,
    insert_expired="""INSERT INTO "Ünïcode"."we""ird; drop table x --" SELECT now() - interval '500 days' FROM generate_series(1, 2)""",
    insert_orphan='INSERT INTO "Ünïcode"."child 🔒" VALUES (777)',
    delete_orphan='DELETE FROM "Ünïcode"."child 🔒" WHERE "key of %" = 777',
    analyzed='"Ünïcode"."child 🔒"',
)
CONFIGURATION = """
[[jobs.log_cleanup.tables]]
table = {log}
column = {age_column}
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


def toml(value):
    return json.dumps(str(value), ensure_ascii=False)


def configuration(schema, ticket):
    names = {name: toml(getattr(schema, name)) for name in ("log", "age_column", "child", "parent")}
    return CONFIGURATION.format(url=ticket.url, **names)


WRITES = re.compile(
    r"(?<!')\b(INSERT|UPDATE|DELETE|TRUNCATE|CREATE|ALTER|DROP|GRANT|ANALYZE|VACUUM|REINDEX|COPY)\b"
)


class ServerLog:
    """The statements of both logins in the server log since the last call."""

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


def take_notifications(ticket):
    """Return state and kind of each notification since the last call."""
    received = [json.loads(request["body"])["data"] for request in ticket.requests]
    ticket.requests.clear()
    return sorted((one["state"], one["kind"]) for one in received)


def run_daily(house):
    """Run the daily schedule; return the runs on the database by job."""
    return {
        run["job"]: run
        for run in json.loads(house.sereno("now", "daily", "--json").stdout)
        if run["database"]
    }


@pytest.mark.parametrize(
    "schema", [COOPERATIVE, PAGILA, HOSTILE], ids=["cooperative", "pagila", "hostile"]
)
def test_daily_schedule_over_four_runs(
    schema, any_server, make_database, make_house, tmp_path, ticket
):
    with make_database(any_server, f"a b {tmp_path.name}") as database:
        house = make_house(tmp_path, database)
        house.maintain += " Ñ"
        owner = f"app_{house.maintain}"
        database.run(f'CREATE ROLE "{owner}" LOGIN; GRANT ALL ON SCHEMA public TO "{owner}"')
        database.run(f'GRANT ALL ON DATABASE "{database.name}" TO "{owner}"')
        with database.connect(owner.replace(" ", "\\ "), autocommit=True) as application:
            application.execute(schema.setup)
            application.execute(schema.insert_orphan)
            # Count the inserts before the first run: counted later, they would make the second
            # run analyze the tables again.
            new = application.info.server_version >= 150000
            flush = "SELECT pg_stat_force_next_flush()" if new else "SELECT pg_sleep(1)"
            application.execute(flush)
            house.extra = configuration(schema, ticket)
            house.install()
            log = ServerLog(house)
            check_plan_writes_nothing(house, log, ticket)
            check_first_run(schema, house, log, ticket)
            check_second_run_does_nothing(house, log, ticket)
            check_new_findings(schema, house, application, ticket)
            check_findings_resolved(schema, house, application, ticket)


def check_plan_writes_nothing(house, log, ticket):
    house.sereno("plan", "--json")
    assert [line for line in log.statements() if WRITES.search(line.split("FROM")[0])] == []
    assert take_notifications(ticket) == []


def check_first_run(schema, house, log, ticket):
    runs = run_daily(house)
    deletes = [line for line in log.statements() if "DELETE FROM" in line]
    assert len(deletes) >= schema.expired / 700
    assert all(int(re.search(r"LIMIT '?(\d+)", line)[1]) <= 700 for line in deletes)
    assert runs["log_cleanup"]["steps"][0]["rows"] == schema.expired
    assert schema.analyzed in {step["object"] for step in runs["analyze"]["steps"]}
    assert {run["state"] for run in runs.values()} == {"finished"}
    assert take_notifications(ticket) == [("firing", "orphans")]


def check_second_run_does_nothing(house, log, ticket):
    runs = run_daily(house)
    assert (runs["log_cleanup"]["steps"], runs["analyze"]["steps"]) == ([], [])
    assert take_notifications(ticket) == []
    assert not any("DELETE FROM" in line or "ANALYZE " in line for line in log.statements())


def check_new_findings(schema, house, application, ticket):
    application.execute(schema.insert_expired)
    application.execute('CREATE TABLE public."Otro" (id int PRIMARY KEY, ref int)')
    application.execute('INSERT INTO public."Otro" VALUES (1, 777777)')
    house.extra += (
        f"[[checks.orphans]]\nchild = 'public.\"Otro\"(ref)'\nparent = {toml(schema.parent)}\n"
    )
    runs = run_daily(house)
    assert runs["log_cleanup"]["steps"][0]["rows"] == 2
    assert take_notifications(ticket) == [("firing", "orphans")]


def check_findings_resolved(schema, house, application, ticket):
    application.execute(schema.delete_orphan)
    application.execute('DELETE FROM public."Otro"')
    number = run_daily(house)["integrity_check"]["id"]
    ended = {
        request["body"].decode().count(f"run {number}: sereno history")
        for request in ticket.requests
    }
    assert ended == {1}
    assert take_notifications(ticket) == [("resolved", "orphans"), ("resolved", "orphans")]
    run_daily(house)
    assert take_notifications(ticket) == []


def test_sessions_set_application_name_and_timeouts(house, ticket, wait):
    """A trigger of the log table records the settings of the session that deletes."""
    database = house.database
    database.run(COOPERATIVE.setup)
    database.run(
        "CREATE TABLE public.seen (name text, lock_timeout text, statement_timeout text, path text)"
    )
    database.run("GRANT INSERT ON public.seen TO PUBLIC")
    database.run(
        "CREATE FUNCTION public.witness() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO public.seen SELECT current_setting('application_name'),"
        " current_setting('lock_timeout'), current_setting('statement_timeout'),"
        " current_setting('search_path'); RETURN NULL; END $$"
    )
    database.run(
        'CREATE TRIGGER w AFTER DELETE ON public."AuditLog"'
        " FOR EACH STATEMENT EXECUTE FUNCTION public.witness()"
    )
    house.extra = configuration(COOPERATIVE, ticket)
    house.install()
    run_daily(house)
    seen = database.rows("SELECT DISTINCT name, lock_timeout, path FROM public.seen")
    assert seen == [
        {"name": "sereno/log_cleanup", "lock_timeout": "300ms", "path": "pg_catalog,pg_temp"}
    ]
    unlimited = "SELECT count(*) FROM public.seen WHERE statement_timeout IN ('0', '0ms')"
    assert database.value(unlimited) == 0


ALPHABET = [
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


def random_name(generator):
    name = "".join(generator.choice(ALPHABET) for _ in range(generator.randint(1, 40)))
    return name.encode()[:63].decode("utf-8", "ignore") or "x"


def create_expired_rows(database, relation, columns):
    """Create a table of a time and a number column with 99 expired rows."""
    table = sql.Identifier(relation.schema, relation.name)
    schema = sql.Identifier(relation.schema)
    database.admin.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    create = sql.SQL("CREATE TABLE {} ({} timestamptz, {} int)")
    database.admin.execute(create.format(table, *map(sql.Identifier, columns)))
    insert = "INSERT INTO {} SELECT now() - interval '9 days', n FROM generate_series(1, 99) n"
    database.admin.execute(sql.SQL(insert).format(table))


def table_configuration(relation, time, number):
    """Configure the retention of a table, and a check of it against itself."""
    column = str(Columns(relation, (time,))).removeprefix(str(relation))[1:-1]
    pair = toml(Columns(relation, (number,)))
    return (
        f"[[jobs.log_cleanup.tables]]\ntable = {toml(relation)}\n"
        f'column = {toml(column)}\nkeep = "1 day"\n'
        f"[[checks.orphans]]\nchild = {pair}\nparent = {pair}\n"
    )


def test_daily_schedule_on_random_hostile_names(server, make_database, make_house, tmp_path):
    """Names contain quotes, blanks, comments, format placeholders and up to 63 bytes."""
    generator = random.Random(20260301)
    with make_database(server, f"a b {tmp_path.name[-20:]} %") as database:
        house = make_house(tmp_path, database)
        database.run("CREATE TABLE public.x (a int)")
        house.extra = ""
        relations = [Relation(random_name(generator), random_name(generator)) for _ in range(12)]
        for relation in relations:
            time = random_name(generator)
            number = time[:5] + "z"
            create_expired_rows(database, relation, (time, number))
            house.extra += table_configuration(relation, time, number)
        assert house.install().returncode == 0
        runs = run_daily(house)
        assert {run["state"] for run in runs.values()} == {"finished"}
        assert [step["rows"] for step in runs["log_cleanup"]["steps"]] == [99] * 12
        analyzed = {step["object"] for step in runs["analyze"]["steps"]}
        assert {str(relation) for relation in relations} <= analyzed
        assert runs["integrity_check"]["findings"] == []
        assert database.value("SELECT to_regclass('public.x') IS NOT NULL")
