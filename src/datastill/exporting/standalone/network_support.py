"""Functions that the code of a network needs besides torch, in an export."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


class UserError(ValueError):
    """A setting that is not possible."""


def unknown(kind, value, known):
    """Return the error for a name that does not exist."""
    return UserError(f"unknown {kind} {value!r}; known: {', '.join(known)}")


def must_take(*_, **__):
    """Check nothing: the images of the set fit the network."""


def pretrained(module, weights, adapt, *, last, **_):
    """Load pretrained weights, set the last layer to zeros with ones as bias, and freeze all that does not adapt."""
    if weights:
        stored, path = {}, Path(weights)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            stored = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
        wanted = dict(module.named_parameters())
        kept = {name: value.float() for name, value in stored.items() if name in wanted and not name.startswith(last)}
        module.load_state_dict(kept, strict=False)
        nn.init.zeros_(module.get_submodule(last).weight)
        nn.init.ones_(module.get_submodule(last).bias)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(adapt == "all" or name.startswith("classifier."))
    return module
