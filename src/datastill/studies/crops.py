"""Large photographs with labels of a teacher: crops that it is sure of, and random real images beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..artifact.scores import SCORE
from ..config import Config
from ..data import DataSettings, RealData, load_data
from ..device import pick_device
from ..evaluation import Protocol, difference, score
from ..making import make
from ..methods import Method
from ..methods.selection import RandomReal
from ..methods.teacher_crops import TeacherCrops
from ..methods.teacher_labels import TeacherLabels
from ..networks.start import Pretrained
from ..pretraining import PoolSettings, pretrain
from .base import Part, Records, Study
from .reference_cells import kept
from .rows import count_and_accuracy, scores_of

PROGRAM = "shuffled-300-adam"
TEMPERATURE = 20.0
"""T of the loss, as for RDED."""
METHODS: Mapping[str, tuple[str, Method]] = {
    "random": ("random real images", RandomReal(program=PROGRAM)),
    "crops": ("four crops in an image (RDED)", TeacherCrops(factor=2, program=PROGRAM)),
}
"""Name -> title and method of the sets, all with an equal program; the teacher is filled in."""


@dataclass(frozen=True, kw_only=True)
class Crops(Study):
    """A study of sets whose labels a teacher gives at use; each set is made from another seed."""

    name: str = "imagenette-crops"
    title: str = "Imagenette: crops that a teacher is sure of, and random real images under the same labels"
    teacher: PoolSettings = field(
        default_factory=lambda: PoolSettings(
            data=DataSettings(name="imagenette", validation=0.2),
            network="squeezenet(weights=squeezenet1_1_imagenet_fp16.safetensors,adapt=classifier)",
            start=Pretrained(),
            count=1,
            held_out=0,
            epochs=10,
            batch=64,
        )
    )
    """How the teacher is trained, and on which data."""
    network: str = "alexnet(weights=alexnet_features_imagenet_fp16.safetensors,adapt=classifier)"
    """The network that is trained on the sets, from the weights that it comes with."""
    epochs: Mapping[int, int] = field(default_factory=lambda: {1: 300, 10: 30})
    """Images per class -> epochs of the training on a set: as many images in all for each size."""
    sets: Mapping[int, int] = field(default_factory=lambda: {1: 15, 10: 5})
    """Images per class -> number of sets of each kind, each of which one network is trained on."""
    seconds: float = 400.0
    """Expected seconds of a part on two CPU cores."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the name, the title and the expected seconds."""
        return self.settings_except("seconds", "title", "name")

    def parts(self) -> list[Part]:
        """Return a part for the teacher, and one for each size and kind of sets."""
        kinds = [
            Part(
                name=f"{kind}-{ipc}",
                seconds=self.seconds,
                measure=lambda folder, kind=kind, ipc=ipc: self._measure(kind, ipc, folder),
            )
            for ipc in self.epochs
            for kind in METHODS
        ]
        return [Part(name="teacher", seconds=self.seconds / 3, measure=self._teach), *kinds]

    @cached_property
    def _data(self) -> RealData:
        return load_data(self.teacher.data).to(pick_device("auto"))

    def _teach(self, folder: Path) -> dict[str, Any]:
        pool = pretrain(self.teacher, self._data, _file(folder))
        return {"accuracy": pool.header["accuracies"]["training"][0], "sha256": pool.sha256}

    def _measure(self, kind: str, ipc: int, folder: Path) -> dict[str, Any]:
        if not _file(folder).exists():
            self._teach(folder)
        return {"scores": [kept(folder / f"{seed}.json", lambda seed=seed: self._score(kind, ipc, seed, folder), SCORE)
                           for seed in range(self.sets[ipc])]}  # fmt: skip

    def _score(self, kind: str, ipc: int, seed: int, folder: Path) -> dict[str, Any]:
        _, method = METHODS[kind]
        labels = TeacherLabels(teacher=str(_file(folder)), labelled="at-use", temperature=TEMPERATURE)
        config = Config(
            recipe="",
            data=self.teacher.data,
            network=self.network,
            start=Pretrained(),
            method=replace(method, ipc=ipc, teacher_labels=labels),  # type: ignore[call-arg]
            seed=seed,
        )
        protocol = Protocol(networks=1, epochs=self.epochs[ipc], seed=seed)
        return score(make(config, self._data), self._data, protocol, progress=True).as_dict()

    def text(self, records: Records) -> str:
        """Write the table: for each size, random real images and crops, and their difference."""
        lines = [line for ipc in self.epochs for line in self._rows(ipc, records)]
        scores = scores_of(records["random-1"])
        table, seconds = "\n".join(lines), sum(record["part_seconds"] for record in records.values())
        return f"""## {self.title}

The teacher is SqueezeNet with weights of ImageNet, whose new classifier was trained on all train images; it is right
on {100 * records["teacher"]["accuracy"]:.1f} % of the validation images. The student is AlexNet with weights of
ImageNet; only its new classifier, which starts at zero, is trained. The labels are those of the teacher for each batch
as it is augmented, at a temperature of {TEMPERATURE:g}. Each set is made from another seed, and one student is
trained on it. Accuracies are on {scores[0].images} test images. The last column is the accuracy on crops minus that on
random real images, in percentage points, with the 95 % interval over sets.

| images per class | set | epochs | students x sets | accuracy, % | better by |
|---|---|---|---|---|---|
{table}

Made by `datastill study {self.name}` in {seconds / 60:.0f} minutes ({scores[0].hardware}).
"""

    def _rows(self, ipc: int, records: Records) -> Sequence[str]:
        found = {kind: scores_of(records[f"{kind}-{ipc}"]) for kind in METHODS}
        better = {"random": "", "crops": str(difference(found["crops"], found["random"]))}
        return [
            f"| {ipc} | {METHODS[kind][0]} | {self.epochs[ipc]} | {count_and_accuracy(scores)} | {better[kind]} |"
            for kind, scores in found.items()
        ]


def _file(folder: Path) -> Path:
    """Return the file of the teacher, beside the folder of a part."""
    return folder.parent / "teacher.safetensors"
