"""Size, complexity and docstrings of the production modules."""

import ast
import re
from pathlib import Path

import pytest

from daemon.__main__ import PACKAGES

ROOT = Path(__file__).parents[2]
MODULES = [path for folder in PACKAGES for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]
IDS = [str(path.relative_to(ROOT)) for path in MODULES]
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_COMPLEXITY = 400, 40, 12
BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.Assert)
MAX_CLAUSE_SHARE = 0.03
CLAUSE = re.compile(r"\b(what|who|whom|whoever)\b", re.IGNORECASE)


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def complexity(function):
    """Return the cyclomatic complexity, counting boolean operators and comprehensions."""
    count = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            count += 1
        elif isinstance(node, ast.comprehension):
            count += 1 + len(node.ifs)
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.match_case) and not is_wildcard(node.pattern):
            count += 1
    return count


def is_wildcard(pattern):
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None


def nested_conditionals(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp):
            parts = [part for child in ast.iter_child_nodes(node) for part in ast.walk(child)]
            if any(isinstance(part, ast.IfExp) for part in parts):
                yield node.lineno


def documentation_texts(tree):
    """Yield docstrings of modules, classes, functions and attributes, and help texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
        if isinstance(node, ast.Module | ast.ClassDef):
            for part in node.body[1:]:
                if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                    yield str(part.value.value)
        if isinstance(node, ast.keyword) and node.arg in {"help", "description"}:
            yield str(getattr(node.value, "value", "."))


@pytest.mark.parametrize("path", MODULES, ids=IDS)
def test_module_size_and_complexity_are_within_limits(path):
    source = path.read_text()
    tree = ast.parse(source)
    assert len(source.splitlines()) <= MAX_FILE_LINES
    for function in functions(tree):
        assert function.end_lineno - function.lineno < MAX_FUNCTION_LINES, function.name
        assert complexity(function) <= MAX_COMPLEXITY, function.name
    assert list(nested_conditionals(tree)) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a, b):\n return a and b", 2),
        ("def f(a):\n return [b for b in a if b]", 3),
        ("def f(a):\n return 1 if a else 2", 2),
        ("def f(a):\n match a:\n  case 1: pass\n  case _: pass", 2),
    ],
)
def test_complexity_counts_operators_and_comprehensions(source, expected):
    assert complexity(functions(ast.parse(source))[0]) == expected


def test_nested_conditional_expression_is_detected():
    assert list(nested_conditionals(ast.parse("x = 1 if a else 2 if b else 3"))) == [1]


def test_documentation_texts_rarely_use_clauses_as_nouns():
    """A clause in place of a noun (`what is due`, `who is told`) is hard to read."""
    texts = [text for path in MODULES for text in documentation_texts(ast.parse(path.read_text()))]
    clauses = [text for text in texts if CLAUSE.search(text)]
    assert len(texts) > 1000
    assert len(clauses) / len(texts) < MAX_CLAUSE_SHARE, clauses


def test_docstring_first_line_ends_with_punctuation():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                first = (ast.get_docstring(node) or "X.").splitlines()[0]
                assert first.endswith((".", ":", "?")), (path, first)
