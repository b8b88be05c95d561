"""A network that was trained on ImageNet, adapted by one example per class, by real ones, and by all there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..artifact import DistilledSet
from ..baselines import BASELINES, RandomReal, Setting
from ..data import RealData, load_data
from ..evaluation import score
from ..pretraining import PoolSettings, pretrain
from ..recipes import Config, recipe
from ..run import pick_device
from . import rows
from .base import Part, Records
from .needed import OnSets
from .paper import NOTE
from .rows import KINDS, as_score, count_and_accuracy, scores_of


@dataclass(frozen=True, kw_only=True)
class Features(OnSets):
    """Every row begins at the network's own weights."""

    name: str = "imagenette"
    title: str = "Imagenette: one example per class for a network trained on ImageNet"
    recipe: str = "imagenette-alexnet"
    """Whose set it is, in the folder of results."""
    kinds: Sequence[str] = ("random", "average")
    sets: int = 5
    """Sets of each kind that varies."""
    all_data: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {
            "classifier": {"epochs": 5, "rate": 0.001, "batch": 64},
            "all": {"epochs": 3, "rate": 0.0001, "batch": 64},
        }
    )
    """How networks learn from all train images, by what adapts."""
    seconds: float = 300.0
    """About how long a part takes on two CPU cores."""

    def settings(self) -> dict[str, Any]:
        """All but where the results are and how long it takes."""
        return self.settings_except("results", "seconds", "title")

    def recipes_needed(self) -> Sequence[str]:
        """One set."""
        return [self.recipe]

    def parts(self) -> list[Part]:
        """One for each row below ours."""
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
    def _setting(self) -> Setting:
        return Setting.like(self._ours, self._data, self._config.data)

    def _kind(self, kind: str) -> dict[str, Any]:
        return rows.baseline(BASELINES[kind](), self._setting, self.sets, 1)

    def _all(self, adapt: str, folder: Path) -> dict[str, Any]:
        network = self._config.network.replace("adapt=classifier", f"adapt={adapt}")
        settings = PoolSettings(
            data=self._config.data, network=network, initialiser="own", count=1, held_out=0, **self.all_data[adapt]
        )
        path = folder / "network.safetensors"
        pretrain(settings, self._data, path)
        setting = replace(self._setting, network=network, initial="random", initialiser=f"pool:{path}#0")
        plain = RandomReal().plain(setting)
        return {"scores": [score(plain, self._data, trained=False).as_dict()]}

    def text(self, records: Records) -> str:
        """One table."""
        ours, train = self._ours, len(self._data.train)
        titles = {
            **{kind: KINDS[kind] for kind in self.kinds},
            **{
                f"all-data-{adapt}": f"all {train} train images, {how['epochs']} passes, adapting "
                + ("the classifier" if adapt == "classifier" else "all layers")
                for adapt, how in self.all_data.items()
            },
        }
        mine = as_score(dict(ours.header.score or {}))
        rows = [f"| **distilled** | {count_and_accuracy([mine])} |"]
        rows += [f"| {title} | {count_and_accuracy(scores_of(records[name]))} |" for name, title in titles.items()]
        table, about = "\n".join(rows), ours.header.provenance
        seconds = sum(record["part_seconds"] for record in records.values())
        return f"""## {self.title}

AlexNet's convolution layers as they were trained on ImageNet, with a new classifier that starts at zero and that alone
adapts where nothing else is said. Sets have {ours.size} examples of 224x224, one per class, in one step; ours takes
{len(ours.step_sizes)} epochs, the others what validates best. {mine.images} test images. The paper adapted such
networks to PASCAL-VOC and CUB-200: 70.75 and 38.76 % with one example per class, 75.57 and 41.21 % with all (†).

| what the network learns from | networks x sets | accuracy, % |
|---|---|---|
{table}

{NOTE}

Ours by `datastill distill {self.recipe}` in {about["seconds"] / 60:.0f} minutes, the rest by `datastill study
{self.name}` in {seconds / 60:.0f} ({mine.hardware}).
"""
