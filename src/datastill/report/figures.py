"""Pictures of the synthetic examples: a grid that shows the program, and a banner for a README."""

import base64
import functools
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..artifact import DistilledSet
from ..errors import UserError
from ..parts import in_words
from ..program import Ordered
from ..terminal import one_line

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, as PIL takes it."""

MOST_TILES = 400
"""Largest number of tiles in a grid; further examples are left out, and the caption says so."""
MOST_COLUMNS = 12
"""Largest number of classes side by side; further classes continue below."""
GRID_WIDTH = 1080
"""Intended width of a grid, in pixels."""
MOST_TILE_PIXELS = 112
"""Largest side of a tile, in pixels."""
INVISIBLE_EXCESS = 0.02
"""Excess of pixel values beyond [0, 1] that a reader cannot see; 1 is the distance from black to white."""
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Ending of the file name -> format that is written."""
GAP, HEADER, FONT = 4, 26, 14
"""Space between tiles, height of a line of class names, and height of letters, in pixels."""
INK, SOFT, GREY = (28, 32, 38), (105, 112, 122), (128, 128, 128)
"""Colours of text: strong and soft on white, and one that is readable on light and on dark pages."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The positions of all parts of a grid."""

    size: tuple[int, int]
    """(width, height) of the whole picture, in pixels."""
    boxes: dict[tuple[int, int], Box]
    """(step, index in the batch) of an example -> its tile. Examples that are left out have none."""
    classes: list[tuple[int, Box]]
    """(class, position of its name)."""
    steps: list[tuple[int, Box]]
    """(step, position of its number and step sizes)."""
    note: str
    """Sentence that says how many examples are left out; empty if all are shown."""


def grid(distilled: DistilledSet, *, transparent: bool = False) -> Image.Image:
    """Draw the examples by step (rows) and class (columns), with class names and step sizes around them.

    A step with several examples of a class has several rows. Examples with soft labels are placed by
    their most probable class. See `shown_range` for the grey levels and `caption` for the text below the grid.

    Args:
        distilled: the set.
        transparent: True: transparent background, and text in a grey that is readable on light and on dark pages.
            False: dark grey text on white.
    """
    place = layout(distilled)
    picture = Image.new("RGBA", place.size, (0, 0, 0, 0)) if transparent else Image.new("RGB", place.size, "white")
    ink, soft = (GREY, GREY) if transparent else (INK, SOFT)
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
    """Return the picture encoded in the format that the ending of a file name says.

    Raises:
        UserError: the ending is not in `PICTURES`.
    """
    kind = PICTURES.get(path.suffix.lower())
    if kind is None:
        ending = f"the ending {path.suffix!r}" if path.suffix else "no ending"
        raise UserError(f"{path} has {ending}, but a picture is written as one of {', '.join(PICTURES)}")
    content = io.BytesIO()
    picture.save(content, format=kind)
    return content.getvalue()


def data_uri(image: Image.Image) -> str:
    """Return a picture as the address of an image in a page, which holds the whole picture."""
    buffer = io.BytesIO()
    grey = image.convert("LA")
    if grey.convert("RGBA").tobytes() == image.tobytes():  # takes half of the bytes
        image = grey
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def banner(distilled: DistilledSet) -> Image.Image:
    """Draw a wide picture of the examples, without any text: in the order of steps, and within a step by class.

    It shows at most 120 examples, and is three to six times as wide as high if the number of examples allows it.
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
    """Return the two pixel values that are shown black and white, for the whole set and all channels.

    The pixels of real images lie in [0, 1]. Those of synthetic examples often do not, and would lose most of their
    texture if they were cut to [0, 1]. The range holds [0, 1] and 99 % of all values (without the lowest and the
    highest 0.5 %); it is exactly [0, 1] if they exceed it by less than a reader can see.
    """
    low, high = np.percentile(_finite(distilled), (0.5, 99.5)).tolist()
    return (0.0, 1.0) if low > -INVISIBLE_EXCESS and high < 1 + INVISIBLE_EXCESS else (min(0.0, low), max(1.0, high))


def as_bytes(distilled: DistilledSet) -> UInt8[np.ndarray, "batches b h w 3"]:
    """Return the examples as 8-bit images, by batch and index; see `tiles_of`."""
    tiles = tiles_of(distilled)
    return tiles.reshape(distilled.batches, -1, *tiles.shape[1:])


def tiles_of(distilled: DistilledSet) -> UInt8[np.ndarray, "n h w 3"]:
    """Return the examples as 8-bit images: `shown_range` becomes 0..255; grey unless there are 3 channels."""
    low, high = shown_range(distilled)
    pixels = _finite(distilled)
    if pixels.shape[1] != 3:
        pixels = pixels.mean(1, keepdims=True).repeat(3, 1)
    return ((pixels - low) / (high - low) * 255).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def caption(distilled: DistilledSet) -> str:
    """Return the text below a grid: how to read it, and how pixel values are shown."""
    low, high = shown_range(distilled)
    place = layout(distilled)
    rows = len({top for _, top, _, _ in place.boxes.values()})
    text = "Columns are classes. "
    if isinstance(distilled.program.order, Ordered):
        text = "Rows are gradient steps in the order of training, columns are classes. "
        if rows > distilled.batches and distilled.classes <= MOST_COLUMNS:
            text += "A step with several examples of a class takes several rows. "
    step, (_, top, _, bottom) = place.steps[0]
    if len(_step_lines(distilled, step, bottom - top)) > 1:
        text += "Below the number of a step are its step sizes, one for each epoch. "
    text += distilled.header.space.how_shown(low, high)
    if words := in_words(distilled.size, len(distilled.images)):
        text += f" The {words}: here they are as networks see them."
    if not distilled.hard:
        text += " Labels are soft: each example is in the column of its most probable class."
    return f"{text} {place.note}" if place.note else text


def classes_of(distilled: DistilledSet) -> list[list[int]]:
    """Return the class of each example, by batch and index: its label, or the most probable class of a soft label."""
    return distilled.class_of_each.view(distilled.batches, -1).tolist()


def layout(distilled: DistilledSet) -> Layout:
    """Compute the positions of all tiles, class names and step numbers of a grid."""
    shown = min(distilled.classes, MOST_TILES)
    columns = math.ceil(shown / math.ceil(shown / MOST_COLUMNS))
    width, height = _tile_size(picture_size(distilled), columns)
    rows = _rows(classes_of(distilled), shown)[: max(1, MOST_TILES // shown)]
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


def picture_size(distilled: DistilledSet) -> tuple[int, int]:
    """Return (height, width) of the picture of an example, in its own pixels."""
    height, width = (1, 1, *distilled.shape)[-2:]
    return height, width


def _rows(classes: list[list[int]], shown: int) -> list[tuple[int, dict[int, int]]]:
    """Return (step, {class: index in the batch}) for each row; row r of a step has the r-th example of each class."""
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


def _tile_size(shape: Sequence[int], columns: int, within: int = GRID_WIDTH) -> tuple[int, int]:
    """Return (width, height) of a tile in pixels: a whole multiple of a small image, or a large image made smaller."""
    height, width = shape
    target = min(MOST_TILE_PIXELS, max(40, within // columns - GAP))
    longest = max(height, width)
    scale = target // longest if longest <= target else target / longest
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fitted(tile: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> Image.Image:
    """Resize a tile: enlarged pixels stay squares, reduced ones are averaged."""
    image = Image.fromarray(tile)
    return image.resize(size, Image.Resampling.NEAREST if size[0] >= image.width else Image.Resampling.BOX)


def _banner_shape(count: int, aspect: float) -> tuple[int, int]:
    """Return (rows, columns) for `count` tiles whose picture is as near to 4 : 1 as possible."""

    def badness(rows: int) -> float:
        columns = count // rows
        return abs(math.log(columns * aspect / rows / 4)) + 3 * (count - rows * columns) / count

    rows = min(range(1, count + 1), key=badness)
    return rows, count // rows


def _step_lines(distilled: DistilledSet, step: int, height: int) -> list[str]:
    """Return the number of a step, and its step sizes (one for each epoch) if they are few and fit in `height`.

    There are none if the examples are shuffled.
    """
    order = distilled.program.order
    if not isinstance(order, Ordered):
        return [""]
    epochs, steps = order.step_sizes.shape
    lines = [f"step {step + 1}"]
    if epochs <= 3 and epochs * steps <= 60 and (epochs + 1) * FONT * 1.2 <= height:
        lines += [f"η {size:.3g}" for size in order.step_sizes[:, step].tolist()]
    return lines


def _margin(distilled: DistilledSet, height: int) -> int:
    lines = [line for step in range(distilled.batches) for line in _step_lines(distilled, step, height)]
    return math.ceil(max(_font(FONT).getlength(line) for line in lines)) + 16


def _shortened(name: str, width: int) -> str:
    if _font(FONT).getlength(name) <= width:
        return name
    while name and _font(FONT).getlength(name + "…") > width:
        name = name[:-1]
    return name.rstrip() + "…"


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib.font_manager  # half a second

    return ImageFont.truetype(matplotlib.font_manager.findfont("DejaVu Sans"), size)


def _finite(distilled: DistilledSet) -> NDArray[np.floating]:
    """Return the pictures of the examples, with grey in place of values that are not finite."""
    pictures = distilled.header.space.pictures(distilled.inputs)
    return np.nan_to_num(pictures.detach().float().cpu().numpy(), nan=0.5, posinf=0.5, neginf=0.5)
