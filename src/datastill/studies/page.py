"""All results on one page of Markdown: the headline sets, then the section of each study."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..artifact import NAME, DistilledSet
from ..errors import UserError
from ..evaluation import difference
from ..evaluation.table import labels_measured
from ..report import spread_of
from ..storage.files import read_text, write_text
from .rows import as_score

HEAD = """# Results

Every number on this page comes from a file in `results/`, which was made by the command beside it. The command
`datastill report results --to docs/results.md` writes this page again.

## Distilled sets

`datastill distill SET` makes a set of the table. Some need a file first: cifar10-fixed-long the set of
cifar10-fixed-momentum (`datastill distill cifar10-fixed-momentum`), and taught-* a teacher, by the command that is
named where it is missing. The accuracy is the mean over networks, with their standard deviation.

| set | accuracy, % | networks | examples | labels | measured on | network | bytes | seconds |
|---|---|---|---|---|---|---|---|---|
"""

BESIDE = """## Beside random real images under the same program

Random real images, one of each class for each learned one, with hard labels. Networks are trained on them by the
program of the set, from the same initial weights. The difference has a 95 % interval over these networks.
`datastill baseline random --like results/NAME/distilled.safetensors --networks 5 --out results/NAME/random` makes them,
with `--factor 2` for sets with decoded pixels.

| set | labels | accuracy, % | random real images, % | networks x sets | better by |
|---|---|---|---|---|---|
"""


def collect(results: Path, to: Path) -> Path:
    """Write all results on one page of Markdown.

    Args:
        results: folder that holds a folder for each set (distilled.safetensors) and for each study (section.md).
        to: the file to write.

    Returns:
        The file written.

    Raises:
        UserError: there is no result in the folder, the file is called like a web page, or it cannot be written.
    """
    if to.suffix.lower() in (".html", ".htm"):
        raise UserError(
            f"{to} is called like a web page, but results are written as Markdown; give a name such as results.md"
        )
    sets = {path: DistilledSet.load(path) for path in sorted(results.glob(f"*/{NAME}"))}
    sections = sorted(results.glob("*/section.md"), key=_order)
    if not sets and not sections:
        raise UserError(f"there is no result in {results}: no folder with a distilled.safetensors or a section.md")
    rows = [row for path, each in sets.items() for row in _rows(path, each)]
    beside = [row for path, each in sets.items() if (row := _beside_random(path, each))]
    parts = [HEAD + "\n".join(rows) + "\n", *([BESIDE + "\n".join(beside) + "\n"] if beside else [])]
    parts += [_section(path, to) for path in sections]
    text = "\n".join(parts)
    write_text(to, text)
    return to


def _order(path: Path) -> tuple[bool, str]:
    """Return the key of a section for sorting: tables first, then by name."""
    return not path.parent.name.startswith(("reference", "table")), path.parent.name


def _rows(path: Path, distilled: DistilledSet) -> Iterator[str]:
    header, found = distilled.header, dict[str, Any](distilled.header.score or {})
    if not found:
        return
    spread = f" ± {100 * found['sd']:.1f}" if found["n"] > 1 else ""
    cells = (
        f"`{path.parent.name}`",
        f"{100 * found['mean']:.2f}{spread}",
        found["n"],
        distilled.size,
        labels_measured(distilled, found["protocol"]),
        f"{found['images']} {found['split']} {header.space.nouns} of {header.data}",
        f"{found['protocol']['network']}, {header.start.kind} initial weights",
        distilled.nbytes + distilled.initial_nbytes,
        f"{header.provenance.get('seconds', 0):.0f}, {header.provenance.get('hardware', '')}",
    )
    yield "| " + " | ".join(map(str, cells)) + " |"


def _beside_random(path: Path, distilled: DistilledSet) -> str:
    """Return the row of a set and of the random sets in its folder ``random``; empty if there are none."""
    others = [DistilledSet.load(each) for each in sorted((path.parent / "random").glob("*.safetensors"))]
    scores = [as_score(dict(each.header.score)) for each in others if each.header.score]
    if not scores or not distilled.header.score:
        return ""
    ours = as_score(dict(distilled.header.score))
    cells = (
        f"`{path.parent.name}`",
        labels_measured(distilled, ours.protocol),
        spread_of(ours.accuracies),
        spread_of([accuracy for one in scores for accuracy in one.accuracies]),
        f"{scores[0].n} x {len(scores)}",
        str(difference([ours], scores)),
    )
    return "| " + " | ".join(cells) + " |"


def _section(path: Path, to: Path) -> str:
    """Read the section of a study, with paths of its pictures that are relative to the page."""
    folder = Path(os.path.relpath(path.parent, to.parent)).as_posix()
    return re.sub(r"\]\((?=[\w.-]+\.svg\))", f"]({folder}/", read_text(path))
