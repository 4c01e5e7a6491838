import pytest
from hypothesis import given
from hypothesis import strategies as st

from postgres.identifiers import Columns, Relation, parse_columns, parse_name, parse_relation

names = st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=15
)


@given(names, names)
def test_every_name_survives_being_written_and_read(schema, name):
    relation = Relation(schema, name)
    assert parse_relation(str(relation)) == relation


@given(names, names, st.lists(names, min_size=1, max_size=4))
def test_columns_survive_too(schema, name, columns):
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
def test_written_as_in_sql(text, schema, name):
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
def test_what_is_no_table_is_refused(text):
    with pytest.raises(ValueError):
        parse_relation(text)


@pytest.mark.parametrize(
    "text", ["public.x", "public.x()", "public.x(a b)", "public.x(a,)", "public.x(a"]
)
def test_what_is_no_column_list_is_refused(text):
    with pytest.raises(ValueError):
        parse_columns(text)


def test_one_name_only():
    assert parse_name('"Fecha"') == "Fecha"
    with pytest.raises(ValueError, match="is not one name"):
        parse_name("a.b")
