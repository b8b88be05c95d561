"""Teachers: trained networks that give the labels of synthetic examples, read from a pool or a file of weights."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from ..errors import UserError
from ..storage.files import must_be_file
from ..user_modules import one_line
from . import build
from .pool import load_pool, named_in
from .pool_header import FORMAT
from .weights import read


def read_teacher(name: str, *, network: str, shape: tuple[int, ...], classes: int, trust: bool = True) -> nn.Module:
    """Return a trained network in evaluation mode.

    Args:
        name: a file of weights, ``.safetensors`` or a state dictionary saved by PyTorch; or a pool: FILE if it has one
            network to distil with, FILE#3 for network 3, FILE@5 or FILE#3@5 for a snapshot of its training.
        network: the architecture.
        shape: (channels, height, width) of an image, (columns,) of a row.
        classes: number of classes.
        trust: False if a file named the architecture; see `build`.

    Raises:
        UserError: the file cannot be read, does not fit the architecture, or has no such network or snapshot; or the
            architecture needs trust.
    """
    file, which, snapshot = (name, None, None) if Path(name).is_file() else named_in(name)
    must_be_file(Path(file))
    made = build(network, shape=shape, classes=classes, trust=trust)
    if _is_pool(Path(file)):
        pool = load_pool(file)
        if which is None and len(pool.training) > 1:
            raise UserError(
                f"the pool {file} has {len(pool.training)} networks to distil with; name the one that is the teacher, "
                f"such as {file}#0"
            )
        return pool.module(made, which or 0, snapshot)
    if which is not None or snapshot is not None:
        raise UserError(f"{file} is no pool, so it has no numbered networks or snapshots; give the teacher as {file}")
    teacher = made.factory()
    try:
        teacher.load_state_dict(read(Path(file)))
    except RuntimeError as error:
        raise UserError(f"the weights in {file} do not fit the teacher {network!r}: {one_line(error)}") from error
    return teacher.eval()


def _is_pool(path: Path) -> bool:
    """Return whether a file is a pool, whole or not, by the format that it names."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False
