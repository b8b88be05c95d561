"""The site is whole: each page in the navigation, each link to something, each method and public name on a page.

``make docs`` builds it strictly; these tests hold without its packages.
"""

import re
from importlib import import_module
from pathlib import Path

import pytest

import datastill
from datastill.methods import METHODS

from .pages import DOCS, PAGES, ROOT, ROOT_PAGES, SITE, anchors, links, text_of

READ = [DOCS / page for page in PAGES] + [ROOT / name for name in ("README.md", *ROOT_PAGES.values())]


def in_navigation(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    entries = entry.values() if isinstance(entry, dict) else entry
    return [page for each in entries for page in in_navigation(each)]


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(in_navigation(SITE["nav"])) == sorted([*PAGES, *ROOT_PAGES])


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for link in links(text):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if path.parent == DOCS and name in ROOT_PAGES:
            target = ROOT / ROOT_PAGES[name]
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_has_a_page_that_says_what_it_costs_and_what_it_is_bad_at(method: str) -> None:
    (page,) = [page for page in PAGES if page.startswith("methods/") and is_about(page, method)]
    headings = anchors(text_of(page))
    for heading in ("how-to-use-it", "settings-that-matter", "cost-and-results", "what-it-is-bad-at"):
        assert heading in headings, page


def is_about(page: str, method: str) -> bool:
    selections = page == "methods/selections.md" and f"\n| `{method}` |" in text_of(page)
    return selections or page == f"methods/{method}.md"


def test_every_public_name_is_in_the_reference_and_every_name_there_exists() -> None:
    lines = "\n".join(text_of(page) for page in PAGES if page.startswith("api/")).splitlines()
    found = [line.removeprefix("::: ") for line in lines if line.startswith("::: ")]
    assert {f"datastill.{name}" for name in datastill.__all__} <= set(found)
    assert len(found) == len(set(found))
    for name in found:
        module, _, last = name.rpartition(".")
        assert getattr(import_module(module), last).__doc__, name


def test_the_citation_names_the_version_and_the_licence() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {datastill.__version__}\n" in text
    assert "\nlicense: MIT\n" in text


def test_every_version_in_the_changelog_has_a_date_or_is_not_released_and_the_newest_is_this_one() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0].startswith(f"{datastill.__version__} (")
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \((\d{4}-\d\d-\d\d)\)", heading) for heading in headings[1:])
    assert re.fullmatch(r"\S+ \((unreleased|\d{4}-\d\d-\d\d)\)", headings[0])
