"""Studies of pretrained networks: a pool is trained, and its held-out networks measure every row."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet
from ..baselines import Beside
from ..config import Config, as_dict
from ..data import RealData, load_data
from ..device import pick_device
from ..errors import UserError
from ..evaluation import Grid
from ..methods.dataset_distillation import DatasetDistillation
from ..networks.pool import Pool
from ..networks.start import FromPool
from ..pretraining import PoolSettings, pretrain
from ..resuming import CONFIG
from ..run import distill
from .base import Part, Study


@dataclass(frozen=True, kw_only=True)
class OnPool(Study):
    """A study whose rows are all measured with the held-out networks of one pool, which the study trains first."""

    source: PoolSettings
    """Settings of the pool and of the data that it is trained on."""
    target: Config
    """Settings of the distillation for the networks of the pool; `start` is filled in."""
    sets: int = 3
    """Number of sets of each kind of baseline that depends on the seed."""
    onward: int | None = None
    """Snapshot from which on every one of a network is a further network to distil the set for any network with; None:
    trained networks only."""
    seconds: float = 300.0
    """Expected seconds of a part on two CPU cores."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the expected seconds."""
        later = {} if self.onward is None else {"onward": self.onward}
        return {"source": asdict(self.source), "target": as_dict(self.target), "sets": self.sets} | later

    def named(self, rows: dict[str, Callable[[Path], dict[str, Any]]]) -> list[Part]:
        """Return the rows as parts; the first one that is measured trains the pool."""
        return [Part(name=name, seconds=self.seconds, measure=measure) for name, measure in rows.items()]

    @property
    def method(self) -> DatasetDistillation:
        """The settings of the method of the target, whose programs the baselines are compared under."""
        if not isinstance(self.target.method, DatasetDistillation):
            raise UserError(f"the method is {self.target.method.name}, but must be {DatasetDistillation.name} here")
        return self.target.method

    @cached_property
    def data(self) -> RealData:
        """The real data of the target, to distil and to measure."""
        return load_data(self.target.data).to(pick_device("auto"))

    def pool(self, folder: Path) -> tuple[Pool, FromPool]:
        """Load the pool, or train it if its file is missing; return it with the start from any of its networks."""
        path = folder.parent / "pool.safetensors"
        if path.exists():
            return Pool.load(path), FromPool(str(path))
        return pretrain(self.source, load_data(self.source.data).to(pick_device("auto")), path), FromPool(str(path))

    def beside(self, start: FromPool) -> Beside:
        """Return what baselines for a pool have in common; epochs and optimiser of distilled sets are choices, too."""
        method, target = self.method, self.target
        config = Config(
            recipe="", data=target.data, network=target.network, start=start, objective=target.objective,
            tune=Grid().including(method.epochs, method.optimiser),
        )  # fmt: skip
        return Beside(config=config, data=self.data, ipc=method.ipc, steps=method.steps)

    def about(self, folder: Path) -> dict[str, Any]:
        """Return the facts about the pool that the section shows."""
        pool, _ = self.pool(folder)
        return {name: pool.header[name] for name in ("seconds", "accuracies")} | {"sha256": pool.sha256}

    def later(self) -> str:
        """Say which snapshots are networks to distil with, on a new line, if there are any."""
        if self.onward is None:
            return ""
        last = self.source.snapshots
        return f"""
The set for random pretrained networks was distilled with each of these networks at snapshots {self.onward} to {last}
of its training, of which the last one is the trained network; the held-out networks are trained."""

    def distilled(self, which: int | None, folder: Path) -> DistilledSet:
        """Distil a set for any network of the pool, or for one of them, and save it beside the parts.

        Args:
            which: number of the network; None for any network.
            folder: the folder of the run.
        """
        _, start = self.pool(folder)
        onward = self.onward if which is None else None
        start = replace(start, which=which, snapshot=onward, onward=onward is not None)
        config = replace(self.target, recipe=self.name, start=start)
        found = distill(config, folder, resume=(folder / CONFIG).exists())
        found.save(folder.parent.parent / f"{folder.name}.safetensors")
        return found
