"""The pages of the documentation, as its tests read them."""

import re
import runpy
import unicodedata
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
ROOT_PAGES: dict[str, str] = runpy.run_path(str(DOCS / "site_hooks.py"))["ROOT_PAGES"]
"""Pages of the site that are files of the root, and these files."""
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def code_of(page: str, language: str) -> list[str]:
    """Return the blocks of a page that are in a language; plain blocks are in the language ''."""
    return [code for found, code in FENCE.findall(text_of(page)) if found == language]


def prose(text: str) -> str:
    """Return the text without blocks of code."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, by the rule of Python-Markdown, which is that of GitHub for such headings."""
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)}


def slug(heading: str) -> str:
    plain = unicodedata.normalize("NFKD", re.sub(r"[`*]", "", heading)).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def links(text: str) -> list[str]:
    """Return the targets of all links and pictures that are no addresses."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)) if not re.match(r"\w+:", link)]
