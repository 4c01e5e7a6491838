"""The estimates of bloat against the truth: the size after a rewrite, within 4 points each."""

import pytest
from psycopg import sql

from checks.registry import load
from postgres.catalog.index_bloat import estimate_bloat
from postgres.session import MAINTAIN, open_session

TABLES = """
CREATE TABLE b.fresh (id int, a text); INSERT INTO b.fresh SELECT g, md5(g::text) FROM generate_series(1, 40000) g;
CREATE TABLE b.half (id int, a text); INSERT INTO b.half SELECT g, md5(g::text) FROM generate_series(1, 40000) g;
CREATE TABLE b.few (id int, a text); INSERT INTO b.few SELECT g, md5(g::text) FROM generate_series(1, 80000) g;
CREATE TABLE b.fill (id int, a text) WITH (fillfactor = 70);
INSERT INTO b.fill SELECT g, md5(g::text) FROM generate_series(1, 40000) g;
CREATE TABLE b.nulls (id int, a text, b text, c text);
INSERT INTO b.nulls SELECT g, CASE WHEN g % 10 = 0 THEN md5(g::text) END, NULL, CASE WHEN g % 3 = 0 THEN repeat('z', 50) END FROM generate_series(1, 40000) g;
CREATE TABLE b.align (a bool, b bigint, c bool, d bigint, e smallint, f timestamptz);
INSERT INTO b.align SELECT true, g, false, g, 1, now() FROM generate_series(1, 60000) g;
CREATE TABLE b.dropped (id int, a text, b text); INSERT INTO b.dropped SELECT g, md5(g::text), repeat('q', 80) FROM generate_series(1, 40000) g;
ALTER TABLE b.dropped DROP COLUMN b;
CREATE TABLE b.wide (id int, a text); ALTER TABLE b.wide ALTER a SET STORAGE plain;
INSERT INTO b.wide SELECT g, repeat('w', 1500) FROM generate_series(1, 3000) g;
CREATE TABLE b.i (id int, r int, t text, l int, n int, d int);
CREATE INDEX random ON b.i (r); CREATE INDEX queue ON b.i (id) WHERE l < 50;
INSERT INTO b.i SELECT g, hashint4(g) & 2147483647, md5(g::text), g % 50, CASE WHEN g % 10 = 0 THEN g END, g FROM generate_series(1, 100000) g;
CREATE UNIQUE INDEX one ON b.i (id); CREATE INDEX texts ON b.i (t); CREATE INDEX shared ON b.i (l);
CREATE INDEX with_nulls ON b.i (n); CREATE INDEX part ON b.i (d) WHERE l = 3; CREATE INDEX expression ON b.i (lower(t));
CREATE INDEX two ON b.i (l, t); CREATE INDEX half_full ON b.i (id) WITH (fillfactor = 50); CREATE INDEX includes ON b.i (id) INCLUDE (t);
CREATE TABLE b.j (id int, t text, l int); INSERT INTO b.j SELECT g, md5(g::text), g % 50 FROM generate_series(1, 100000) g;
CREATE INDEX j_t ON b.j (t); CREATE INDEX j_l ON b.j (l);
DELETE FROM b.half WHERE id % 2 = 0; DELETE FROM b.few WHERE id % 10 <> 0; DELETE FROM b.j WHERE id % 5 <> 0
"""


@pytest.fixture
def planted(any_house, flush):
    house = any_house
    house.with_logins = False
    run = house.database.run
    run("CREATE SCHEMA b")
    for statement in TABLES.split(";"):
        run(statement)
    flush()
    run("VACUUM ANALYZE")
    return house


def pages(house, name):
    query = "SELECT pg_relation_size(%s::regclass) AS bytes"
    return house.database.value(query, name)


def test_tables(planted):
    options = {"bytes": 0, "share": -9.0, "high_bytes": 0, "high_share": 9.0}
    with open_session(planted.context().target("main"), MAINTAIN, "test") as session:
        rows = load()["table_bloat"].look(session, {**options, "most_findings": 999})
    rows = [row for row in rows if row["object"].startswith("b.")]
    assert len(rows) == 10
    for row in rows:
        before = pages(planted, row["object"])
        planted.database.run(sql.SQL("VACUUM FULL " + row["object"]))
        truth = 1 - pages(planted, row["object"]) / before
        assert abs(row["value"] - truth) <= 0.04, row["object"]


def test_indexes(planted):
    with open_session(planted.context().target("main"), MAINTAIN, "test") as session:
        found = [one for one in estimate_bloat(session, 0) if one.table.schema == "b"]
    assert len(found) == 13
    for one in found:
        planted.database.run(sql.SQL("REINDEX INDEX {}").format(one.index.identifier()))
        truth = 1 - pages(planted, str(one.index)) / one.bytes
        assert abs((1 - one.needed / one.bytes) - truth) <= 0.04, one.index
