"""Statements of other tools as files, and advice about files."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from migrations.format import Kind, Manifest, Migration, Phase, SqlFile
from migrations.imported import Source, to_files
from migrations.lint import advise
from migrations.statements import Statement, TableLock

LEDGER = frozenset({"their_ledger"})
KINDS = {
    "CREATE TABLE t{} (id int)": Statement("", 1, "create_stmt"),
    "CREATE INDEX CONCURRENTLY i{} ON t (a)": Statement("", 1, "index_stmt", outside="create"),
    "ALTER TABLE t DROP COLUMN c{}": Statement("", 1, "alter_table_stmt", effect="removes"),
    "INSERT INTO their_ledger VALUES ({})": Statement(
        "", 1, "insert_stmt", (TableLock("", "their_ledger", "ROW EXCLUSIVE"),)
    ),
    "BEGIN": Statement("", 1, "transaction_stmt"),
    "CREATE TABLE their_ledger (id{} int)": Statement("", 1, "create_stmt"),
}
OWN = tuple(KINDS)[:3]


@st.composite
def scripts(draw):
    texts = draw(st.lists(st.sampled_from(tuple(KINDS)), min_size=1, max_size=12))
    return [replace(KINDS[text], text=text.format(n), line=n + 1) for n, text in enumerate(texts)]


@given(scripts())
def test_every_own_statement_is_in_one_phase_in_its_order_and_mode(up):
    files = to_files(Source("x", "x", up, ledgers=LEDGER)).files
    work = sorted(name for name in files if name.endswith(".sql") and ".check." not in name)
    written = "".join(files[name] for name in work)
    own = [one for one in up if any(one.text.startswith(text[:12]) for text in OWN)]
    own = [one for one in own if "their_ledger" not in one.text]
    assert written == "".join(f"{one.text};\n" for one in own)
    removes = any(one.effect for one in own)
    assert all(name.startswith("cleanup" if removes else "prepare") for name in work)
    for name in work:
        assert ("CONCURRENTLY" in files[name]) == (".notx" in name)


def test_way_back_is_one_transaction_where_it_can_be():
    down = [
        Statement("DROP INDEX CONCURRENTLY i", 1, "drop_stmt", outside="drop"),
        Statement("DROP TABLE t", 2, "drop_stmt", drops=(("", "t"), ("s", 'q"'))),
    ]
    files = to_files(Source("x", "x", [replace(down[1], text="CREATE TABLE t ()")], down)).files
    assert files["prepare.rollback.sql"] == "DROP INDEX IF EXISTS i;\nDROP TABLE t;\n"
    assert """archive = ['public.t', 's."q""\"']""" in files["migration.toml"]


def advice(name, kind, phase, *statements):
    file = SqlFile(name, kind, phase, "", tuple(statements))
    found = advise(Migration("0001_x", Manifest(title="x"), {name: file}, ""))
    return [one.rule for one in found if one.file == name]


def test_rules_depend_on_the_phase_and_the_mode():
    removes = Statement("ALTER TABLE t DROP COLUMN c", 1, "alter_table_stmt", effect="removes")
    rows = Statement("UPDATE t SET a = 1", 2, "update_stmt", effect="rows")
    assert advice("prepare.sql", Kind.TRANSACTION, Phase.PREPARE, removes) == [
        "breaks-old-application"
    ]
    assert advice("cleanup.sql", Kind.TRANSACTION, Phase.CLEANUP, removes) == ["not-reversible"]
    assert advice("purge.sql", Kind.TRANSACTION, Phase.PURGE, removes) == []
    assert advice("data.10_a.batch.sql", Kind.BATCH, Phase.DATA, rows) == []
    assert advice("prepare.sql", Kind.TRANSACTION, Phase.PREPARE, rows) == ["unbatched-rows"]
    unknown = Statement("?", 1)
    assert advice("prepare.sql", Kind.TRANSACTION, Phase.PREPARE, unknown) == ["unknown-statement"]
    lock = Statement(
        "ALTER TABLE t ADD a int", 1, "alter_table_stmt", (TableLock("", "t", "ACCESS EXCLUSIVE"),)
    )
    assert advice("prepare.sql", Kind.TRANSACTION, Phase.PREPARE, lock, rows) == [
        *("unbatched-rows", "work-under-lock"),
    ]
    assert advice("tighten.notx.sql", Kind.NOTX, Phase.TIGHTEN, lock) == []


def test_comment_at_the_end_swallows_no_semicolon():
    up = [
        Statement("DELETE FROM t -- why", 1, "delete_stmt", effect="rows"),
        Statement("CREATE TABLE IF NOT EXISTS s.their_ledger (id int)", 2, "create_stmt"),
        Statement("CREATE TABLE plugins (their_ledger text)", 3, "create_stmt"),
        Statement("DO $$ BEGIN END $$", 4, "do_stmt"),
    ]
    made = to_files(Source("x", "x", up, ledgers=LEDGER))
    assert made.files["prepare.sql"] == (
        "DELETE FROM t -- why\n;\nCREATE TABLE plugins (their_ledger text);\nDO $$ BEGIN END $$;\n"
    )
    assert made.statements == 3
    assert "line 4 runs code: nothing tells whether it removes or renames" in made.notes
