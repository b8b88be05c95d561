"""Random changes of bytes and of nested plain values with tensors."""

import math
import random
from typing import Any

import torch
from torch import Tensor

VALUES = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**62, 10**40, -(10**40), 0.5, -0.5, 1e30, 1e308, 5e-324),
    *(math.nan, math.inf, -math.inf, "", "x", "a" * 5000, "mlp\x1b[2J", "\n", "\ud800", "../..", "pool:", "os:system"),
    *("mlp(width=-1)", "mlp(width=1e9)", "[/x]", "xavier", "own", "fixed", "sgd", "NaN"),
    *([], {}, [0], [[]], {"": 0}, {"name": {}}, [math.nan], ["a", 1]),
)
"""What a value is replaced by."""
TENSORS = (
    torch.zeros(0),
    torch.zeros(()),
    torch.full((3,), math.nan),
    torch.zeros(2, 3, dtype=torch.int64),
    torch.zeros(3, dtype=torch.bool),
    torch.zeros(3, dtype=torch.complex64),
    torch.zeros(3, dtype=torch.bfloat16),
    torch.zeros(1).expand(10**9),
    torch.zeros(3, dtype=torch.float64),
)
"""What a tensor is replaced by."""


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
    """Nested plain values and tensors with one to three changes."""
    for _ in range(draw.randint(1, 3)):
        value = _changed(value, draw)
    return value


def _changed(value: Any, draw: random.Random) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.95:
        return _changed_dict(value, draw)
    if isinstance(value, list) and value and draw.random() < 0.8:
        i = draw.randrange(len(value))
        return [*value[:i], _changed(value[i], draw), *value[i + 1 :]]
    if isinstance(value, Tensor):
        return _changed_tensor(value, draw)
    return draw.choice(VALUES)


def _changed_dict(value: dict, draw: random.Random) -> dict:
    key, rest = draw.choice(list(value)), dict(value)
    match draw.randrange(10):
        case 0:
            del rest[key]
        case 1:
            rest[draw.choice(("unknown", "", 0, str(key) + "s"))] = value[key]
        case _:
            rest[key] = _changed(value[key], draw)
    return rest


def _changed_tensor(value: Tensor, draw: random.Random) -> Any:
    match draw.randrange(4):
        case 0:
            return draw.choice(TENSORS)
        case 1:
            return value.flatten()[: draw.randrange(value.numel() + 1)].clone()
        case 2:
            return draw.choice(VALUES)
    spoiled = value.clone()
    if spoiled.numel() and spoiled.is_floating_point():
        spoiled.view(-1)[draw.randrange(spoiled.numel())] = draw.choice((math.nan, math.inf, -1e38, 0.0))
    return spoiled
