"""Loads trained weights from a file into a network with parameters of equal names; its last layer is new."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UserError, unknown
from ..modes import usual_modes
from ..storage.files import DATA_VARIABLE, must_be_file, read_tensors
from ..storage.pickled import MoreThanTensorsError, read_pickled

WEIGHTS_FOLDER = "weights"
"""The folder in `$DATASTILL_DATA` in which bare names of weights files are looked up."""
ADAPT = ("all", "classifier")


def must_take(network: str, shape: tuple[int, int, int], *, least: int, channels: int | None) -> None:
    """Raise a `UserError` if images are smaller than `least` pixels, or do not have `channels` channels (None: any)."""
    if channels and shape[0] != channels:
        raise UserError(
            f"network {network!r} with weights takes images of {channels} channels, not {shape[0]}; "
            "set channels to colour"
        )
    if min(shape[1:]) < least:
        raise UserError(
            f"network {network!r} takes images of at least {least}x{least}, not {shape[1]}x{shape[2]}; set resize to "
            "one side in pixels, such as 224"
        )


def pretrained(module: nn.Module, name: str, adapt: str, *, last: str, hint: str = "") -> nn.Module:
    """Load the weights of a file into a module, except into its last layer; freeze layers that are not adapted.

    The last layer starts with weights 0 and biases 1, as in Wang et al. 2018.

    Args:
        module: has parameters named as in the file, ``classifier...`` in the classifier; changed in place.
        name: the weights file, a path or a bare name in the folder `weights` of `$DATASTILL_DATA`; empty for none.
        adapt: ``all`` trains every layer; ``classifier`` freezes all layers but the classifier.
        last: the layer that is new, e.g. ``classifier.6``.
        hint: advice for the error if the weights of the classifier do not fit.

    Raises:
        UserError: `adapt` has another value or would freeze random weights, or the file does not fit; see `fill`.
    """
    if adapt not in ADAPT:
        raise unknown("adapt", adapt, ADAPT)
    if name:
        fill(module, name, last, hint)
        layer = module.get_submodule(last)
        nn.init.zeros_(layer.get_parameter("weight"))
        nn.init.ones_(layer.get_parameter("bias"))
    elif adapt != "all":
        raise UserError(
            f"adapt={adapt} would freeze layers that were never trained; give weights=FILE, or take adapt=all"
        )
    for key, parameter in module.named_parameters():
        parameter.requires_grad_(adapt == "all" or key.startswith("classifier."))
    return module


def fill(module: nn.Module, name: str, last: str, hint: str = "") -> None:
    """Load the weights of a file into a module, except into its last layer.

    Tensors of the file for other parts (``lpips.``) and for the last layer are ignored.

    Args:
        module: has parameters named as in the file; changed in place.
        name: the weights file: a path, or a bare name in the folder `weights` of `$DATASTILL_DATA`.
        last: the layer that is new, e.g. ``classifier.6``.
        hint: advice for the error if the weights of the classifier do not fit.

    Raises:
        UserError: there is no such file, it is incomplete or holds more than tensors, or its tensors do not fit.
    """
    path = find(name)
    parts = {key.partition(".")[0] for key, _ in module.named_parameters()}
    found = {
        key: value
        for key, value in read(path).items()
        if key.partition(".")[0] in parts and key.rpartition(".")[0] != last
    }
    wanted = {key: value for key, value in module.named_parameters() if key.rpartition(".")[0] != last}
    for wrong in _differences(found, wanted):
        raise UserError(f"the weights in {path} do not fit: {wrong}{f'; {hint}' if 'classifier.' in wrong else ''}")
    with torch.no_grad():
        for key, parameter in wanted.items():
            parameter.copy_(found[key])


def _differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield a description of each difference in names or shapes."""
    missing, extra = [key for key in wanted if key not in found], [key for key in found if key not in wanted]
    if missing:
        yield f"{_some(missing)} missing, where {missing[0]} of {_shape(wanted[missing[0]])} was expected"
    if extra:
        yield f"{_some(extra)} too many, {extra[0]} of {_shape(found[extra[0]])}; expected {_keys(list(wanted))}"
    for key, value in wanted.items():
        if found[key].shape != value.shape:
            yield f"{key} is {_shape(found[key])}, but {_shape(value)} was expected"


def _some(keys: list[str]) -> str:
    return f"{_keys(keys)} {'is' if len(keys) == 1 else 'are'}"


def _keys(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"


def find(name: str) -> Path:
    """Return the path of a weights file, given as a path or as a bare name in `$DATASTILL_DATA`/weights.

    Raises:
        UserError: there is no such file.
    """
    root = os.environ.get(DATA_VARIABLE)
    bare = Path(name).name == name
    places = [Path(root) / WEIGHTS_FOLDER / name] if root and bare else []
    places.append(Path(name).expanduser())
    for place in places:
        if place.is_file():
            return place
    looked = " or ".join(str(place) for place in places)
    advice = f"give the path of the file, or set {DATA_VARIABLE} to a folder that holds {WEIGHTS_FOLDER}/{name}"
    raise UserError(f"there are no weights at {looked}; {advice if bare else 'give the path of the file'}")


def is_at_hand(name: str) -> bool:
    """Return whether `name` is a bare name of a file in the folder `weights` of `$DATASTILL_DATA`."""
    root = os.environ.get(DATA_VARIABLE)
    return bool(root) and Path(name).name == name and name in _names_in(Path(str(root)) / WEIGHTS_FOLDER)


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()


@usual_modes()
def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` file or of a state dictionary saved by PyTorch, as float32.

    Raises:
        UserError: the file is incomplete, is a pickle that holds more than tensors, or has values that are not finite.
    """
    must_be_file(path)
    about = path.stat()
    return _read(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=2)  # each draw of initial weights makes the network again
def _read(path: Path, changed: int, size: int) -> dict[str, Tensor]:  # noqa: ARG001 (a changed file has another key)
    tensors = read_tensors(path)[1] if path.suffix == ".safetensors" else _unpickled(path)
    for key, value in tensors.items():
        if value.dtype.is_complex or not bool(value.float().isfinite().all()):
            raise UserError(f"the weights in {path} cannot be used: {key} has values that are not finite real numbers")
    return {key: value.float() for key, value in tensors.items()}


def _unpickled(path: Path) -> dict[str, Tensor]:
    """Read a pickle that holds only tensors; others are refused, because opening a pickle can run any code."""
    advice = "save the state alone, torch.save(model.state_dict(), FILE), or a .safetensors file"
    try:
        state = read_pickled(path)
    except MoreThanTensorsError as error:
        raise UserError(f"{error}; {advice}") from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is refused: it holds a {type(state).__name__}, not named tensors; {advice}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(
                f"{path} is refused: it holds more than tensors ({key!r} is a {type(value).__name__}); {advice}"
            )
    return state


def sha256(name: str) -> str:
    """Return the SHA-256 of the bytes of a weights file."""
    with find(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
