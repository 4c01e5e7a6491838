"""Check files: variables, loader and judge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.check import Header, Option
from checks.judge import judge
from checks.registry import broken_checks, load
from checks.sql_check import BadCheckError, read
from domain.finding import Finding, Identity, Severity
from domain.kinds import RESERVED
from domain.place import Place
from domain.psql_variables import tokens

VALID = '-- title = "Trouble"\n-- option.warning = { default = 0.5 }\nSELECT 1 AS object, 2 AS summary WHERE 1 >= :warning\n'


def variables(query):
    return [(token.kind, token.text) for token in tokens(query) if token.kind != "text"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("x >= :warning", [("value", "warning")]),
        ("interval :'age'", [("literal", "age")]),
        ('FROM :"table"', [("identifier", "table")]),
        ("a::text, b :: int, '12:30', ':no', \":no\"", []),
        ("-- :no\n:yes", [("value", "yes")]),
        ("/* :no /* nested :no */ :no */ :yes", [("value", "yes")]),
        ("$$ :no $$ $t$ :no $$ $t$ :yes", [("value", "yes")]),
        ("E'it\\'s :no' :yes", [("value", "yes")]),
        ("'it''s :no' || :yes", [("value", "yes")]),
        ("a[1:2] := 5", []),
        ("f(a => :yes)", [("value", "yes")]),
        ("'unterminated :no", [("value", "no")]),
    ],
)
def test_lexer_finds_same_variables_as_psql(query, expected):
    assert variables(query) == expected


@given(st.text(st.sampled_from(list("ab:'\"$-/*\\ \n1E")), max_size=40))
def test_lexer_tokens_reproduce_query(query):
    written = {"text": "{}", "value": ":{}", "literal": ":'{}'", "identifier": ':"{}"'}
    assert "".join(written[token.kind].format(token.text) for token in tokens(query)) == query


def test_sql_file_is_read_as_check():
    (check,) = read({"trouble.sql": VALID})
    assert (check.header.name, check.header.title, check.header.scope) == (
        "trouble",
        "Trouble",
        "database",
    )
    assert check.header.options["warning"] == Option(0.5)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("trouble.sql", "SELECT 1", "title"),
        ("trouble.sql", '-- title = "x"\n-- scoep = "cluster"\nSELECT 1', "scoep"),
        ("trouble.sql", '-- title = "x"\n-- scope = "galaxy"\nSELECT 1', "galaxy"),
        ("trouble.sql", "-- title = x\nSELECT 1", "TOML"),
        ("trouble.sql", '-- title = "x"\n-- option = 5\nSELECT 1', "must be a table"),
        ("trouble.sql", '-- title = "x"\n-- needs = 5\nSELECT 1', "must be a list"),
        ("trouble.sql", '-- title = "x"\n-- order = "sideways"\nSELECT 1', "rising or falling"),
        ("trouble.sql", '-- title = "x"\nSELECT :limit', ":limit"),
        ("trouble.sql", '-- title = "x"\n', "no query"),
        ("trouble.sql", '-- title = "x"\n-- option.a = 5\nSELECT 1', "default"),
        ("Trouble!.sql", VALID, "file name must be like"),
        ("trouble.pg17.sql", VALID, "missing beside"),
    ],
)
def test_invalid_check_file_is_reported(file, text, message):
    with pytest.raises(BadCheckError, match=message):
        read({file: text})


def problems(folder):
    return {one.header.name: one.problem for one in broken_checks(load(folder))}


def test_user_check_is_loaded_and_cannot_replace_builtin(tmp_path):
    (tmp_path / "trouble.sql").write_text(VALID)
    assert "trouble" in load(tmp_path)
    assert problems(tmp_path) == {}
    (tmp_path / "orphans.sql").write_text(VALID)
    assert problems(tmp_path) == {
        "orphans.sql": f"{tmp_path}/orphans.sql: a check of this name exists already; rename the file"
    }
    assert load(tmp_path)["orphans"] is load()["orphans"]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_check_name_must_not_be_reserved_kind(tmp_path, name):
    """Two alerts with one fingerprint would resolve or inhibit each other."""
    (tmp_path / f"{name}.sql").write_text(VALID)
    assert "the name is reserved" in problems(tmp_path)[f"{name}.sql"]


def test_each_file_that_cannot_be_used_is_one_broken_check(tmp_path):
    (tmp_path / "fine.sql").write_text(VALID)
    (tmp_path / "no_title.sql").write_text("SELECT 1")
    (tmp_path / "Bad Name.sql").write_text(VALID)
    (tmp_path / "latin.sql").write_bytes(VALID.encode() + b"-- \xe9")
    (tmp_path / "dangling.sql").symlink_to(tmp_path / "nowhere")
    (tmp_path / "newer.pg17.sql").write_text(VALID)
    found = problems(tmp_path)
    assert found.keys() == {"no_title", "Bad Name", "latin", "dangling", "newer"}
    assert all(str(tmp_path) in problem or "newer" in problem for problem in found.values())
    with pytest.raises(BadCheckError, match="no title"):
        load(tmp_path)["no_title"].look(None, {})


RISING = Header("c", "t", options={"warning": Option(1), "critical": Option(3)})
THRESHOLDS = {"warning": 1, "high": 2, "critical": 3}


@pytest.mark.parametrize(
    ("row", "order", "expected"),
    [
        ({"value": 0.5}, "rising", None),
        ({"value": 1}, "rising", Severity.WARNING),
        ({"value": 2.5}, "rising", Severity.HIGH),
        ({"value": 3}, "rising", Severity.CRITICAL),
        ({"value": None}, "rising", Severity.INFO),
        ({"value": 9, "severity": "info"}, "rising", Severity.INFO),
        ({"value": 9, "severity": "none"}, "rising", None),
        ({"value": 0.5}, "falling", Severity.CRITICAL),
    ],
)
def test_judge_assigns_severity_and_remedy(row, order, expected):
    header = Header("c", "t", remedy="mend {object}, keep {braces}", order=order)
    found = judge(
        header, [{"object": "a{b}", "summary": "s", **row}], THRESHOLDS, Place("i", "c", "d")
    )
    assert [finding.severity for finding in found] == ([] if expected is None else [expected])
    if found:
        unknown = row["value"] is None and "severity" not in row
        assert found[0].remedy == ("" if unknown else "mend a{b}, keep {braces}")


identities = st.builds(Identity, *[st.text(max_size=6)] * 6)


@given(identities, identities)
def test_fingerprints_are_equal_only_for_equal_identities(one, other):
    import unicodedata

    def normalized(identity):
        return [
            unicodedata.normalize("NFC", getattr(identity, name)) for name in identity.__slots__
        ]

    assert (one.fingerprint() == other.fingerprint()) == (normalized(one) == normalized(other))


def test_fingerprint_ignores_severity_and_summary():
    identity = Identity("k", object="o")
    assert Finding(identity, Severity.INFO, "a").identity.fingerprint() == identity.fingerprint()


def test_severities_are_ordered_by_rank():
    assert Severity.INFO < Severity.WARNING < Severity.HIGH < Severity.CRITICAL
    assert max(Severity.WARNING, Severity.CRITICAL, Severity.HIGH) is Severity.CRITICAL
