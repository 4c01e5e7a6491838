"""Names of tables and columns as written in the configuration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postgres.identifiers import Columns, Relation, parse_columns, parse_name, parse_relation

names = st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=15
)


@given(names, names)
def test_relation_text_round_trip(schema, name):
    relation = Relation(schema, name)
    assert parse_relation(str(relation)) == relation


@given(names, names, st.lists(names, min_size=1, max_size=4))
def test_columns_text_round_trip(schema, name, columns):
    value = Columns(Relation(schema, name), tuple(columns))
    assert parse_columns(str(value)) == value


@pytest.mark.parametrize(
    ("text", "schema", "name"),
    [
        ('public."AuditLog"', "public", "AuditLog"),
        ("Public.AuditLog", "public", "auditlog"),
        ('"Ünïcode"."we""ird; drop table x --"', "Ünïcode", 'we"ird; drop table x --'),
        ('"a.b"."c.d"', "a.b", "c.d"),
    ],
)
def test_parse_relation_follows_sql_quoting(text, schema, name):
    assert parse_relation(text) == Relation(schema, name)


@pytest.mark.parametrize(
    "text",
    [
        "AuditLog",
        "",
        "public.",
        ".x",
        'public."x',
        "public.x y",
        "public.x; DROP TABLE y",
        'p."' + "ä" * 32 + '"',
        "p.1x",
    ],
)
def test_parse_relation_rejects_invalid_name(text):
    with pytest.raises(ValueError):
        parse_relation(text)


@pytest.mark.parametrize(
    "text", ["public.x", "public.x()", "public.x(a b)", "public.x(a,)", "public.x(a"]
)
def test_parse_columns_rejects_invalid_list(text):
    with pytest.raises(ValueError):
        parse_columns(text)


def test_parse_name_accepts_only_one_name():
    assert parse_name('"Fecha"') == "Fecha"
    with pytest.raises(ValueError, match="is not one name"):
        parse_name("a.b")
