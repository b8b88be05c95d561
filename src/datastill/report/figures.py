"""Pictures of the synthetic examples: a grid that shows the program, and a banner for a README."""

import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.font_manager
import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..artifact import DistilledSet
from ..errors import UserError
from ..terminal import one_line

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, as PIL has it."""

TILES = 400
"""Most tiles in a grid; what is beyond is left out, and the note says so."""
COLUMNS = 12
"""Most classes side by side; more of them go on below."""
WIDTH = 1080
"""What a grid aims at, in pixels."""
LARGEST = 112
"""Most pixels on a side of a tile."""
HARDLY = 0.02
"""How far beyond [0, 1] no reader would see, in pixel units."""
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""The ending of a file name, and the format that is written."""
GAP, HEADER, FONT = 4, 26, 14
INK, SOFT, ANYWHERE = (28, 32, 38), (105, 112, 122), (128, 128, 128)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything of a grid sits."""

    size: tuple[int, int]
    """(width, height) of the whole picture, in pixels."""
    boxes: dict[tuple[int, int], Box]
    """The tile of the example (step, index in its batch); examples that are left out have none."""
    classes: list[tuple[int, Box]]
    """The place of each class's name."""
    steps: list[tuple[int, Box]]
    """The place of each step's number and step sizes."""
    note: str
    """What was left out; empty where all is there."""


def grid(distilled: DistilledSet, *, transparent: bool = False) -> Image.Image:
    """The examples, step by step (rows) and class by class (columns), with names and step sizes around them.

    A step with several examples of a class has as many rows. Soft labels are placed by their most probable class.
    See `shown_range` for the grey levels and `caption` for what to write below.

    Args:
        distilled: the set.
        transparent: leave what is around the examples transparent, and write in a grey that can be read on a light and
            on a dark page; dark grey on white otherwise.
    """
    place = layout(distilled)
    picture = Image.new("RGBA", place.size, (0, 0, 0, 0)) if transparent else Image.new("RGB", place.size, "white")
    ink, soft = (ANYWHERE, ANYWHERE) if transparent else (INK, SOFT)
    tiles = as_bytes(distilled)
    for (step, index), (left, top, right, bottom) in place.boxes.items():
        picture.paste(_fitted(tiles[step, index], (right - left, bottom - top)), (left, top))
    pen = ImageDraw.Draw(picture)
    for label, (left, top, right, bottom) in place.classes:
        text = _shortened(one_line(distilled.header.class_names[label]), right - left)
        pen.text(((left + right) / 2, (top + bottom) / 2), text, ink, _font(FONT), anchor="mm")
    for step, (_, top, right, bottom) in place.steps:
        lines = _step_lines(distilled, step, bottom - top)
        first = (top + bottom) / 2 - (len(lines) - 1) * FONT * 0.6
        for number, line in enumerate(lines):
            at = (right - 10, first + number * FONT * 1.2)
            pen.text(at, line, soft if number else ink, _font(FONT - 2 if number else FONT), anchor="rm")
    return picture


def picture_bytes(picture: Image.Image, path: Path) -> bytes:
    """The picture in the format that the ending of a file name says.

    Raises:
        UserError: the ending is of no format in `PICTURES`.
    """
    kind = PICTURES.get(path.suffix.lower())
    if kind is None:
        ending = f"the ending {path.suffix!r}" if path.suffix else "no ending"
        raise UserError(f"{path} has {ending}, but a picture is written as one of {', '.join(PICTURES)}")
    content = io.BytesIO()
    picture.save(content, format=kind)
    return content.getvalue()


def banner(distilled: DistilledSet) -> Image.Image:
    """A wide picture of the examples for a README: program order, class order within a step, and nothing around them.

    Three to six times as wide as high where the number of examples allows it; at most 120 examples.
    """
    tiles = as_bytes(distilled)
    classes = classes_of(distilled)
    order = [(s, b) for s, row in enumerate(classes) for b in sorted(range(len(row)), key=row.__getitem__)][:120]
    rows, columns = _banner_shape(len(order), tiles.shape[3] / tiles.shape[2])
    width, height = _tile_size(tiles.shape[2:4], columns, within=1600)
    gap = max(2, width // 20)
    picture = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for number, (step, index) in enumerate(order[: rows * columns]):
        at = (number % columns * (width + gap), number // columns * (height + gap))
        picture.paste(_fitted(tiles[step, index], (width, height)), at)
    return picture


def shown_range(distilled: DistilledSet) -> tuple[float, float]:
    """The pixel values that are shown black and white, the same for the whole set and all channels.

    Real images lie in [0, 1]; synthetic ones often leave it, and cut there they lose most of their texture. The range
    holds [0, 1] and all values but the lowest and the highest half percent; it is
    [0, 1] itself where these are hardly outside.
    """
    low, high = np.percentile(_finite(distilled), (0.5, 99.5)).tolist()
    return (0.0, 1.0) if low > -HARDLY and high < 1 + HARDLY else (min(0.0, low), max(1.0, high))


def as_bytes(distilled: DistilledSet) -> UInt8[np.ndarray, "steps b h w 3"]:
    """The examples as they are shown: `shown_range` to 0..255, cut beyond it; grey unless they have 3 channels."""
    low, high = shown_range(distilled)
    pixels = _finite(distilled)
    if pixels.shape[2] != 3:
        pixels = pixels.mean(2, keepdims=True).repeat(3, 2)
    return ((pixels - low) / (high - low) * 255).round().clip(0, 255).astype(np.uint8).transpose(0, 1, 3, 4, 2)


def caption(distilled: DistilledSet) -> str:
    """What a reader of the grid must know, in one or two sentences."""
    low, high = shown_range(distilled)
    place = layout(distilled)
    rows = len({top for _, top, _, _ in place.boxes.values()})
    text = "Rows are gradient steps in the order of training, columns are classes. "
    if rows > distilled.labels.shape[0] and distilled.classes <= COLUMNS:
        text += "A step with several examples of a class goes over several rows. "
    step, (_, top, _, bottom) = place.steps[0]
    if len(_step_lines(distilled, step, bottom - top)) > 1:
        text += "Below its number are the learned step sizes of a step, one for each epoch. "
    if (low, high) == (0.0, 1.0):
        text += "Pixels are shown as they are, cut to [0, 1]."
    else:
        text += "Synthetic pixels leave the range [0, 1] of real ones: "
        text += f"black is {low:.2f} and white {high:.2f} here, which holds 99 % of all values."
    if not distilled.hard:
        text += " Labels are soft; an example stands in the column of its most probable class."
    if distilled.shape[0] not in (1, 3):
        text += f" Shown is the mean of the {distilled.shape[0]} channels."
    return f"{text} {place.note}" if place.note else text


def classes_of(distilled: DistilledSet) -> list[list[int]]:
    """The class of each example: its label, or the most probable one of a soft label."""
    return (distilled.labels if distilled.hard else distilled.labels.argmax(-1)).tolist()


def layout(distilled: DistilledSet) -> Layout:
    """Where each tile, class name and step number of the grid sits."""
    shown = min(distilled.classes, TILES)
    columns = math.ceil(shown / math.ceil(shown / COLUMNS))
    width, height = _tile_size(distilled.shape[1:], columns)
    rows = _rows(classes_of(distilled), shown)[: max(1, TILES // shown)]
    left = _margin(distilled, height)
    boxes: dict[tuple[int, int], Box] = {}
    names: list[tuple[int, Box]] = []
    steps: list[tuple[int, Box]] = []
    top = 0
    for start in range(0, shown, columns):
        block = range(start, min(start + columns, shown))
        lefts = {label: left + (label - start) * (width + GAP) for label in block}
        names += [(label, (x, top, x + width, top + HEADER)) for label, x in lefts.items()]
        top += HEADER
        for number, (step, members) in enumerate(rows):
            first = number == 0 or rows[number - 1][0] != step
            top += GAP * 2 if first and number and len(rows) > len({s for s, _ in rows}) else 0
            if first:
                steps.append((step, (0, top, left, top + height)))
            for label in block:
                if label in members:
                    x = lefts[label]
                    boxes[step, members[label]] = (x, top, x + width, top + height)
            top += height + GAP
        top += GAP
    note = "" if len(boxes) == distilled.size else f"The first {len(boxes)} of {distilled.size} examples are shown."
    size = (left + columns * (width + GAP) + GAP, top)
    return Layout(size=size, boxes=boxes, classes=names, steps=steps, note=note)


def _rows(classes: list[list[int]], shown: int) -> list[tuple[int, dict[int, int]]]:
    """(step, {class: index in the batch}) of each row: the r-th row of a step has the r-th example of each class."""
    rows: list[tuple[int, dict[int, int]]] = []
    for step, labels in enumerate(classes):
        own: list[dict[int, int]] = []
        for index, label in enumerate(labels):
            free = next((row for row in own if label not in row), None)
            if label < shown and free is not None:
                free[label] = index
            elif label < shown:
                own.append({label: index})
        rows += [(step, row) for row in own]
    return rows


def _tile_size(shape: Sequence[int], columns: int, within: int = WIDTH) -> tuple[int, int]:
    """(width, height) in pixels: a whole multiple of the image where it is small, shrunk where it is large."""
    height, width = shape
    target = min(LARGEST, max(40, within // columns - GAP))
    longest = max(height, width)
    scale = target // longest if longest <= target else target / longest
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fitted(tile: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> Image.Image:
    """A tile at its size: pixels stay squares when it grows, are averaged when it shrinks."""
    image = Image.fromarray(tile)
    return image.resize(size, Image.Resampling.NEAREST if size[0] >= image.width else Image.Resampling.BOX)


def _banner_shape(count: int, aspect: float) -> tuple[int, int]:
    """(rows, columns) that show all of `count` tiles as near to 4 : 1 as it goes."""

    def badness(rows: int) -> float:
        columns = count // rows
        return abs(math.log(columns * aspect / rows / 4)) + 3 * (count - rows * columns) / count

    rows = min(range(1, count + 1), key=badness)
    return rows, count // rows


def _step_lines(distilled: DistilledSet, step: int, height: int) -> list[str]:
    """The number of a step, and its step sizes (one for each epoch) where these are few and fit in `height`."""
    epochs, steps = distilled.step_sizes.shape
    lines = [f"step {step + 1}"]
    if epochs <= 3 and epochs * steps <= 60 and (epochs + 1) * FONT * 1.2 <= height:
        lines += [f"η {size:.3g}" for size in distilled.step_sizes[:, step].tolist()]
    return lines


def _margin(distilled: DistilledSet, height: int) -> int:
    lines = [line for step in range(distilled.labels.shape[0]) for line in _step_lines(distilled, step, height)]
    return math.ceil(max(_font(FONT).getlength(line) for line in lines)) + 16


def _shortened(name: str, width: int) -> str:
    if _font(FONT).getlength(name) <= width:
        return name
    while name and _font(FONT).getlength(name + "…") > width:
        name = name[:-1]
    return name.rstrip() + "…"


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(matplotlib.font_manager.findfont("DejaVu Sans"), size)


def _finite(distilled: DistilledSet) -> NDArray[np.floating]:
    """Pixels, with grey where an example is not a number."""
    return np.nan_to_num(distilled.pixels().detach().float().cpu().numpy(), nan=0.5, posinf=0.5, neginf=0.5)
