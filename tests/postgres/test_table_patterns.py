"""Table patterns of the configuration."""

import pytest

from postgres.table_patterns import TableSelection, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "matching", "not_matching"),
    [
        ("public.*", ["public.log", 'public."Ä b"'], ["other.log"]),
        ("public.log_?", ["public.log_1"], ["public.log_10", "public.logx1"]),
        ('public."Audit"*', ['public."AuditLog"'], ["public.auditlog"]),
        ("PUBLIC.Log", ["public.log"], ['public."Log"']),
        ('*."a.b*"', ['x."a.b*"'], ['x."a.bc"', "x.a"]),
        ("pub*.log", ["public.log", "pub.log"], ["pu.log"]),
    ],
)
def test_pattern_matches_as_in_psql(pattern, matching, not_matching):
    from postgres.identifiers import parse_relation

    chosen = parse_pattern(pattern)
    for text in matching:
        assert chosen.matches(parse_relation(text)), text
        assert not TableSelection(exclude=(chosen,)).includes_table(parse_relation(text))
    for text in not_matching:
        assert not chosen.matches(parse_relation(text)), text
        assert not TableSelection(include=(chosen,)).includes_table(parse_relation(text))


@pytest.mark.parametrize(
    "text", ["log", "a.b.c", "public.", "public.lo g", 'public."log', ".log", "public.log; x"]
)
def test_invalid_pattern_is_refused(text):
    with pytest.raises(ValueError, match="is not a table pattern"):
        parse_pattern(text)
