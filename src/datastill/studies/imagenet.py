"""A network trained on ImageNet, adapted with one example per class, with real images, and with all real images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet
from ..baselines import Beside
from ..config import Config
from ..data import RealData, load_data
from ..device import pick_device
from ..evaluation import score
from ..networks.start import FromPool, Random
from ..pretraining import PoolSettings, pretrain
from ..recipes import recipe
from . import rows
from .base import Part, Records
from .needed import OnSets
from .paper import NOTE
from .rows import KINDS, as_score, count_and_accuracy, scores_of


@dataclass(frozen=True, kw_only=True)
class Features(OnSets):
    """A study of sets for one pretrained network: every row starts from its pretrained weights."""

    name: str = "imagenette"
    title: str = "Imagenette: one example per class for a network trained on ImageNet"
    recipe: str = "imagenette-alexnet"
    """Recipe of the set."""
    kinds: Sequence[str] = ("random", "average")
    """Kinds of baselines."""
    sets: int = 5
    """Number of sets of each kind of baseline that depends on the seed."""
    all_data: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {
            "classifier": {"epochs": 5, "rate": 0.001, "batch": 64},
            "all": {"epochs": 3, "rate": 0.0001, "batch": 64},
        }
    )
    """Part of the network that adapts -> settings of the training on all train images."""
    seconds: float = 300.0
    """Expected seconds of a part on two CPU cores."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the folder of the results and the expected seconds."""
        return self.settings_except("results", "seconds", "title", "trust")

    def recipes_needed(self) -> Sequence[str]:
        """Return the recipe of the set."""
        return [self.recipe]

    def parts(self) -> list[Part]:
        """Return a part for each row below the distilled set."""
        kinds = [
            Part(name=kind, seconds=self.seconds, measure=lambda _, kind=kind: self._kind(kind)) for kind in self.kinds
        ]
        return kinds + [
            Part(
                name=f"all-data-{adapt}",
                seconds=self.seconds,
                measure=lambda folder, adapt=adapt: self._all(adapt, folder),
            )
            for adapt in self.all_data
        ]

    @cached_property
    def _config(self) -> Config:
        return recipe(self.recipe)

    @cached_property
    def _data(self) -> RealData:
        return load_data(self._config.data).to(pick_device("auto"))

    @cached_property
    def _ours(self) -> DistilledSet:
        return self.find_set(self.recipe)

    @cached_property
    def _beside(self) -> Beside:
        return Beside.of(self._ours, self._data, self._config.data)

    def _kind(self, kind: str) -> dict[str, Any]:
        return rows.baseline(KINDS[kind], self._beside, self.sets, 1)

    def _all(self, adapt: str, folder: Path) -> dict[str, Any]:
        network = self._config.network.replace("adapt=classifier", f"adapt={adapt}")
        settings = PoolSettings(
            data=self._config.data, network=network, start=Random("own"), count=1, held_out=0, **self.all_data[adapt]
        )
        path = folder / "network.safetensors"
        pretrain(settings, self._data, path)
        config = replace(self._beside.config, network=network, start=FromPool(str(path), 0))
        (plain,) = rows.sets(KINDS["random"], replace(self._beside, config=config), 1, tune=False)
        return {"scores": [score(plain, self._data, trained=False).as_dict()]}

    def text(self, records: Records) -> str:
        """Write the table."""
        ours, train = self._ours, len(self._data.train)
        titles = {
            **{kind: KINDS[kind].title for kind in self.kinds},
            **{
                f"all-data-{adapt}": f"all {train} train images, {how['epochs']} passes, adapting "
                + ("the classifier" if adapt == "classifier" else "all layers")
                for adapt, how in self.all_data.items()
            },
        }
        mine = as_score(dict(ours.header.score or {}))
        rows = [f"| **distilled** | {count_and_accuracy([mine])} |"]
        rows += [f"| {title} | {count_and_accuracy(scores_of(records[name]))} |" for name, title in titles.items()]
        table, about, epochs = "\n".join(rows), ours.header.provenance, ours.program.order.epochs
        seconds = sum(record["part_seconds"] for record in records.values())
        return f"""## {self.title}

The network is AlexNet: convolution layers trained on ImageNet, and a new classifier that starts at zero. Only the
classifier adapts, unless the row says otherwise. Each set has {ours.size} examples of 224x224 pixels, one per class, in
one step. Training takes {epochs} epochs on the distilled set; on the other sets, the number with the best
validation accuracy. Accuracies are on {mine.images} test images. The paper adapted such networks to PASCAL-VOC
and CUB-200, with 70.75 and 38.76 % accuracy from one example per class, and 75.57 and 41.21 % from all images (†).

| network trained on | networks x sets | accuracy, % |
|---|---|---|
{table}

{NOTE}

The distilled set was made by `datastill distill {self.recipe}` in {about["seconds"] / 60:.0f} minutes, the other rows
by `datastill study {self.name}` in {seconds / 60:.0f} minutes ({mine.hardware}).
"""
