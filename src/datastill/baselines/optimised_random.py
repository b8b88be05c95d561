"""Random real images, drawn many times over, of which the best sets are kept."""

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
    """The best of several random sets, judged on train images (Wang et al. 2018: the best 20 %)."""

    name: ClassVar[str] = "optimised-random"

    candidates: int = 5
    """Random sets of which the best is taken: one in five is the best 20 %."""
    networks: int = 4
    """Networks that judge each set."""
    real_images: int = 1000
    """Train images that they are judged on."""

    def __post_init__(self) -> None:
        for name in ("candidates", "networks", "real_images"):
            at_least(name, getattr(self, name), 1)

    def images(self, setting: Setting) -> Float[Tensor, "classes each c h w"]:
        """Of the set that teaches train images best, with the step size that validates best for the first."""
        drawn = [
            RandomReal().images(replace(setting, seed=derive(setting.seed, "candidate", i)))
            for i in range(self.candidates)
        ]
        protocol = tuned(arranged(drawn[0], setting), setting.judged, Protocol(seed=setting.seed), setting.grid)
        return max(drawn, key=lambda images: self._judged(images, setting, replace(protocol, networks=self.networks)))

    def _judged(self, images: Tensor, setting: Setting, protocol: Protocol) -> float:
        """Accuracy on train images: they stand in the place of the validation split."""
        on_train: RealData = replace(setting.judged, validation=setting.judged.train)
        return score(arranged(images, setting), on_train, protocol, split="validation", images=self.real_images).mean
