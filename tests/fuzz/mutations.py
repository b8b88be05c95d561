"""Random changes of bytes and of nested plain values with tensors."""

import copy
import math
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CANARY = "tests.fuzz.canary"
"""A module that nothing but a hostile file asks for."""
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 10**9, 2**31, 2**62, 2**63, 10**40, -(10**40), 10**400),
    *(0.0, -0.0, 0.5, -0.5, 1e30, 1e308, 5e-324, math.nan, math.inf, -math.inf),
    *("", "x", "a" * 5000, "mlp\x1b[2J", "\x1b[31mred\x1b[0m", "\n", "a\nb", "\u202egnp", "\ud800", "[/bold]"),
    *("/", "..", "../..", "/etc/passwd", "pool:", "pool:/etc/passwd", "os:system", f"{CANARY}:run"),
    *(f"{CANARY}:run(a=1)", "alexnet(weights=/etc/passwd)", "mlp(depth=100000)", "mlp(width=1e9)", "mlp(width=-1)"),
    *("mlp(width=4", "nearest-neighbours(k=1)", "digits", "mnist", "xavier", "own", "fixed", "none", "NaN"),
    *("sgd", "adam", "lion", "validation", "test"),
    *([], {}, [0], [1, 1], [0, 99], [[]], ["a", "a"], ["a"] * 300, [None], [math.nan], ["a", 1]),
    *({"": 0}, {"name": {}}, {"a": {"b": []}}),
)
"""What a value is replaced by."""
NAMES = (
    *(
        "network",
        "data",
        "score",
        "n",
        "mean",
        "accuracies",
        "objective",
        "measures",
        "weights",
        "steps",
        "decode",
        "kind",
        "space",
        "program",
        "order",
        "labels",
        "unknown",
        "x",
        "",
    ),
    *("\x1b]0;x\x07", "more", "initial.w", "initial.", "inputs.scale", "step_sizes", "initial.\x1b"),
)
"""Names under which a value is added."""
TENSORS = (
    torch.zeros(0),
    torch.zeros(()),
    torch.zeros(2**20, 0),
    torch.full((3,), math.nan),
    torch.zeros(2, 3, dtype=torch.int64),
    torch.zeros(3, dtype=torch.bool),
    torch.zeros(3, dtype=torch.complex64),
    torch.zeros(3, dtype=torch.bfloat16),
    torch.zeros(1).expand(10**9),
    torch.zeros(3, dtype=torch.float64),
)
"""What a tensor is replaced by."""
TYPES = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool)
"""What a tensor is converted to."""


def changed_bytes(content: bytes, draw: random.Random) -> bytes:
    """The bytes with one to three changes: cut, overwritten, repeated, inserted."""
    for _ in range(draw.randint(1, 3)):
        at, length = draw.randrange(len(content) + 1), draw.choice((1, 1, 2, 8, 100))
        match draw.randrange(5):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + draw.randbytes(length) + content[at + length :]
            case 2:
                content = content[:at] + content[at + length :]
            case 3:
                content = content[:at] + bytes([draw.choice((0, 255))] * length) + content[at + length :]
            case _:
                content = content[:at] + draw.randbytes(length) + content[at:]
    return content


def changed(value: Any, draw: random.Random) -> Any:
    """Nested plain values and tensors with one to three changes at any depth."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = _places(value)
        if not places or draw.random() < 0.02:
            return copy.deepcopy(draw.choice(VALUES))
        _change(*draw.choice(places), draw)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """The holder and the key of every value at any depth; of a long list only the first few values."""
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 5)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def _change(holder: Any, key: Any, draw: random.Random) -> None:
    """Delete, add, scale or replace a value in its holder."""
    value = holder[key]
    match draw.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[draw.choice(NAMES)] = copy.deepcopy(draw.choice((value, draw.choice(VALUES))))
        case 1:
            holder.append(copy.deepcopy(value))
        case _ if isinstance(value, Tensor):
            holder[key] = _changed_tensor(value, draw)
        case 2 | 3 if type(value) in (int, float) and abs(value) < 1e100:
            holder[key] = value * draw.choice((-1, 0, 2, 1000, 1e30))
        case _:
            holder[key] = copy.deepcopy(draw.choice(VALUES))


def _changed_tensor(value: Tensor, draw: random.Random) -> Any:
    changes: list[Callable[[], Any]] = [
        lambda: draw.choice(TENSORS),
        lambda: draw.choice(VALUES),
        lambda: value.to(draw.choice(TYPES)),
        lambda: value.flatten()[: draw.randrange(value.numel() + 1)].clone(),
        lambda: value[None],
        lambda: value.transpose(0, -1).contiguous() if value.dim() else value[None],
        lambda: value.repeat(2, *(1 for _ in value.shape[1:])),
        lambda: torch.full_like(value, draw.choice((-100, 3, 100)) if value.dtype != torch.bool else 1),
        lambda: torch.full_like(value.float(), draw.choice((math.nan, math.inf, -1e30, 1e-30, 0.0))),
        lambda: _spoiled(value, draw),
        lambda: _spoiled(value, draw),
    ]
    return draw.choice(changes)()


def _spoiled(value: Tensor, draw: random.Random) -> Tensor:
    """The tensor with one strange value."""
    spoiled = value.clone()
    if spoiled.numel() and spoiled.is_floating_point():
        spoiled.view(-1)[draw.randrange(spoiled.numel())] = draw.choice((math.nan, math.inf, -1e38, 0.0))
    return spoiled


def storable(value: Any) -> dict[str, Tensor]:
    """The tensors of a changed value that a small safetensors file can hold."""
    if not isinstance(value, dict):
        return {}
    return {
        str(name): each.clone() for name, each in value.items() if isinstance(each, Tensor) and each.numel() < 10**6
    }
