"""Baselines to compare a distilled set with: sets in the same file format whose examples were not learned."""

from .average import Average
from .base import Baseline, Setting, trained_by
from .core_sets import Herding, KCenter
from .k_means import KMeans
from .optimised_random import OptimisedRandom
from .random_real import RandomReal

KINDS: tuple[type[Baseline], ...] = (RandomReal, OptimisedRandom, Average, KMeans, KCenter, Herding)
BASELINES: dict[str, type[Baseline]] = {kind.name: kind for kind in KINDS}

__all__ = ["BASELINES", "Baseline", "Herding", "KCenter", "RandomReal", "Setting", "trained_by"]
