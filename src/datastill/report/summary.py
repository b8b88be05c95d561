"""The summary of a distilled set, for the terminal and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from ..artifact import DistilledSet, Teacher
from ..evaluation import check_command
from ..parts import in_words
from ..program import CrossEntropy, Ordered, as_plain, optimiser_numbers
from . import rows, sentences
from .figures import as_bytes, classes_of, picture_size
from .remarks import remarks
from .words import USE_WITH_TEACHER, bytes_of, number, percent, plural, score_text

FEWEST_PIXELS, MOST_PIXELS = 5, 14
"""Smallest and largest width of an example in the terminal, in pixels."""
MOST_STEPS = 10
"""Largest number of steps in the picture in the terminal."""


def summary(distilled: DistilledSet) -> RenderableType:
    """Return a table of all facts about a set, with a small picture if the terminal has colours and is wide enough."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts(distilled):
        table.add_row(name, Text(value, style="bold" if name == "score" else ""))
    if isinstance(distilled.header.labels, Teacher):
        table.add_row("use it", USE_WITH_TEACHER)
    else:
        code = "import datastill\nmodel = datastill.load(FILE).fit(model)  # a file, or a name of the package"
        table.add_row("use it", Text(code, style="cyan"))
    if distilled.header.score:
        table.add_row("check it", Text(check_command(distilled, Path("FILE")), style="cyan"))
    if shown := sentences.lines(distilled):
        return Group(table, sentences.table(shown))
    numbers = rows.values(distilled)
    return Group(table, Picture(distilled), *([rows.table(numbers)] if numbers else []))


def as_json(distilled: DistilledSet) -> dict[str, Any]:
    """Return all facts about a set as plain JSON values. Accuracies are fractions, sizes are in bytes."""
    header, sizes = distilled.header, distilled.step_sizes
    epochs, steps = sizes.shape
    return {
        "data": header.data,
        "examples": distilled.size,
        "stored_images": len(distilled.images),
        "enlarged": header.enlarged,
        "shape": list(distilled.shape),
        "classes": distilled.classes,
        "class_names": list(header.class_names),
        "labels": "hard" if distilled.hard else "soft",
        "label_source": asdict(header.labels),
        "steps": steps,
        "batch": -(-distilled.size // steps),
        "epochs": epochs,
        "program": as_plain(distilled.program),
        "optimiser": optimiser_numbers(distilled.program.optimiser),
        "step_sizes": {
            "min": sizes.min().item(),
            "median": sizes.median().item(),
            "max": sizes.max().item(),
            "values": sizes.tolist(),
        },
        "space": asdict(header.space),
        "network": header.network,
        "start": asdict(header.start),
        "made_for": header.start.made_for,
        "frozen_sha256": header.frozen,
        "objective": header.objective.about(header.class_names),
        "decode": asdict(header.decode),
        "method": header.method,
        "bytes": distilled.nbytes,
        "initial_bytes": distilled.initial_nbytes,
        "score": None if header.score is None else dict(header.score),
        "remarks": remarks(distilled),
        "data_sha256": header.provenance.get("data_sha256"),
        "provenance": dict(header.provenance),
    }


def facts(distilled: DistilledSet) -> Iterator[tuple[str, str]]:
    """Yield what a reader wants to know about a set: the name of each fact, and the fact in words."""
    header, sizes = distilled.header, distilled.step_sizes
    epochs, steps = sizes.shape
    yield "data", f"{header.data}, {number(distilled.classes)} classes"
    each = distilled.size / distilled.classes
    shape = " × ".join(map(str, distilled.shape))
    yield "examples", f"{number(distilled.size)} ({each:.3g} per class): {header.space.words}"
    if words := in_words(distilled.size, len(distilled.images)):
        yield "stored as", f"{words} to {shape}"
    yield "labels", "hard" if distilled.hard else header.labels.words
    used, batch = distilled.program, -(-distilled.size // steps)
    kind = "ordered" if isinstance(used.order, Ordered) else "shuffled"
    yield "program", f"{plural(steps, 'step')} × {plural(epochs, 'epoch')}, {kind}, batches of {batch}"
    yield "step sizes", f"{sizes.min():.3g} min, {sizes.median():.3g} median, {sizes.max():.3g} max"
    yield "optimiser", used.optimiser.words
    if used.loss != CrossEntropy():
        yield "loss", used.loss.words
    if used.augmentation:
        yield "augmentation", used.augmentation.words
    if used.clip:
        yield "limit", f"gradients of a norm of at most {used.clip:g}"
    yield "network", header.network
    yield from _start_facts(distilled)
    if words := header.objective.words(header.class_names):
        yield "objective", f"{header.objective}: {words}"
    if header.method:
        yield "method", header.method.replace("_", " ")
    yield "score", _score(distilled)
    baseline = (header.score or {}).get("baseline")
    if baseline:
        best = f", best {percent(baseline['best'])} %" if baseline.get("best") is not None else ""
        yield "baseline", f"{score_text(baseline)} ({baseline['kind']}{best})"
    for remark in remarks(distilled):
        yield "remark", remark
    initial = distilled.initial_nbytes
    size = bytes_of(distilled.nbytes) + (f" and {bytes_of(initial)} of initial weights" if initial else "")
    yield "size", size + (f", examples in {header.decode.words}" if header.decode.words else "")
    for split, sha256 in (header.provenance.get("data_sha256") or {}).items():
        yield f"{split} data", f"SHA-256 {sha256}"


def _start_facts(distilled: DistilledSet) -> Iterator[tuple[str, str]]:
    header = distilled.header
    yield "initial weights", f"{header.start}: training starts from {header.start.made_for}"
    for kind, sha256 in (("", header.start.required_sha256), ("frozen ", header.frozen)):
        if sha256:
            yield f"{kind}weights", f"the network must have the {kind}weights with SHA-256 {sha256}"


def _score(distilled: DistilledSet) -> str:
    score = distilled.header.score
    if score is None:
        return "not measured yet; datastill pack FILE --to NEW writes the set with its score"
    nouns = distilled.header.space.nouns
    count = f", {number(score['images'])} {score.get('split', 'test')} {nouns}" if score.get("images") else ""
    return f"{score_text(score)} ({plural(score.get('n', 1), 'network')}{count})"


@dataclass(frozen=True)
class Picture:
    """A picture of the examples in half-block characters: one row for each step, two pixels in a character.

    Nothing is drawn if the terminal has no colours or its encoding has no block characters. If a row does not fit, a
    line says how wide the terminal must be.
    """

    distilled: DistilledSet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Draw the picture as wide as `options` allow."""
        if console.color_system is None or console.no_color or options.ascii_only:
            return
        steps, batch = self.distilled.batches, self.distilled.size // self.distilled.batches
        height, width = picture_size(self.distilled)
        across = min(MOST_PIXELS, options.max_width // batch - 1, width)
        if across < min(FEWEST_PIXELS, width):
            needed = batch * (min(FEWEST_PIXELS, width) + 1)
            yield Text(f"(a terminal {needed} columns wide shows the examples here)", style="dim")
            return
        down = max(2, round(across * height / width))
        size = (across, down - 1 if down % 2 == 0 else down)  # odd: half an empty line separates two steps
        classes = classes_of(self.distilled)
        tiles = as_bytes(self.distilled)
        for step in range(min(steps, MOST_STEPS)):
            order = sorted(range(batch), key=classes[step].__getitem__)
            yield Padding(_strip(tiles[step, order], size), (1 if step == 0 else 0, 0, 0, 0))
        if steps > MOST_STEPS:
            yield Text(f"(the first {MOST_STEPS} of {steps} steps)", style="dim")


def _strip(tiles: UInt8[np.ndarray, "b h w 3"], size: tuple[int, int]) -> Text:
    """Return one row of examples; if the height is odd, the lower half of the last line stays empty."""
    small = [np.asarray(Image.fromarray(tile).resize(size, Image.Resampling.BOX)) for tile in tiles]
    text = Text(no_wrap=True, end="")
    for y in range(0, size[1], 2):
        for tile in small:
            for x in range(size[0]):
                lower = _colour(tile[y + 1, x]) if y + 1 < size[1] else None
                text.append("▀", Style(color=_colour(tile[y, x]), bgcolor=lower))
            text.append(" ")
        text.append("\n")
    return text


def _colour(pixel: UInt8[np.ndarray, " 3"]) -> str:
    return f"rgb({pixel[0]},{pixel[1]},{pixel[2]})"
