"""The command that trains a pool of networks to start from: pretrain."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from .. import distributed
from ..data import DataSettings, load_data
from ..device import pick_device
from ..pretraining import PoolSettings, pretrain
from ..report import plural, spread_of
from ..storage.files import must_be_writable
from .computing import Computing
from .output import out, print_json


@dataclass(frozen=True, kw_only=True)
class _Unnamed(DataSettings):
    """The settings of real data: how images and splits are made."""

    name: tyro.conf.Suppress[str] = DataSettings.name


@dataclass(frozen=True, kw_only=True)
class _Settings(PoolSettings):
    """How the networks of a pool are trained, on data that the first word of the command names."""

    data: _Unnamed = field(default_factory=_Unnamed)
    """The real data."""


@dataclass(frozen=True, kw_only=True)
class Pretrain(Computing):
    """Train a pool of networks on all of the real data; distill can then start from these networks.

    If it is stopped, run it again: it goes on with the next gradient step, or after a crash from about a minute before.

    Examples:
      datastill pretrain digits --network mlp --count 20 --held-out 5
      datastill pretrain usps --data.resize 20 --data.pad 4 --count 50 --out pools/usps.safetensors
      datastill distill mnist-random --start pool:pools/usps.safetensors         from random networks of the pool
      datastill distill mnist-random --start "pool:pools/usps.safetensors#3"     from network 3 of the pool
      datastill pretrain mnist --epochs 10 --snapshots 10     also keep the weights after every epoch
      datastill distill mnist-random --start "pool:pools/mnist-lenet.safetensors@2"   from networks after two epochs
    """

    name: Positional[str]
    """Name or folder of the real data."""
    settings: Annotated[_Settings, tyro.conf.arg(name="")] = field(default_factory=_Settings)
    """Training settings."""
    out: Path | None = None
    """File of the pool; if not given: pools/DATA-NETWORK.safetensors."""
    json: bool = False
    """Print the accuracies as JSON."""

    def compute(self) -> int:
        """Train the pool, print its accuracies, and return the exit code."""
        settings = PoolSettings(
            **vars(self.settings) | {"data": DataSettings(**vars(self.settings.data) | {"name": self.name})}
        )
        path = self.out or Path("pools") / f"{Path(self.name).name}-{settings.network}.safetensors"
        distributed.on_first_rank(lambda: must_be_writable(path))
        data = distributed.on_every_rank(lambda: load_data(settings.data).to(pick_device("auto")))
        pool = pretrain(settings, data, path)
        if self.json:
            return print_json(
                {"file": str(path), "accuracies": pool.header["accuracies"], "along": pool.header.get("along", [])}
            )
        for name, title in (("training", "to distil with"), ("held_out", "held out")):
            accuracies = pool.header["accuracies"][name]
            if accuracies:
                accuracy_text = spread_of(accuracies)
                count = plural(len(accuracies), "network")
                out.print(f"{count} {title}: {accuracy_text} % of validation {data.space.nouns}")
        if along := pool.header.get("along"):
            texts = ", ".join(f"{100 * accuracy:.1f}" for accuracy in along)
            out.print(f"at snapshots 0 to {len(along) - 1}: on average {texts} % of validation {data.space.nouns}")
        out.print(f"wrote {path}\nuse:  datastill distill RECIPE --start {shlex.quote(f'pool:{path}')}")
        return 0
