"""Studies of networks that were trained before: a pool, and the rows that are measured on those it holds out."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet
from ..baselines import Setting
from ..data import RealData, load_data
from ..evaluation import Grid
from ..pool import Pool
from ..pretraining import PoolSettings, pretrain
from ..recipes import Config
from ..run import distill, pick_device
from .base import Part, Study


@dataclass(frozen=True, kw_only=True)
class OnPool(Study):
    """Every row on the same held-out networks of a pool, which is trained first and kept out of the results."""

    source: PoolSettings
    """The pool, and what it is trained on."""
    target: Config
    """How a set is distilled for the networks of the pool, and from what; `initial` is filled in."""
    sets: int = 3
    """Sets of each kind that varies."""
    seconds: float = 300.0
    """About how long a part takes on two CPU cores."""

    def settings(self) -> dict[str, Any]:
        """All but how long it takes."""
        return {"source": asdict(self.source), "target": asdict(self.target), "sets": self.sets}

    def named(self, rows: dict[str, Callable[[Path], dict[str, Any]]]) -> list[Part]:
        """The rows as parts; whichever comes first trains the pool."""
        return [Part(name=name, seconds=self.seconds, measure=measure) for name, measure in rows.items()]

    @cached_property
    def data(self) -> RealData:
        """What sets are distilled from and networks are measured on."""
        return load_data(self.target.data).to(pick_device("auto"))

    def pool(self, folder: Path) -> tuple[Pool, str]:
        """The pool, trained where it is not there, and what it is called as an initialiser."""
        path = folder.parent / "pool.safetensors"
        if path.exists():
            return Pool.load(path), f"pool:{path}"
        return pretrain(self.source, load_data(self.source.data).to(pick_device("auto")), path), f"pool:{path}"

    def setting(self, pool: str) -> Setting:
        """Of a baseline on this pool, which may be trained on as ours is."""
        method: Any = self.target.method
        return Setting(
            data=self.data, network=self.target.network, initialiser=pool, ipc=method.ipc, steps=method.steps,
            source=self.target.data, attack=self.target.attacked,
            grid=Grid().including(method.epochs, method.optimiser),
        )  # fmt: skip

    def about(self, folder: Path) -> dict[str, Any]:
        """What is told of the pool."""
        pool, _ = self.pool(folder)
        return {name: pool.header[name] for name in ("seconds", "accuracies")} | {"sha256": pool.sha256}

    def distilled(self, which: str, folder: Path) -> DistilledSet:
        """A set for any network of the pool, or for #0, kept beside the parts."""
        _, name = self.pool(folder)
        config = replace(self.target, recipe=self.name, initial=name + which)
        found = distill(config, folder, resume=(folder / "config.json").exists())
        found.save(folder.parent.parent / f"{folder.name}.safetensors")
        return found
