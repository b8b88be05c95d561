"""A distilled set in the formats of other tools: PNG images, a NumPy archive, a parquet dataset.

Only the ``.safetensors`` file and the NumPy archive are whole. A folder of images cannot hold what a synthetic pixel
is: it leaves [0, 1] and is not a multiple of 1/255; `png_loss` measures what that costs.
"""

import json
import re
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from .artifact import DistilledSet
from .errors import UserError, unknown
from .files import write_folder, write_json, write_whole

Kind = Literal["png", "npz", "parquet"]

SPLIT_WORDS = "train|training|validation|valid|dev|val|test|testing|eval|evaluation"
"""Words in a folder name that loaders of image folders take for the name of a split."""
RESERVED = r"con|prn|aux|nul|com\d|lpt\d"
"""Names that Windows keeps for devices."""


@dataclass(frozen=True)
class Loss:
    """How far 8-bit images are from the examples. In pixel units: 1 is the distance from black to white."""

    max_error: float
    mean_error: float
    outside: float
    """Fraction of the pixels that lie outside [0, 1] and are cut."""

    def __str__(self) -> str:
        return (
            f"8-bit images are off by {self.mean_error:.3g} on average and {self.max_error:.3g} at most (1 is black to "
            f"white); {100 * self.outside:.1f} % of the pixels lie outside [0, 1] and were cut"
        )


def _floats(distilled: DistilledSet) -> dict[str, torch.Tensor]:
    """All tensors, examples as floats even where the set's own file packs them."""
    return replace(distilled, header=replace(distilled.header, bits=32)).tensors()


def export(distilled: DistilledSet, to: str | Path, kind: Kind | str) -> Path:
    """Write a set in another format, completely or not at all.

    Args:
        distilled: what to write.
        to: a folder to make for ``png`` and ``parquet``, a file for ``npz`` (the suffix is added when it is missing).
        kind: ``png``: one 8-bit image per example, a folder per class, and ``metadata.jsonl`` with labels and order, as
            `datasets` reads image folders. ``npz``: all tensors bit for bit, and the header as JSON in ``header``.
            ``parquet``: a `datasets` folder in program order, with an 8-bit image, and the exact normalised floats in
            ``example``. ``png`` and ``parquet`` come with ``program.json`` (order, step sizes, normalisation).

    Returns:
        What was written.

    Raises:
        UserError: unknown kind, something is there already, the images have a number of channels that PNG does not
            know, or it cannot be written.
    """
    if kind not in get_args(Kind):
        raise unknown("export format", kind, get_args(Kind))
    path = Path(to)
    if kind == "npz" and path.suffix != ".npz":
        path = path.with_name(path.name + ".npz")
    _refuse_to_replace(path, folder=kind != "npz")
    if kind == "npz":
        write_whole(path, _as_npz(distilled))
    else:
        _check_channels(distilled, kind)
        write_folder(path, lambda temporary: (_write_png if kind == "png" else _write_parquet)(distilled, temporary))
    return path


def png_loss(distilled: DistilledSet) -> Loss:
    """What 8-bit images lose of the examples; see `Loss`."""
    pixels = distilled.pixels().double()
    error = (pixels - torch.from_numpy(as_bytes(distilled)).permute(0, 1, 4, 2, 3).double() / 255).abs()
    outside = ((pixels < 0) | (pixels > 1)).double().mean()
    return Loss(error.max().item(), error.mean().item(), outside.item())


def as_bytes(distilled: DistilledSet) -> UInt8[np.ndarray, "steps b h w c"]:
    """The examples as 8-bit images: cut to [0, 1] and rounded to multiples of 1/255."""
    values = (distilled.pixels().detach().cpu().double().clamp(0, 1) * 255).round()
    return values.to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()


def class_folders(names: tuple[str, ...]) -> list[str]:
    """A folder name for each class: valid on every system, never the name of a split, and sorting in class order.

    Loaders of image folders number the classes in alphabetic order; where that is another order, or two names fall
    together, the folders begin with the number of the class.
    """
    safe = [re.sub(r"[^\w\-+]+", "_", name).strip("_")[:60] or "class" for name in names]
    safe = [re.sub(rf"(?i)(?<![^\W\d_])({SPLIT_WORDS})(?![^\W\d_])|^({RESERVED})$", r"\g<0>+", name) for name in safe]
    if sorted(safe) == safe and len({name.casefold() for name in safe}) == len(safe):
        return safe
    digits = len(str(len(names) - 1))
    return [f"{number:0{digits}d}-{name}" for number, name in enumerate(safe)]


def _as_npz(distilled: DistilledSet) -> bytes:
    arrays: dict[str, Any] = {name: _as_array(tensor) for name, tensor in _floats(distilled).items()}
    arrays["header"] = np.array(json.dumps(asdict(distilled.header)))
    content = BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    """NumPy has no bfloat16; float32 holds each of its values exactly."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _write_png(distilled: DistilledSet, folder: Path) -> None:
    files = _file_names(distilled)
    images = as_bytes(distilled)
    rows = []
    for step, names in enumerate(files):
        for index, name in enumerate(names):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_png(images[step, index]))
            rows.append({"file_name": name, **_row(distilled, step, index)})
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
    write_json(folder / "program.json", {**_program(distilled), "files": files})
    (folder / "README.md").write_text(_readme(distilled, "png"), encoding="utf-8")


def _write_parquet(distilled: DistilledSet, folder: Path) -> None:
    import pyarrow.parquet  # all of these are slow to import
    from datasets import Array3D, ClassLabel, Dataset, Features, Value
    from datasets import Image as ImageFeature
    from datasets import List as ListFeature

    images = as_bytes(distilled)
    examples = distilled.examples.detach().cpu()
    examples = (examples if examples.dtype == torch.float64 else examples.float()).numpy()
    rows = []
    for step, index in np.ndindex(*images.shape[:2]):
        row = _row(distilled, step, index)
        del row["class"]  # a ClassLabel knows its name
        image = {"bytes": _png(images[step, index]), "path": None}
        rows.append({"image": image, **row, "example": examples[step, index]})
    features = Features(
        {
            "image": ImageFeature(),
            "label": ClassLabel(names=list(distilled.header.class_names)),
            "step": Value("int32"),
            "index": Value("int32"),
            "step_sizes": ListFeature(Value("float32")),
            **({} if distilled.hard else {"probabilities": ListFeature(Value("float32"))}),
            "example": Array3D(distilled.shape, str(examples.dtype)),
        }
    )
    (folder / "data").mkdir()
    table = Dataset.from_list(rows, features=features).data.table
    pyarrow.parquet.write_table(table, folder / "data" / "train-00000-of-00001.parquet")
    write_json(folder / "program.json", _program(distilled))
    (folder / "README.md").write_text(_readme(distilled, "parquet"), encoding="utf-8")


def _row(distilled: DistilledSet, step: int, index: int) -> dict[str, Any]:
    """What belongs to one example: its label, its place in the program, its step size in each epoch."""
    label = distilled.labels[step, index]
    number = int(label if distilled.hard else label.argmax())
    row: dict[str, Any] = {"label": number, "class": distilled.header.class_names[number], "step": step, "index": index}
    row["step_sizes"] = distilled.step_sizes[:, step].tolist()
    return row if distilled.hard else {**row, "probabilities": label.tolist()}


def _program(distilled: DistilledSet) -> dict[str, Any]:
    """What a folder of images cannot say: how they are to be trained on."""
    header = distilled.header
    epochs, steps = distilled.step_sizes.shape
    return {
        "data": header.data,
        "class_names": list(header.class_names),
        "steps": steps,
        "batch": distilled.labels.shape[1],
        "epochs": epochs,
        "order": header.order,
        "step_sizes": distilled.step_sizes.tolist(),
        "labels": distilled.labels.tolist(),
        "mean": list(header.mean),
        "std": list(header.std),
        "network": header.network,
        "initialiser": header.initialiser,
        "initial": header.initial,
        "png_loss": asdict(png_loss(distilled)),
    }


def _readme(distilled: DistilledSet, kind: Kind) -> str:
    """What to know before using the folder, with the head that `datasets` wants."""
    header, epochs = distilled.header, distilled.step_sizes.shape[0]
    head = "---\ntags:\n- dataset-distillation\n"
    head += "---\n" if kind == "png" else "configs:\n- config_name: default\n  data_files: data/train-*.parquet\n---\n"
    exact = (
        "The exact values are in the `.safetensors` file that this folder was exported from."
        if kind == "png"
        else "The exact values, normalised as a network takes them, are in the column `example`."
    )
    fixed = {
        "fixed": "\nThe set was made for fixed initial weights, which are not in this folder; from others it is worth "
        "little. They are in the `.safetensors` file, and in an export as `npz`.\n",
        "own": f"\nThe set was made for the weights that the network `{header.network}` comes with (SHA-256 "
        f"{header.weights}); from others it is worth little.\n",
    }.get(header.initial, "")
    return f"""{head}# {header.data}, distilled to {distilled.size} synthetic examples

Exported by datastill as {kind}. Read it with `datasets.load_dataset("{"imagefolder" if kind == "png" else "FOLDER"}"\
{', data_dir="FOLDER"' if kind == "png" else ""})["train"]`.
The rows come in the order of training; steps and places in a batch (`index`) count from 0.

**The images are a view, not the set.** {png_loss(distilled)}. {exact}

Train as the set was made: one gradient step on all rows of a `step`, steps in order, {epochs} epoch(s), with
plain gradient descent, mean cross-entropy and the step size of that epoch and step (`step_sizes`; also in
`program.json`, with mean and standard deviation for normalising). Shuffled training with one learning rate does worse.
{fixed}"""


def _file_names(distilled: DistilledSet) -> list[list[str]]:
    """Relative path of each example, by step and index; numbers are as wide as they must be to sort."""
    steps, batch = distilled.labels.shape[:2]
    folders = class_folders(distilled.header.class_names)
    classes = distilled.labels if distilled.hard else distilled.labels.argmax(-1)
    wide, deep = len(str(steps - 1)), len(str(batch - 1))
    return [
        [f"{folders[label]}/{step:0{wide}d}-{index:0{deep}d}.png" for index, label in enumerate(row)]
        for step, row in enumerate(classes.tolist())
    ]


def _png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


def _check_channels(distilled: DistilledSet, kind: str) -> None:
    if distilled.shape[0] not in (1, 3):
        raise UserError(
            f"images have {distilled.shape[0]} channels, but {kind} shows 1 (grey) or 3 (colour); export as npz instead"
        )


def _refuse_to_replace(path: Path, *, folder: bool) -> None:
    taken = any(path.iterdir()) if folder and path.is_dir() else path.exists()
    if taken:
        raise UserError(f"{path} exists and nothing is written over it; remove it, or give another place")
