"""Teachers: trained networks that give the labels of synthetic examples, read from a pool or a file of weights."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import UserError
from ..space import Space
from ..storage.files import must_be_file, named_format
from ..user_modules import one_line
from . import build
from .pool import Pool, load_pool, named_in
from .pool_header import FORMAT
from .weights import read

MAKE = "datastill pretrain DATA --network NETWORK --count 1 --held-out 0 --snapshots 20"
"""The command that makes a teacher."""
MAKERS = {
    "pools/mnist-teacher.safetensors": (
        'datastill pretrain mnist --network "convnet(width=64)" --count 1 --held-out 0 --epochs 3'
    ),
    "pools/cifar10-teacher.safetensors": (
        'datastill pretrain cifar10 --data.whiten 0.1 --network "convnet(width=64,norm=batch)" --start '
        '"random(kaiming)" --count 1 --held-out 0 --epochs 10 --snapshots 10 --augmentation siamese'
    ),
    "pools/cifar10-slow-teacher.safetensors": (
        'datastill pretrain cifar10 --data.whiten 0.1 --network convnet --start "random(kaiming)" --count 1 '
        "--held-out 0 --epochs 16 --snapshots 16 --rate 0.0003 --augmentation siamese"
    ),
    "pools/cifar10-early-teacher.safetensors": (
        'datastill pretrain cifar10 --data.whiten 0.1 --network convnet --start "random(kaiming)" --count 1 '
        "--held-out 0 --epochs 4 --snapshots 4 --schedule constant --rate 0.0003 --augmentation siamese"
    ),
}
"""The commands that make the teachers of recipes, by file, without ``--out``."""


def read_teacher(
    name: str, *, network: str = "", shape: tuple[int, ...], classes: int, trust: bool = True
) -> nn.Module:
    """Return a trained network in evaluation mode.

    Args:
        name: a file of weights, ``.safetensors`` or a state dictionary saved by PyTorch; or a pool: FILE if it has one
            network to distil with, FILE#3 for network 3, FILE@5 or FILE#3@5 for a snapshot of its training.
        network: the architecture; empty: the one that the pool names (`architecture`).
        shape: (channels, height, width) of an image, (columns,) of a row.
        classes: number of classes.
        trust: False if a file named the architecture; see `build`.

    Raises:
        UserError: the file cannot be read, does not fit the architecture, or has no such network or snapshot; or the
            architecture needs trust.
    """
    file, which, snapshot = _parts(name)
    made = build(network or architecture(name), shape=shape, classes=classes, trust=trust and bool(network))
    if _is_pool(file):
        pool = load_pool(str(file))
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
        teacher.load_state_dict(read(file))
    except RuntimeError as error:
        _, _, reasons = str(error).partition("\n")  # after a heading
        raise UserError(
            f"the weights in {file} do not fit the teacher {network!r}: {one_line(RuntimeError(reasons))}; give the "
            "weights of this teacher"
        ) from error
    return teacher.eval()


def architecture(name: str) -> str:
    """Return the architecture that the pool of a teacher names; for `name` see `read_teacher`.

    Raises:
        UserError: the file is no pool, so that it names no architecture.
    """
    network: str = _header(name)["settings"]["network"]
    return network


def classes_of(name: str) -> tuple[str, ...]:
    """Return the names of the classes that the pool of a teacher was trained on, in their order.

    Raises:
        UserError: the file is no pool.
    """
    return tuple(_header(name)["class_names"])


def must_take(name: str, space: Space) -> None:
    """Raise a `UserError` if a teacher was trained on examples of another kind, as its pool says."""
    _pool(name).must_take(space)


def _header(name: str) -> Mapping[str, Any]:
    return _pool(name).header


def _pool(name: str) -> Pool:
    file, *_ = _parts(name)
    if not _is_pool(file):
        raise UserError(f"{file} is no pool, so it does not name its architecture; give a pool (datastill pretrain)")
    return load_pool(str(file))


def _parts(name: str) -> tuple[Path, int | None, int | None]:
    """Return file, network and snapshot that a name stands for; a file with this very name goes first."""
    file, which, snapshot = (name, None, None) if Path(name).is_file() else named_in(name)
    if not os.path.lexists(file):
        if "@" in Path(file).name:
            raise UserError(f"there is no teacher at {file}; for a snapshot write its number: FILE@5")
        raise UserError(f"there is no teacher at {file}; to make one: {MAKERS.get(str(file), MAKE)} --out {file}")
    must_be_file(Path(file))
    return Path(file), which, snapshot


def _is_pool(path: Path) -> bool:
    """Return whether a file says that it is a pool, or is too broken to say what it is, as its reader will tell."""
    found = named_format(path)
    return path.suffix == ".safetensors" if found is None else found == FORMAT
