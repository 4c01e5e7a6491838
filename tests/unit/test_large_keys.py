"""The ranges in which a large foreign key is verified."""

from hypothesis import given
from hypothesis import strategies as st

from checks.constraints import ForeignKey
from checks.references import Pair
from jobs.large_keys import LEAST_RANGE, LONG_SECONDS, ranges
from postgres.identifiers import Columns, Relation


def key(pages):
    child, parent = Relation("public", "c"), Relation("public", "p")
    pair = Pair(Columns(child, ("p",)), Columns(parent, ("id",)), child_only=True)
    return ForeignKey("k", "", pair, pages=pages)


def test_key_that_fits_is_verified_as_a_whole():
    assert list(ranges(key(10**7), LONG_SECONDS)) == [key(10**7)]


@given(st.integers(1, 2 * 10**8), st.floats(LONG_SECONDS, 10**6, exclude_min=True))
def test_ranges_cover_every_block_once_and_the_end(pages, seconds):
    parts = list(ranges(key(pages), seconds))
    first = 0
    for part in parts:
        begins, ends = part.pair.blocks
        assert begins == first
        assert (ends is None) == (part is parts[-1])  # rows that are added meanwhile are read
        first = 0 if ends is None else ends + 1
    assert sum(part.pages for part in parts) == pages
    assert all(part.pages >= LEAST_RANGE // 2 for part in parts[:-1])
    assert len({part.label for part in parts}) == len(parts)


def test_name_of_a_range_stays_while_the_table_grows():
    before = {part.label for part in ranges(key(20_000_000), 1200.0)}
    assert before < {part.label for part in ranges(key(25_000_000), 1500.0)}
