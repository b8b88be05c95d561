"""A module that only a hostile file asks for; it must never be imported."""

from torch import nn


def run(**_: object) -> nn.Module:
    return nn.Flatten()
