"""The formats of a file: what is stored, and how files of earlier formats are migrated while they are read.

A file is in safetensors format. Its metadata hold ``format``; ``needs``, the first version of datastill that reads it;
``header``, a JSON text with the header and the program; and ``sha256``, the digest of header and tensors.

Format 1 (datastill 0.1) held examples (steps, b, c, h, w), labels (steps, b) or (steps, b, classes), and step sizes;
its header held ``mean`` and ``std`` of pixels, ``space`` (always ``normalised``), ``bits`` (32 or 8), ``order`` (always
``ordered``) and ``optimiser``, in the place of the space, the decode step and the program; and ``initial``,
``initialiser`` and ``weights``, instead of the start and the SHA-256 of frozen weights.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import migration
from ..errors import UserError
from ..label_source import source_of
from ..program import CrossEntropy, Ordered, Program, as_plain, optimiser
from ..program.optimisers import OPTIMISERS
from ..storage.files import must_be_unchanged, named_format, read_tensors
from ..storage.records import ANYTHING, one_of, record, text
from .decode import INPUTS

FORMAT = "datastill/2"
"""The format that is written."""
FIRST_FORMAT = "datastill/1"
NEEDS = "0.2.0"
"""The first version of datastill that reads the format that is written."""
TARGETS, STEP_SIZES = "targets", "step_sizes"
"""Names of tensors in a file: labels, and the step sizes of ordered steps."""
INITIAL = "initial."
"""Prefix of the names of initial weights in a file."""
VERSION = text(50, 1)
_PICTURE = "; it looks like a picture: datastill import makes a set of a folder of pictures"
_ARRAYS = "; it looks like arrays: datastill import makes a set of images in them"
_IMPORTED = dict.fromkeys((".png", ".jpg", ".jpeg", ".webp"), _PICTURE) | dict.fromkeys(
    (".npz", ".pt", ".pth"), _ARRAYS
)
"""What to do with a file that is no set, by its ending."""


def read_file(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a file, after a check of its format and of its digest.

    Raises:
        UserError: the file is missing, not readable, cut short, changed, no distilled set, or of a later format.
    """
    with contextlib.suppress(OSError):  # read_tensors reports it
        if not path.exists():
            raise UserError(f"there is no distilled set at {path}{_others(path)}")
    try:
        metadata, tensors = read_tensors(path)
    except UserError as error:
        raise UserError(f"{error}{_IMPORTED.get(path.suffix.lower(), '')}") from error
    if metadata.get("format") not in (FORMAT, FIRST_FORMAT):
        raise _of_another_format(path, metadata)
    needed = {"examples", "labels", "step_sizes"} if metadata["format"] == FIRST_FORMAT else {INPUTS, TARGETS}
    missing = needed - tensors.keys()
    if missing or "header" not in metadata:
        raise UserError(f"{path} lacks {', '.join(sorted(missing)) or 'a header'}; it is not a whole distilled set")
    must_be_unchanged(path, metadata, tensors)
    return metadata, tensors


def _others(path: Path) -> str:
    """Return the words that name the sets in a folder in which one is missing; empty if there are none."""
    if not path.parent.is_dir() or path.parent == Path():
        return ""
    patterns = ("*.safetensors", "*/distilled.safetensors")
    files = (file for pattern in patterns for file in path.parent.glob(pattern))
    found = sorted(str(file) for file in files if named_format(file) in (FORMAT, FIRST_FORMAT))
    more = ", ..." if len(found) > 3 else ""
    return f"; name one of the files {', '.join(found[:3])}{more}" if found else ""


def _of_another_format(path: Path, metadata: Mapping[str, str]) -> UserError:
    found, needs = metadata.get("format", "none"), metadata.get("needs", "")
    if "pool" in found:
        return UserError(f"{path} is a pool of networks, not a distilled set; give it with --start pool:{path}")
    if not re.fullmatch(r"datastill/\d{1,9}", found):
        return UserError(f"{path} is not a distilled set of format {FORMAT} (format found: {found[:100]!r})")
    version = f"datastill {needs} or later" if VERSION.fits(needs) else "a later version of datastill"
    wanted = f"datastill>={needs}" if VERSION.fits(needs) else "datastill"
    return UserError(
        f"{path} is a distilled set of format {found}, and this version reads formats up to {FORMAT}; install "
        f"{version}: pip install --upgrade '{wanted}'"
    )


def migrated(
    written: str, stored: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the values of the header and the tensors of a file as `FORMAT` has them.

    Args:
        written: the format of the file.
        stored: the values of its header.
        tensors: its tensors.

    Raises:
        UserError: a value or a tensor is not as the format of the file has it.
    """
    if written == FIRST_FORMAT:
        return from_format_1(stored, tensors)
    return migration.header(stored), tensors


def from_format_1(stored: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a file of format 1 holds as format 2 has it; no value and no example changes."""
    HEADER_1(stored, "header")
    bits = stored.get("bits", 32)
    _must_fit_1(tensors, bits)
    flat = {RENAMED.get(name, name): each.flatten(0, 1) if name in RENAMED else each for name, each in tensors.items()}
    header = {name: value for name, value in migration.header(stored).items() if name not in MOVED_1}
    shape = tuple(tensors["examples"].shape[2:])
    program = Program(
        order=Ordered(step_sizes=tensors["step_sizes"]),
        optimiser=optimiser(stored.get("optimiser", "sgd")),
        loss=CrossEntropy(),
    )
    header |= {
        "space": {"kind": "pixels", "mean": stored["mean"], "std": stored["std"], "shape": shape},
        "decode": {"kind": "8-bits" if bits == 8 else "plain"},
        "labels": asdict(source_of(flat[TARGETS])),
        "program": as_plain(program),
    }
    return header, flat


def _must_fit_1(tensors: Mapping[str, Tensor], bits: int) -> None:
    """Raise a `UserError` unless tensors have the names and dimensions of format 1."""
    scales = ("examples.scale", "examples.offset") if bits == 8 else ()
    for name in tensors:
        if name not in ("examples", "labels", "step_sizes", *scales) and not name.startswith(INITIAL):
            raise unknown_tensor(name)
    examples, labels, step_sizes = (tensors[name] for name in ("examples", "labels", "step_sizes"))
    if examples.dim() != 5 or labels.shape[:2] != examples.shape[:2] or labels.dim() not in (2, 3):
        raise UserError(
            f"examples of shape {tuple(examples.shape)} and labels of shape {tuple(labels.shape)} do not "
            "belong together; in format 1 they have (steps, batch, channels, height, width) and (steps, batch)"
        )
    if step_sizes.dim() != 2 or step_sizes.shape[1] != len(examples):
        raise UserError(
            f"step sizes have shape {tuple(step_sizes.shape)}, but for {len(examples)} steps it must be "
            f"(epochs, {len(examples)})"
        )
    if any(name not in tensors or tensors[name].shape != examples.shape[:2] for name in scales):
        raise UserError(f"its examples have 8 bits, and {' and '.join(scales)} are missing or have another shape")


def unknown_tensor(name: str) -> UserError:
    """Return the error for a tensor in a file that this version does not know."""
    return UserError(f"it holds a tensor {name[:100]!r}, which this version of datastill does not know")


RENAMED = {
    "examples": INPUTS,
    "examples.scale": f"{INPUTS}.scale",
    "examples.offset": f"{INPUTS}.offset",
    "labels": TARGETS,
}
"""The tensors of format 1 that have another name in format 2, where they also are flat."""
MOVED_1 = {
    "mean": ANYTHING,
    "std": ANYTHING,
    "space": one_of("normalised"),
    "bits": one_of(32, 8),
    "order": one_of("ordered"),
    "optimiser": one_of(*OPTIMISERS),
}
"""The rules of the values of a header of format 1 that are elsewhere in format 2."""
KEPT_1 = ("data", "class_names", "network", "initialiser", "initial", "weights", "attack", "method", "config")
HEADER_1 = record({**MOVED_1, **dict.fromkeys((*KEPT_1, "provenance", "score"), ANYTHING)}, needed=("mean", "std"))
"""The rule of a header of format 1; values that stay where they are have the rules of the header of today."""
