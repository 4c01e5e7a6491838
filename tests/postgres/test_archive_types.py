"""Values of every column type are restored unchanged, by `sereno archive restore` and by psql."""

import subprocess

import psycopg
import pytest
import zstandard

TABLE = """
[[jobs.archive.tables]]
table = 'public."Ä zoo"'
column = "at"
older_than = "30 days"
to = "file://{}"
"""
SCHEMA = """
CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;
CREATE DOMAIN public.even AS int CHECK (VALUE % 2 = 0);
CREATE TYPE public.mood AS ENUM ('sad', 'it''s "fine", {ok}');
CREATE TYPE public.pair AS (a int, b text);
CREATE TYPE public.span AS RANGE (subtype = float8);
CREATE TABLE public."Ä zoo" (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, gone int, at timestamptz DEFAULT now() - interval '40 days',
  doubled bigint GENERATED ALWAYS AS (id * 2) STORED,
  i2 smallint, i4 int, n numeric, f4 real, f8 float8, m money, t text, v varchar(9), c char(5), c1 "char", b bytea,
  ts timestamp, tz timestamptz, d date, ti time, tt timetz, iv interval, bo boolean, u uuid, j json, jb jsonb, x xml,
  ip inet, ci cidr, mac macaddr, mac8 macaddr8, bi bit(5), vb varbit, pt point, ln line, ls lseg, bx box, pa path,
  po polygon, ci2 circle, tv tsvector, tq tsquery, lsn pg_lsn, o oid, rc regclass, jp jsonpath, na name,
  ra int4range, rt tstzrange, mr int4multirange, sp public.span, dm public.even, mo public.mood, pr public.pair,
  ai int[], at2 text[], a2 int[][], ap public.pair[], am public.mood[], h public.hstore
);
ALTER TABLE public."Ä zoo" DROP COLUMN gone;
"""
ROWS = r"""
INSERT INTO public."Ä zoo" (i2, i4, n, f4, f8, m, t, v, c, c1, b, ts, tz, d, ti, tt, iv, bo, u, j, jb, x, ip, ci, mac, mac8, bi,
  vb, pt, ln, ls, bx, pa, po, ci2, tv, tq, lsn, o, rc, jp, na, ra, rt, mr, sp, dm, mo, pr, ai, at2, a2, ap, am, h)
VALUES
 (-32768, 2147483647, ('0.' || repeat('123456789', 11) || '7')::numeric, 'NaN', 0.1::float8 + 0.2, '-12.34', E'tab\there\\N\r\n\\.\n"q",\x01\x7f', 'ä€😀',
  'ab', 'x', '\x00ff0a5c', 'infinity', '-infinity', '4714-11-24 BC', '24:00', '23:59:59.999999+15:59', '-1 mon +2 days -03:04:05.6', true,
  '01890000-0000-7abc-8000-0123456789ab', '{"a" :  1, "a": 2}', '{"b": [1, null, "\\u00e4\\n"]}', '<a b="c">&amp;</a>', '::1/64', '10.0.0.0/8',
  '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'10101', B'1', '(1e-300,-0)', '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)',
  '[(0,0),(1,1)]', '((0,0),(1,1),(2,0))', '<(0,0),1>', 'a:1A fat:2B', 'fat & (rat | cat:*)', 'FFFFFFFF/FFFFFFFF', 4294967295, 'pg_class',
  '$.a[*] ? (@ > 1)', 'n', '[1,)', '[2020-01-01 00:00+00,infinity)', '{[1,3),[5,7)}', '[0.1,0.3)', 4, 'it''s "fine", {ok}',
  ROW(1, E'a,"b)\n'), '{1,NULL,3}', ARRAY['', 'NULL', NULL, E'a"b\\c,{}'], '[0:1][2:3]={{1,2},{3,4}}', ARRAY[ROW(1, NULL)::public.pair, NULL],
  '{sad}', 'a=>NULL, "b c"=>"d\"e"'),
 (0, 0, 'Infinity', '-Infinity', 1e308, '92233720368547758.07', '', '', '', '', '', '0001-01-01 BC', '294276-12-31 23:59:59.999999+00',
  'infinity', '00:00', '00:00-15:59', '178000000 years', false, '00000000-0000-0000-0000-000000000000', 'null', 'null', 'text only', '0.0.0.0/0',
  '::/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00', B'00000', B'', '(Infinity,NaN)', '{0,1,0}', '[(0,0),(0,0)]', '(0,0),(0,0)', '((0,0))',
  '((0,0))', '<(0,0),0>', '', '', '0/0', 0, '-', 'strict $', '', 'empty', 'empty', '{}', 'empty', 0, 'sad', ROW(NULL, ''), '{}', '{}', '{}',
  '{}', '{}', ''),
 (NULL, NULL, 'NaN', 1e-45, 5e-324, NULL, '\N', '\N', '\N', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '"\\N"', NULL, NULL, NULL,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, NULL, NULL, ARRAY['\N'], NULL, NULL, NULL, NULL);
"""
ALL_ROWS = 'SELECT z::text AS row FROM public."Ä zoo" z ORDER BY id'


@pytest.fixture
def archived_types(any_house):
    house = any_house
    house.database.run(SCHEMA)
    try:
        house.database.run(ROWS)
    except psycopg.errors.FeatureNotSupported:  # the embedded server is built without libxml
        house.database.run(
            ROWS.replace("""'<a b="c">&amp;</a>'""", "NULL").replace("'text only'", "NULL")
        )
    house.archive = house.folder / "archive"
    house.extra = TABLE.format(house.archive)
    house.install()
    house.before = house.database.rows(ALL_ROWS)
    run = house.run("archive")
    assert (run["state"], run["steps"][0]["rows"]) == ("finished", 3), run["reason"]
    assert house.database.rows(ALL_ROWS) == []
    return house


def test_all_types_are_restored_by_archive_restore(archived_types):
    restore = (
        "--database",
        "main",
        "--admin",
        archived_types.database.dsn,
        "--yes",
        "--privileged",
    )
    archived_types.sereno("archive", "restore", 'public."Ä zoo"', *restore)
    assert archived_types.database.rows(ALL_ROWS) == archived_types.before
    assert archived_types.sereno("archive", "verify", "--deep").returncode == 0


def test_all_types_are_restored_by_psql_with_columns_of_manifest(archived_types):
    (path,) = archived_types.archive.rglob("*.copy.zst")
    columns = archived_types.database.value("SELECT columns FROM sereno.archive_batch LIMIT 1")
    names = ", ".join(f'"{name}"' for name, _ in columns)
    psql = archived_types.database.cluster.program("psql")
    with path.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    command = [
        psql,
        "-X",
        archived_types.database.dsn,
        "-c",
        f'COPY public."Ä zoo" ({names}) FROM STDIN',
    ]
    done = subprocess.run(
        command, input=text, capture_output=True, check=False, env={"PGCLIENTENCODING": "UTF8"}
    )
    assert done.returncode == 0, done.stderr
    assert archived_types.database.rows(ALL_ROWS) == archived_types.before


RARE_TYPES = {
    "xid": "'5'", "xid8": "'18446744073709551615'", "cid": "'3'", "tid": "'(1,2)'", "pg_snapshot": "'10:20:10,14'",
    "txid_snapshot": "'10:20:10'", "int2vector": "'1 2'", "oidvector": "'1 2'", "aclitem": "'postgres=r/postgres'",
    "refcursor": "'x'", "regproc": "'now'", "regprocedure": "'now()'", "regoperator": "'+(integer,integer)'",
    "regtype": "'int4'", "regrole": "'postgres'", "regnamespace": "'public'", "regconfig": "'english'",
    "regdictionary": "'simple'", "regcollation": "'\"C\"'", "int8range": "'[1,2)'", "numrange": "'[1,)'",
    "daterange": "'empty'", "tsrange": "'[,)'", "int8multirange": "'{[1,2)}'", "nummultirange": "'{}'",
    "datemultirange": "'{[2020-01-01,2020-02-01)}'", "tsmultirange": "'{(,)}'", "tstzmultirange": "'{[2020-01-01 00:00+00,)}'",
}  # fmt: skip


def test_rare_types_are_restored(any_house):
    house = any_house
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(RARE_TYPES))
    house.database.run(f'CREATE TABLE public."Ä zoo" (id int PRIMARY KEY, at date, {columns})')
    house.database.run(
        f"""INSERT INTO public."Ä zoo" VALUES (1, '2020-01-01', {", ".join(RARE_TYPES.values())})"""
    )
    house.archive = house.folder / "archive"
    house.extra = TABLE.format(house.archive)
    house.install()
    before = house.database.rows(ALL_ROWS)
    assert house.run("archive")["state"] == "finished"
    assert house.database.rows(ALL_ROWS) == []
    house.before = before
    test_all_types_are_restored_by_archive_restore(house)
