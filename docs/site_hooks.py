"""What the site shows besides docs/: pages from the root of the project, and the figures of results/."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages of the site, and the files of the root that they are made of."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the root, and the figures, to the files of the site."""
    from mkdocs.structure.files import File

    for page, name in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for figure in sorted(ROOT.glob("results/*/figure.svg")):
        files.append(File.generated(config, f"figures/{figure.parent.name}.svg", abs_src_path=str(figure)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Show a figure of results/, and link to a page of the root, where the site has it."""
    for page, name in ROOT_PAGES.items():
        markdown = markdown.replace(f"](../{name})", f"]({page})")
    return re.sub(r"\]\(\.\./results/([\w.-]+)/figure\.svg\)", r"](figures/\1.svg)", markdown)
