"""Random real images: several sets are drawn and the best one is kept."""

from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ..data import RealData
from ..errors import at_least
from ..evaluation import Protocol, score, tuned
from ..rng import derive
from .base import Baseline, Setting, arranged
from .random_real import RandomReal


@dataclass(frozen=True, kw_only=True)
class OptimisedRandom(Baseline):
    """The best of several random real sets, measured on train images (Wang et al. 2018: the best 20 %)."""

    name: ClassVar[str] = "optimised-random"

    candidates: int = 5
    """How many random sets are drawn; the best of five is the best 20 %."""
    networks: int = 4
    """How many networks measure each set."""
    real_images: int = 1000
    """How many train images each set is measured on."""

    def __post_init__(self) -> None:
        for name in ("candidates", "networks", "real_images"):
            at_least(name, getattr(self, name), 1)

    def images(self, setting: Setting) -> Float[Tensor, "classes each *shape"]:
        """The images of the best set; all sets use the step size that is best for the first on validation images."""
        drawn = [
            RandomReal().images(replace(setting, seed=derive(setting.seed, "candidate", i)))
            for i in range(self.candidates)
        ]
        protocol = tuned(
            arranged(drawn[0], setting), setting.data_to_choose_on, Protocol(seed=setting.seed), setting.grid
        )
        return max(drawn, key=lambda images: self._judged(images, setting, replace(protocol, networks=self.networks)))

    def _judged(self, images: Tensor, setting: Setting, protocol: Protocol) -> float:
        """Accuracy on train images, which `score` is given as if they were the validation split."""
        on_train: RealData = replace(setting.data_to_choose_on, validation=setting.data_to_choose_on.train)
        one, count = arranged(images, setting), self.real_images
        return score(one, on_train, protocol, split="validation", images=count, measures=()).mean
