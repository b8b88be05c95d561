"""Networks by name, or the user's own as ``module:callable``."""

import ast
import functools
import inspect
import math
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, SupportsIndex

import torch
from torch import nn

from ..errors import UserError, must_be, unknown, untrusted
from ..user_modules import imported
from .alexcifarnet import alexcifarnet
from .alexnet import alexnet
from .convnet import convnet
from .draws import seeded
from .functional import Nature, Network
from .initial import INITIALISERS
from .lenet import lenet
from .mlp import mlp
from .resnet import resnet18
from .squeezenet import squeezenet
from .textcnn import textcnn
from .weights import is_at_hand

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "alexcifarnet": alexcifarnet,
    "alexnet": alexnet,
    "convnet": convnet,
    "lenet": lenet,
    "mlp": mlp,
    "resnet18": resnet18,
    "squeezenet": squeezenet,
    "textcnn": textcnn,
}

FOR_ANY_SHAPE = ("mlp", "textcnn")
"""The networks that are not for images alone, or that say themselves what they take."""

MAX_DEPTH = 50
"""Largest allowed argument `depth` of a network: its layers or blocks."""
MAX_PARAMETERS = 2**28
"""Largest allowed number of parameters in a network of the library: 1 GiB in float32."""

Value = bool | int | float | str | list[Any] | tuple[Any, ...] | None
"""An argument of a network that can be written in its name."""

__all__ = [
    "INITIALISERS",
    "NETWORKS",
    "Network",
    "build",
    "must_keep_weights",
    "must_need_no_trust",
    "parse",
    "weights_file",
]


def build(spec: str, *, shape: tuple[int, ...], classes: int, trust: bool = True) -> Network:
    """Build the network that `spec` names, for examples of `shape`.

    Args:
        spec: a name of `NETWORKS` or ``module:callable``, with optional arguments in brackets:
            ``"convnet(depth=2,norm=none)"``, ``"my_networks:tiny(width=32)"``. The callable returns an `nn.Module`;
            `shape` and `classes` are passed to it if it has parameters of these names, or takes any keyword.
        shape: the shape of an example, e.g. (channels, height, width) of an image.
        classes: number of classes.
        trust: False if `spec` was read from a file: then no module is imported and no weights file is opened; see
            `must_need_no_trust`.

    Raises:
        UserError: there is no such network, argument or module; the network cannot take the images; or it needs trust.
    """
    _must_be_sizes(shape, classes)
    if not trust:
        must_need_no_trust(spec)
    name, arguments = parse(spec)
    make = _import(name) if ":" in name else NETWORKS.get(name)
    if make is None:
        raise unknown("network", name, NETWORKS)
    if name in NETWORKS and name not in FOR_ANY_SHAPE and len(shape) != 3:
        raise UserError(
            f"network {name!r} takes images (channels, height, width), not examples of shape {shape}; take 'mlp', or "
            "'textcnn' for sentences"
        )
    factory = _factory(make, name, arguments, {"shape": shape, "classes": classes})
    if name in NETWORKS:
        _must_be_bounded(spec, factory, arguments)
    ours = (make, spec, shape, classes) if name in NETWORKS and not weights_file(spec) else None
    network = Network(factory, shape=shape, classes=classes, name=spec, nature=_NATURES.get(ours))
    if ours:
        _NATURES[ours] = network.nature
    return network


def _must_be_sizes(shape: object, classes: object) -> None:
    """Raise a `UserError` unless the shape is a tuple of numbers of at least 1, and there is at least one class."""
    sizes = shape if isinstance(shape, tuple) else ()
    if not sizes or not all(isinstance(each, SupportsIndex) and each.__index__() >= 1 for each in sizes):
        raise UserError(f"shape is {shape!r}, but must be a tuple of whole numbers from 1, such as (1, 28, 28)")
    if not isinstance(classes, SupportsIndex) or classes.__index__() < 1:
        raise UserError(f"classes is {classes!r}, but must be at least 1, and a whole number")


_NATURES: dict[Hashable, Nature] = {}
"""What the checks of networks of the library found, which is equal each time a network is made."""


def _must_be_bounded(spec: str, factory: Callable[[], nn.Module], arguments: Mapping[str, Value]) -> None:
    """Raise a `UserError` if a network has no units, or is too large for the memory.

    Its parameters are counted without storing them.
    """
    for name, least in (("width", 1), ("depth", 0)):
        if not isinstance(arguments.get(name, least), int):
            raise UserError(
                f"network {spec!r} cannot be made: its {name} is {arguments[name]!r}, but must be a whole number"
            )
        if isinstance(given := arguments.get(name, least), int | float) and given < least:
            raise UserError(f"network {spec!r} cannot be made: its {name} must be at least {least}")
    depth = arguments.get("depth", 0)
    if isinstance(depth, int | float) and depth > MAX_DEPTH:
        raise UserError(f"network {spec!r} is too large: its depth must be at most {MAX_DEPTH}")
    if "width" not in arguments:
        return
    try:
        with torch.device("meta"):  # shapes without values
            count = sum(parameter.numel() for parameter in factory().parameters())
    except Exception:  # what cannot be made is refused, with its reason, where the network is made
        return
    if count > MAX_PARAMETERS:
        raise UserError(
            f"network {spec!r} is too large: it has {count} parameters, at most {MAX_PARAMETERS} are allowed"
        )


def _factory(
    make: Callable[..., nn.Module], name: str, given: dict[str, Value], from_data: dict[str, Any]
) -> Callable[[], nn.Module]:
    """Return a network's maker with its arguments: those in brackets, and `from_data` as far as it accepts them."""
    try:
        accepted = inspect.signature(make).parameters
    except (ValueError, TypeError) as error:
        raise UserError(f"network {name!r} does not say which arguments it takes; wrap it in a function") from error
    takes_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in accepted.values())
    free = [key for key in accepted if key not in from_data]
    for key in given:
        if not free and not takes_all:
            raise UserError(f"network {name!r} takes no arguments; leave {key} out")
        if key in from_data or (key not in free and not takes_all):
            raise unknown("argument", key, free, f"of network {name!r}")
    wanted = {key: value for key, value in from_data.items() if key in accepted}
    if takes_all and not _refuses(make, from_data | given):
        wanted = from_data
    wanted = wanted | given
    places = [key for key, each in accepted.items() if each.kind is inspect.Parameter.POSITIONAL_ONLY and key in wanted]
    return functools.partial(make, *(wanted.pop(key) for key in places), **wanted)


def _refuses(make: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> bool:
    """Whether a maker that takes any keyword hands these on to a class that does not, as those of torchvision do."""
    try:
        with seeded(0):
            make(**arguments)
    except TypeError as error:
        return "keyword argument" in str(error)
    except Exception:  # what cannot be made is refused, with its reason, where the network is made
        return False
    return False


MAX_PRODUCT = 65_536
"""Largest allowed product of the numbers in the arguments of a network named by a file: width 1024 x depth 64."""


def must_need_no_trust(spec: str) -> None:
    """Raise a `UserError` if the network named by a file imports a module, opens a weights file, or is huge.

    Weights files in the folder `weights` of `$DATASTILL_DATA` belong to the user and may be opened by bare name.
    """
    numbers = [abs(each) for value in parse(spec)[1].values() for each in _numbers(value)]
    if not math.prod(max(1, each) for each in numbers) <= MAX_PRODUCT:
        raise untrusted(
            f"the network {spec!r}, a huge one (its numbers multiply to more than {MAX_PRODUCT})",
            "--network NAME(argument=value)",
        )
    if ":" in parse(spec)[0]:
        module = spec.strip().partition(":")[0]
        raise untrusted(f"the network {spec!r}, which runs code of the module {module!r}", "--network module:callable")
    file = weights_file(spec)
    if file and not is_at_hand(file):
        raise untrusted(f"the network {spec!r}, which opens the weights file {file!r}", "--network NAME(weights=FILE)")


def _numbers(value: Value) -> list[int | float]:
    """Return the numbers in a value, at any depth."""
    if isinstance(value, list | tuple):
        return [number for each in value for number in _numbers(each)]
    return [value] if isinstance(value, int | float) else []


def weights_file(spec: str) -> str:
    """Return the weights file that `spec` asks for; empty if it asks for none or names no network of `NETWORKS`."""
    name, arguments = parse(spec)
    return str(arguments.get("weights", "")) if name in NETWORKS else ""


def must_keep_weights(spec: str, initialiser: str) -> None:
    """Raise a `UserError` if an initialiser would replace the weights loaded by ``weights=FILE`` with random ones."""
    if weights_file(spec) and parse(spec)[1].get("adapt") != "classifier" and initialiser != "own":
        raise UserError(
            f"network {spec!r} comes with weights, which the initialiser {initialiser!r} would replace; take "
            "--start pretrained or --start 'random(own)', or leave weights out"
        )


def parse(spec: str) -> tuple[str, dict[str, Value]]:
    """Split ``"name(key=value,...)"`` into the name and its arguments.

    A value is a number, ``true`` or ``false``, a Python constant (text in quotes, a list or tuple of constants, None),
    or else text as it stands, e.g. ``weights=file.safetensors``. Commas within quotes or brackets belong to the value.
    """
    must_be("network", spec, str, "write name or name(key=value,...), or module:callable for your own")
    name, bracket, inside = spec.strip().partition("(")
    if not bracket:
        return name, {}
    if not inside.endswith(")"):
        raise UserError(f"network {spec!r} has no closing bracket; write name(key=value,...)")
    arguments: dict[str, Value] = {}
    for item in filter(None, map(str.strip, _items(inside[:-1]))):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals:
            raise UserError(f"network {spec!r} has an argument {item!r} without a value; write name(key=value,...)")
        arguments[key] = _value(value, spec)
    return name, arguments


TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|.""", re.DOTALL)
"""A text in quotes, or one character."""


def _items(inside: str) -> Iterator[str]:
    """Split arguments at the commas that are not within quotes or brackets."""
    item, depth = "", 0
    for token in TOKEN.findall(inside):
        depth += (token in "([") - (token in ")]")
        if token == "," and depth <= 0:
            yield item
            item, depth = "", 0
        else:
            item += token
    yield item


_NO_CONSTANT = object()


def _constant(text: str) -> Any:
    """Return the Python constant, or the list or tuple of constants, that a text writes; else `_NO_CONSTANT`."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _NO_CONSTANT
    return found if _is_value(found) else _NO_CONSTANT


def _is_value(found: object) -> bool:
    if isinstance(found, list | tuple):
        return all(map(_is_value, found))
    return found is None or isinstance(found, bool | int | float | str)


def _value(text: str, spec: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    found = _constant(text)
    if found is _NO_CONSTANT and text.startswith(("'", '"', "[", "(")):
        raise UserError(f"network {spec!r} has the value {text!r}, which is not closed or no constant of Python")
    return text if found is _NO_CONSTANT else found


def _import(name: str) -> Callable[..., nn.Module]:
    with seeded(0):  # random numbers drawn during the import are equal in every process
        found = imported(name, "network", "module:callable")
    if isinstance(found, nn.Module):
        raise UserError(f"network {name!r} is a finished module; name a class or a function that makes a module")
    if not callable(found):
        raise UserError(
            f"network {name!r} is a {type(found).__name__}, which cannot be called; name a function that makes a module"
        )
    return found
