"""Two owners that do not trust each other; the code of one attacks the other in many ways."""

from dataclasses import dataclass

import psycopg
import pytest

DOMAIN = """
[databases.main.domains.{name}]
owners = ["{owner}"]
data = {{ user = "{owner}_data" }}
owner = {{ user = "{owner}_owner" }}
"""
TREASURE = "gold"
FORGED = """
  INSERT INTO sereno.archive_batch (id, instance, "schema", "table", destination, file, "position",
                                    length, sha256, rows, first, last, columns)
  SELECT gen_random_uuid(), instance_id, 'a', 'log', 'file:///nowhere', 'main/a/log/2020-01.copy.zst', 0,
         1, '', 1, '2020-01-01', '2020-01-01', '[["id", "integer"]]' FROM sereno.owner
"""
EVIL = """
CREATE FUNCTION m.evil(way text) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
DECLARE one text; stolen text;
BEGIN
  FOREACH one IN ARRAY ARRAY[
    'RESET ROLE', 'SET ROLE {alice}', 'RESET SESSION AUTHORIZATION',
    'SET SESSION AUTHORIZATION {alice}', 'SET ROLE {maintain}',
    'UPDATE a.secret SET word = ''changed''', 'INSERT INTO a.secret VALUES (''planted'')',
    'DELETE FROM a.log', 'TRUNCATE a.log', 'DROP TABLE a.log',
    'ALTER TABLE a.log OWNER TO {mallory}', 'GRANT ALL ON a.secret TO {mallory}',
    'LOCK a.secret IN ACCESS EXCLUSIVE MODE', 'CREATE TEMP VIEW secret AS SELECT 1',
    'CREATE TEMP TABLE log (id int, at timestamptz)', 'PREPARE q AS DELETE FROM a.log', 'EXECUTE q',
    'DECLARE held CURSOR WITH HOLD FOR SELECT m.forge()', 'ALTER ROLE {alice} SUPERUSER',
    'CREATE ROLE more', 'ALTER ROLE {alice}_data PASSWORD ''x''', 'COPY a.secret TO PROGRAM ''true''',
    'COPY a.secret TO ''/tmp/loot''', 'SELECT pg_read_file(''PG_VERSION'')',
    'SELECT lo_import(''/etc/hostname'')', 'CREATE EXTENSION dblink SCHEMA m',
    'SELECT m.dblink_exec(''dbname='' || current_database(), ''DELETE FROM a.log'')',
    'DELETE FROM sereno.owner', 'UPDATE sereno.owner SET instance_id = ''mine''',
    'DELETE FROM sereno.claim', 'DELETE FROM sereno.archive_batch',
    'UPDATE sereno.archive_batch SET restored_at = now()', 'DROP SCHEMA sereno CASCADE',
    'SELECT m.forge()'] LOOP
    BEGIN EXECUTE one; EXCEPTION WHEN OTHERS THEN NULL; END;
  END LOOP;
  BEGIN
    SELECT string_agg(word, ',') INTO stolen FROM a.secret;
  EXCEPTION WHEN OTHERS THEN NULL; END;
  PERFORM pg_notify('loot', concat_ws('|', way, session_user, current_user, stolen));
  RETURN 0;
END $$;
CREATE FUNCTION m.forge() RETURNS int LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  {forged};
  RETURN 0;
EXCEPTION WHEN OTHERS THEN RETURN 1;
END $$;
CREATE FUNCTION m.fixed(way text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RETURN m.evil(way); END $$;
CREATE FUNCTION m.yes(way text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RETURN m.evil(way) = 0; END $$;
CREATE FUNCTION m.fires() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM m.evil(TG_NAME); RETURN OLD; END $$;
CREATE DOMAIN m.positive AS int CHECK (m.yes('domain'));
"""
TRIGGER = "FOR EACH ROW EXECUTE FUNCTION m.fires()"
PLAIN = "CREATE TABLE m.{0} (id int PRIMARY KEY, at timestamptz NOT NULL)"
ROWS = "INSERT INTO {} SELECT n, now() - n * interval '20 days' FROM generate_series(0, 9) n"
WAYS = {
    "expression": "CREATE INDEX ON m.expression ((id + m.fixed('expression')))",
    "predicate": "CREATE INDEX ON m.predicate (id) WHERE m.yes('predicate')",
    "statistics": "CREATE STATISTICS m.stat ON id, (id + m.fixed('statistics')) FROM m.statistics",
    "checked": "ALTER TABLE m.checked ADD CHECK (m.yes('checked'))",
    "unvalidated": "ALTER TABLE m.unvalidated ADD CHECK (m.yes('unvalidated')) NOT VALID",
    "generated": "ALTER TABLE m.generated ADD g int GENERATED ALWAYS AS (m.fixed('g')) STORED",
    "domains": "ALTER TABLE m.domains ADD d m.positive DEFAULT 1",
    "row_trigger": f"CREATE TRIGGER row_trigger BEFORE DELETE ON m.row_trigger {TRIGGER}",
    "statement_trigger": "CREATE TRIGGER statement_trigger AFTER DELETE ON m.statement_trigger"
    " EXECUTE FUNCTION m.fires()",
    "deferred": "CREATE CONSTRAINT TRIGGER deferred AFTER DELETE ON m.deferred"
    f" DEFERRABLE INITIALLY DEFERRED {TRIGGER}",
    "rule": "CREATE RULE rule AS ON DELETE TO m.rule DO ALSO SELECT m.evil('rule')",
    "policy": "ALTER TABLE m.policy ENABLE ROW LEVEL SECURITY;"
    " CREATE POLICY p ON m.policy USING (m.yes('policy'))",
    "cascade": "CREATE TABLE m.cascade_child (id int REFERENCES m.cascade ON DELETE CASCADE);"
    " CREATE INDEX ON m.cascade_child ((id + m.fixed('cascade')))",
    "key": "CREATE TABLE m.key_child (id int REFERENCES m.key);"
    " CREATE INDEX ON m.key_child ((id + m.fixed('key')))",
    "inherited": "CREATE TABLE m.inherited_child () INHERITS (m.inherited);"
    " CREATE INDEX ON m.inherited_child ((id + m.fixed('inherited')))",
}
OTHERS = f"""
CREATE TABLE m.parted (id int, at timestamptz NOT NULL, CHECK (m.yes('parted')))
  PARTITION BY RANGE (at);
CREATE TABLE m.parted_old PARTITION OF m.parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE INDEX ON m.parted_old ((id + m.fixed('parted_old')));
INSERT INTO m.parted VALUES (1, '2020-05-05');
CREATE TABLE m.keyed (id int, at timestamptz NOT NULL) PARTITION BY RANGE ((id + m.fixed('keyed')));
CREATE TABLE m.keyed_old PARTITION OF m.keyed FOR VALUES FROM (0) TO (10);
INSERT INTO m.keyed VALUES (1, '2020-05-05');
CREATE TABLE m.archived (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON m.archived ((id + m.fixed('archived_index')));
CREATE TRIGGER archived BEFORE DELETE ON m.archived {TRIGGER};
INSERT INTO m.archived VALUES (1, '2020-05-05');
CREATE VIEW m.looks AS SELECT id + m.evil('view') AS id FROM m.key;
"""
CLEANED = """
[[jobs.log_cleanup.tables]]
table = "{}"
column = "at"
keep = "30 days"
"""
MORE = """
[[jobs.log_cleanup.tables]]
table = "m.parted"
column = "at"
keep = "30 days"
partitions = "drop"
[[jobs.archive.tables]]
table = "m.archived"
column = "at"
older_than = "30 days"
to = "file://{}"
[[checks.orphans]]
child = "m.looks(id)"
parent = "m.key(id)"
"""
JOBS = ("log_cleanup", "archive", "integrity_check", "analyze", "vacuum")


@dataclass
class Attack:
    """The house of both owners, and what the attacker's code has reported."""

    house: object
    alice: str
    mallory: str
    heard: object

    def run_all(self):
        """Plan and run every job; return the runs by job."""
        for job in JOBS:
            self.house.plan(job)
        return {job: self.house.run(job) for job in JOBS}

    def reports(self):
        """Return (way, login, user, stolen words) of each time that the code ran."""
        self.heard.execute("SELECT 1")
        rows = [note.payload.split("|") for note in self.heard.notifies(timeout=0.2)]
        return [(*row[:3], row[3] if len(row) > 3 else "") for row in rows]


def create_owner(house, owner, schema):
    run = house.database.run
    run(f"CREATE ROLE {owner} LOGIN; CREATE SCHEMA {schema} AUTHORIZATION {owner}")
    run(f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC")


@pytest.fixture
def owners(any_house):
    """Create alice with a secret and a log, and mallory without a table; return the house."""
    house = any_house
    house.alice, house.mallory = f"alice_{house.maintain}", f"mallory_{house.maintain}"
    create_owner(house, house.alice, "a")
    create_owner(house, house.mallory, "m")
    with house.database.connect(house.alice, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE a.secret AS SELECT '{TREASURE}' AS word")
        connection.execute("CREATE TABLE a.log (id int PRIMARY KEY, at timestamptz NOT NULL)")
        connection.execute(ROWS.format("a.log"))
    names = {"alice": house.alice, "mallory": house.mallory}
    house.domains = {name: DOMAIN.format(name=name, owner=owner) for name, owner in names.items()}
    house.extra = CLEANED.format("a.log")
    yield house
    for owner in names.values():
        for role in (f"{owner}_data", f"{owner}_owner", owner):
            if house.database.rows("SELECT FROM pg_roles WHERE rolname = %s", role):
                house.database.run(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


@pytest.fixture
def attack(owners):
    """Create the tables of mallory that attack alice."""
    house = owners
    names = {
        "alice": house.alice,
        "mallory": house.mallory,
        "maintain": house.maintain,
        "forged": FORGED,
    }
    with house.database.connect(house.mallory, autocommit=True) as connection:
        connection.execute(EVIL.format(**names))
        for name, statement in WAYS.items():
            connection.execute(PLAIN.format(name))
            connection.execute(ROWS.format(f"m.{name}"))
            connection.execute(statement)
        connection.execute(OTHERS)
    tables = ["m.keyed", *(f"m.{name}" for name in WAYS)]
    house.extra += "".join(map(CLEANED.format, tables))
    house.extra += MORE.format(house.folder / "archive")
    with psycopg.connect(house.database.dsn, autocommit=True) as heard:
        heard.execute("LISTEN loot")
        yield Attack(house, house.alice, house.mallory, heard)
