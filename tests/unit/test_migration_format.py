"""Migrations: format of a folder, statements, checksums, state, ladder. No server."""

from datetime import UTC, datetime

import pytest
from hypothesis import Phase as Part
from hypothesis import given, settings
from hypothesis import strategies as st

from migrations import state
from migrations.format import Phase, parse_file_name
from migrations.read_folder import FormatError, build_migration, list_ids, read_migration
from migrations.state import Batch, Event, Progress, State, StepRow
from migrations.statements import Parsed, SyntaxProblem, parse
from postgres.ladder import Ladder
from tests.fixtures.sql_lexer import split as own_split

LEAST = {
    "migration.toml": b'title = "t"',
    "prepare.sql": b"CREATE TABLE t (id int);",
    "prepare.check.sql": b"-- @check none\nSELECT 1 WHERE false;",
    "prepare.rollback.sql": b"DROP TABLE t;",
}


def build(**files):
    """Build a migration of the least files, with some changed (`__` is a dot); None leaves one out."""
    raw = LEAST | {name.replace("__", "."): text for name, text in files.items()}
    return build_migration("0001_t", {name: text for name, text in raw.items() if text is not None})


def problems(**files):
    with pytest.raises(FormatError) as raised:
        build(**files)
    return [str(one) for one in raised.value.problems]


CASES = [
    ("select 1", 1),
    ("select 1;", 1),
    ("select 1;;; select 2;", 2),
    ("", 0),
    ("-- only a comment", 0),
    ("/* a /* nested ; */ b */ select 1", 1),
    ("select ';'", 1),
    ("select 'it''s; one'", 1),
    (r"select E'a\';b'; select 2", 2),
    (r"select 'a\'; select 2", 2),
    ("select U&'d\\0061t;a'", 1),
    ('select ";" from t', 1),
    ('select "a"";b" from t; select 2', 2),
    ("select $$ ; $$", 1),
    ("select $tag$ ; $$ ; $tag$; select 2", 2),
    ("select $a$ $b$ ; $b$ $a$", 1),
    ("do $$ begin perform 1; perform 2; end $$; select 1", 2),
    (
        "create function f() returns int language sql begin atomic select 1; select 2; end; select 3",
        2,
    ),
    (
        "create function f() returns int language sql begin atomic select case when true then 1 end; end",
        1,
    ),
    (
        "create or replace procedure p() language sql begin atomic insert into t values (1); end; select 1",
        2,
    ),
    ("create rule r as on insert to t do (insert into a values (1); insert into b values (2))", 1),
    ("create rule r as on delete to t do instead (delete from a; delete from b); select 1", 2),
    ("create table t (a int generated always as (b * 2) stored)", 1),
    ("select 1 -- ; comment\n; select 2", 2),
    ("select 1 /* ; */; select 2", 2),
    ("select a::text from t; select b", 2),
    ("select (array[1, 2])[1]; select 2", 2),
    ("select x'1F'; select b'01'", 2),
    ("select N'a;b'", 1),
    ("values (1), (2); table t", 2),
    ("with a as (select 1), b as (select 2) select * from a, b; select 1", 2),
    ("insert into t values ('a;b') on conflict do nothing; select 1", 2),
    ("comment on table t is 'a; b'; comment on table t is null", 2),
    ("create table t (a text default ';'); select 1", 2),
    ("create policy p on t using (a = ';'); select 1", 2),
    ('alter table "we;ird" add column "a;b" int; select 1', 2),
    ("select 1\n;\n\n-- end", 1),
]


def test_hard_cases_are_split_as_the_server_splits_them():
    assert len(CASES) == 37
    parsed = parse({str(number): text for number, (text, _) in enumerate(CASES)})
    counts = {
        name: len(one.statements) if isinstance(one, Parsed) else one
        for name, one in parsed.items()
    }
    assert counts == {str(number): count for number, (_, count) in enumerate(CASES)}


def test_own_lexer_splits_the_same_as_the_grammar():
    assert [len(own_split(text)) for text, _ in CASES] == [count for _, count in CASES]
    parsed = parse({str(number): text for number, (text, _) in enumerate(CASES)})
    for number, (text, _) in enumerate(CASES):
        found = [one.text for one in parsed[str(number)].statements]
        # the grammar keeps a comment behind a statement
        assert all(map(str.startswith, found, own_split(text))), found


PIECES = st.sampled_from([text for text, count in CASES if count == 1 and "--" not in text])


@settings(max_examples=8, phases=[Part.generate])
@given(st.lists(st.lists(PIECES, min_size=1, max_size=4), min_size=20, max_size=40))
def test_joined_cases_are_split_the_same_by_both(files):
    """Many files at a time, since each call of the parser is a process."""
    texts = [";\n".join(piece.rstrip(";\n ") for piece in pieces) for pieces in files]
    parsed = parse({str(number): text for number, text in enumerate(texts)})
    for number, text in enumerate(texts):
        assert [one.text for one in parsed[str(number)].statements] == own_split(text)


def test_crash_of_the_parser_leaves_a_statement_unknown_and_the_others_known():
    crashing = "select " + "1+" * 60_000 + "1"
    parsed = parse({"t": f"select 1; {crashing}; drop table t; {crashing}; select 2"})["t"]
    assert [one.kind for one in parsed.statements] == [
        "select_stmt",
        "",
        "drop_stmt",
        "",
        "select_stmt",
    ]
    assert parsed.statements[1].mode == "ACCESS EXCLUSIVE", "an unknown one counts as the strongest"


def test_line_of_a_syntax_error_is_told():
    assert parse({"t": "select 1;\n\nselec 2;"})["t"] == SyntaxProblem(
        'syntax error at or near "selec"', 3
    )


def test_checksum_ignores_comments_and_blanks_and_sees_literals():
    same = build(prepare__sql=b"-- licence\r\nCREATE  TABLE t /* x */ (id int)\n;\n").checksum
    assert build().checksum == same
    assert build(prepare__sql=b"CREATE TABLE t (id bigint);").checksum != same
    quoted = build(prepare__sql=b'CREATE TABLE "T" (id int);')
    assert quoted.checksum != build(prepare__sql=b"CREATE TABLE T (id int);").checksum
    assert build(prepare__check__sql=b"-- @check other\nSELECT 1 WHERE false;").checksum != same
    assert build(**{"migration.toml": b'title = "other"'}).checksum != same


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"prepare__sql": b"CREATE TABLE t (id int);\n\x00DROP TABLE u;"}, "prepare.sql:2: the control character U+0000"),
        ({"prepare__sql": b"SELECT '\x1b'"}, "prepare.sql:1: the control character U+001B"),
        ({"prepare__sql": b"\\i other.sql\n"}, r"prepare.sql:1: \i is a command of psql"),
        ({"prepare__sql": b"SELECT 1;\nSELECT :x;"}, "prepare.sql:2: the variable x of psql"),
        ({"prepare__sql": b"BEGIN; SELECT 1; COMMIT"}, "prepare.sql:1: BEGIN: sereno begins and ends"),
        ({"prepare__sql": b"SET ROLE postgres"}, "prepare.sql:1: SET ROLE postgres: SET role"),
        ({"prepare__sql": b"RESET ROLE"}, "prepare.sql:1: RESET ROLE: SET role"),
        ({"prepare__sql": b"SET search_path = a"}, "SET search_path"),
        ({"prepare__sql": b"COPY t FROM STDIN"}, "prepare.sql:1: COPY t FROM: COPY"),
        ({"prepare__sql": b"CREATE INDEX CONCURRENTLY i ON t (id)"}, "cannot run in a transaction"),
        ({"prepare__notx__sql": b"CREATE INDEX CONCURRENTLY ON t (id)"}, "without a name"),
        ({"prepare__sql": b"VACUUM t"}, "cannot run in a transaction"),
        ({"prepare__sql": b"CREATE TABLE"}, "prepare.sql:1: syntax error at end of input"),
        ({"prepare__sql": b"\xff"}, "prepare.sql:1: is not UTF-8"),
        ({"prepare__sql": b"x" * (1024 * 1024 + 1)}, "prepare.sql: larger than 1 MiB"),
        ({"deploy__sql": b""}, "deploy.sql: the format knows no such name"),
        ({"prepare__check__sql": None}, "prepare.check.sql: is missing: prepare needs a check"),
        ({"prepare__check__sql": b"SELECT 1"}, "prepare.check.sql:1: the statement has no name"),
        ({"prepare__check__sql": b"-- @check a\n-- @check b\nSELECT 1"}, "2 names for one statement"),
        ({"prepare__check__sql": b"-- @check a\nDELETE FROM t"}, "a check is a SELECT"),
        ({"prepare__check__sql": b"-- @check a loud\nSELECT 1"}, "only @check may have `warn` or `once`"),
        ({"prepare__check__sql": b"-- @same a warn\nSELECT 1"}, "only @check may have `warn` or `once`"),
        ({"prepare__sql": b"DEALLOCATE ALL"}, "would change sereno's own session"),
        ({"prepare__notx__sql": b"VACUUM FULL t"}, "VACUUM FULL locks the table"),
        ({"prepare__rollback__sql": None}, "prepare.rollback.sql: prepare needs either a rollback"),
        ({"migration.toml": None}, "migration.toml: is missing"),
        ({"migration.toml": b"title = 1"}, "migration.toml: title: Input should be a valid string"),
        ({"migration.toml": b'title = "t"\nformat = 2'}, "format 2 is unknown"),
        ({"migration.toml": b'title = "t"\ncolour = 1'}, "migration.toml: colour: Extra inputs"),
        ({"migration.toml": b'title = "t"\nrequires = ["0001_t"]'}, "is not the id of another"),
        ({"tighten__check__sql": b"-- @check a\nSELECT 1"}, "tighten.sql: is missing"),
        ({"data__batch__sql": b"SELECT :lo, :hi"}, '[steps."data.batch.sql"] is missing'),
        ({"data__batch__sql": b"SELECT :lo"}, "has to use both :lo and :hi"),
    ],
)  # fmt: skip
def test_mistake_names_file_line_and_cure(files, expected):
    assert any(expected in one for one in problems(**files)), problems(**files)


def test_byte_order_mark_is_dropped():
    assert build(prepare__sql=b"\xef\xbb\xbfCREATE TABLE t (id int);").checksum == build().checksum


def test_names_of_files_say_phase_order_and_mode():
    assert parse_file_name("data.10_users.batch.sql").order == "10"
    assert parse_file_name("tighten.rollback.notx.sql").kind == "rollback.notx"
    for name in ("data.1.sql", "Data.sql", "data.10_.sql", "data.check.notx.sql", "x/prepare.sql"):
        assert parse_file_name(name) is None


def test_symbolic_link_is_refused(tmp_path):
    folder = tmp_path / "0001_t"
    folder.mkdir()
    for name, text in LEAST.items():
        (folder / name).write_bytes(text)
    assert read_migration(tmp_path, "0001_t").manifest.title == "t"
    (folder / "prepare.sql").unlink()
    (folder / "prepare.sql").symlink_to("/etc/hostname")
    with pytest.raises(FormatError, match="symbolic links are not followed"):
        read_migration(tmp_path, "0001_t")


def test_unknown_id_names_the_nearest(tmp_path):
    (tmp_path / "0001_tenants").mkdir()
    assert list_ids(tmp_path) == ["0001_tenants"]
    with pytest.raises(FormatError, match="did you mean '0001_tenants'"):
        read_migration(tmp_path, "0001_tenant")


def test_more_files_than_allowed_are_refused(tmp_path):
    folder = tmp_path / "0001_t"
    folder.mkdir()
    for number in range(201):
        (folder / f"{number}.sql").touch()
    with pytest.raises(FormatError, match="more than 200 files"):
        read_migration(tmp_path, "0001_t")


def event(phase, state_name):
    return Event(
        "0001_t", "t", "schema", "c", phase, state_name, "r", "", datetime(2026, 1, 1, tzinfo=UTC)
    )


def test_state_is_that_of_the_last_event():
    found = state.current([event("", "running"), event("prepare", "paused")])["0001_t"]
    assert (found.state, found.phase) == (State.PAUSED, Phase.PREPARE)


def test_edited_file_counts_only_once_it_is_applied():
    migration = build()
    old = StepRow(Phase.PREPARE, "prepare.sql", "old", 0, "done")
    assert state.edited_files(migration, Progress(steps=[old])) == ["prepare.sql"]
    for undone in ("failed", "undone"):
        row = StepRow(Phase.PREPARE, "prepare.sql", "old", 0, undone)
        assert state.edited_files(migration, Progress(steps=[row])) == []


def test_file_that_is_half_done_or_added_too_late_counts_as_edited():
    migration = build()
    half = StepRow(Phase.PREPARE, "prepare.sql", "old", 2, "done")
    assert state.edited_files(migration, Progress(steps=[half])) == ["prepare.sql"]
    late = Progress(phase=Phase.PREPARE)
    assert state.edited_files(migration, late) == ["prepare.sql"], "it was never run"


def test_every_state_names_the_command_that_leads_on():
    for one in State:
        said = Progress(state=one).next_command("0001_t", Phase.CLEANUP)
        assert "0001_t" in said or "nothing is left" in said, one


def test_batches_that_were_restarted_have_not_begun():
    assert Progress(batches={"a": Batch("c", None, 0)}).begun() == []
    assert Progress(batches={"a": Batch("c", "9", 9)}).begun() == ["a"]


@given(st.integers(1, 10_000_000), st.integers(1, 1000))
def test_rung_is_below_half_of_deadlock_timeout(deadlock, attempt):
    rung = Ladder(deadlock).rung(attempt)
    assert 0 < rung <= 300
    assert rung < deadlock / 2 or rung == 10, "10 ms is the least"


@given(st.integers(1, 1000))
def test_pauses_grow_to_a_minute(attempt):
    ladder = Ladder()
    assert ladder.pause(1) == 0.5
    assert ladder.pause(attempt) <= ladder.pause(attempt + 1) <= 60
