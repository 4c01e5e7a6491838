"""Documentation: generated pages are current, links resolve."""

import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "systemd/README.md",
    ROOT / "benchmarks/README.md",
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"```.*?```", re.DOTALL)


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_module_map_is_current(generate):
    assert generate.MAP.read_text() == generate.architecture(), "run `make reference`"


def test_kinds_page_is_current(generate):
    assert generate.KIND_PAGE.read_text() == generate.kinds(), "run `make reference`"


def test_reference_page_is_current(generate):
    assert generate.REFERENCE_PAGE.read_text() == generate.reference(), "run `make reference`"


def test_metrics_and_events_pages_are_current(generate):
    assert generate.METRICS_PAGE.read_text() == generate.metrics(), "run `make reference`"
    assert generate.EVENTS_PAGE.read_text() == generate.events(), "run `make reference`"


def anchors(path):
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_page_links_resolve(page):
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, title = target.partition("#")
        path = (page.parent / unquote(name)).resolve() if name else page
        assert path.exists(), target
        assert not title or title in anchors(path), target


def test_readme_links_every_page():
    linked = set(LINK.findall((ROOT / "README.md").read_text()))
    pages = {f"docs/{page.name}" for page in ROOT.glob("docs/*.md")}
    assert pages - linked <= {"docs/systemd-test.md"}


def test_other_tools_are_compared_by_checks_that_exist():
    import tomllib

    from checks.registry import FROM_JOBS, load

    tools = tomllib.loads((ROOT / "docs/tools.toml").read_text())
    assert {name for some in tools.values() for name in some} <= load().keys() | FROM_JOBS.keys()
