"""All results on one page of Markdown: the headline sets, then the section of each study."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet
from ..errors import UserError
from ..storage.files import read_text, write_text

HEAD = """# Results

Every number on this page comes from a file in `results/`, which was made by the command beside it. The command
`datastill report results --to docs/results.md` writes this page again.

## Distilled sets

| set | data | network | examples | labels | n | accuracy, % | bytes | seconds | made by |
|---|---|---|---|---|---|---|---|---|---|
"""


def collect(results: Path, to: Path) -> Path:
    """Write all results on one page of Markdown.

    Args:
        results: folder that holds a folder for each set (distilled.safetensors) and for each study (section.md).
        to: the file to write.

    Returns:
        The file written.

    Raises:
        UserError: there is no result in the folder, or the page cannot be written.
    """
    sets = sorted(results.glob("*/distilled.safetensors"))
    sections = sorted(results.glob("*/section.md"), key=_order)
    if not sets and not sections:
        raise UserError(f"there is no result in {results}: no folder with a distilled.safetensors or a section.md")
    rows = [row for path in sets for row in _rows(path)]
    parts = [HEAD + "\n".join(rows) + "\n", *(_section(path, to) for path in sections)]
    text = "\n".join(parts)
    write_text(to, text)
    return to


def _order(path: Path) -> tuple[bool, str]:
    """Return the key of a section for sorting: tables first, then by name."""
    return not path.parent.name.startswith("table"), path.parent.name


def _rows(path: Path) -> Iterator[str]:
    distilled = DistilledSet.load(path)
    header, found = distilled.header, dict[str, Any](distilled.header.score or {})
    if not found:
        return
    spread = f" ± {100 * found['sd']:.1f}" if found["n"] > 1 else ""
    cells = (
        f"`{path.parent.name}`",
        header.data,
        f"{header.network}, {header.start.kind} initial weights",
        distilled.size,
        "hard" if distilled.hard else "soft",
        found["n"],
        f"{100 * found['mean']:.2f}{spread} ({found['images']} {found['split']} images)",
        distilled.nbytes + distilled.initial_nbytes,
        f"{header.provenance.get('seconds', 0):.0f}, {header.provenance.get('hardware', '')}",
        f"`datastill distill {path.parent.name}`",
    )
    yield "| " + " | ".join(map(str, cells)) + " |"


def _section(path: Path, to: Path) -> str:
    """Read the section of a study, with paths of its pictures that are relative to the page."""
    folder = Path(os.path.relpath(path.parent, to.parent)).as_posix()
    return re.sub(r"\]\((?=[\w.-]+\.svg\))", f"]({folder}/", read_text(path))
