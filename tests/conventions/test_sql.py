"""SQL statements of more than 12 lines are files."""

import ast
import re

import pytest

from tests.conventions.test_house import IDS, MODULES, ROOT

LONGEST = 12
STATEMENT = re.compile(r"\s*(--.*\s+)*(SELECT|WITH|INSERT|UPDATE|DELETE|CREATE|DO)\b")


def long_statements(source):
    """Yield the line number of each SQL constant of more than LONGEST lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            lines = [line for line in node.value.splitlines() if line.strip()]
            if STATEMENT.match(node.value) and len(lines) > LONGEST:
                yield node.lineno


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_long_statements_are_files(path):
    assert list(long_statements(path.read_text())) == []


def test_long_statement_is_found():
    statement = "SELECT 1" + ",\n  1" * LONGEST
    assert list(long_statements(f'A = """{statement}"""')) == [1]
    assert list(long_statements('A = """SELECT 1"""')) == []


@pytest.mark.parametrize(
    "path",
    sorted(path for path in ROOT.glob("*/**/sql/*.sql") if "checks" not in path.parts),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_statement_file_begins_with_its_purpose(path):
    assert path.read_text().startswith("-- ")
