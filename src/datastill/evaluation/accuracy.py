"""Accuracy of one network after another on the same real images."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..artifact import DistilledSet
from ..data import Split
from ..networks import Network

BATCH = {"cpu": 100, "cuda": 1000}
"""Real images in one forward pass; on CPU they stay in the cache."""
COMPILES_FROM = 500_000
"""Images to be classified, by all networks together, from which compiling on CPU (some ten seconds) pays."""


class Accuracy:
    """Share of a split that trained networks get right.

    Args:
        network: whose weights will be given.
        distilled: what they were trained on; it normalises images, and batch statistics are measured on it.
        real: the split.
        networks: how many will be measured; for many the forward pass is compiled, where there is a compiler.
    """

    def __init__(self, network: Network, distilled: DistilledSet, real: Split, networks: int = 1) -> None:
        self.network, self.distilled, self.real = network, distilled, real
        self.batch = BATCH.get(real.images.device.type, 1000)
        self._compiled = None
        if real.images.device.type == "cpu" and networks * len(real) >= COMPILES_FROM and not network.has_statistics:
            self._compiled = self._compile()

    @torch.no_grad()
    def __call__(self, theta: Float[Tensor, " size"]) -> float:
        """The share that one trained network gets right."""
        predict = self.network.predictor(theta, self.distilled.examples.flatten(0, 1).to(theta.device))
        right = 0
        for images, labels in zip(self.real.images.split(self.batch), self.real.labels.split(self.batch), strict=True):
            if self._compiled and len(images) == self.batch:
                found = self._compiled(theta, images)
            else:
                found = predict(self.distilled.normalise(images)).argmax(1)
            right += int((found == labels).sum())
        return right / len(self.real)

    def _compile(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        def classes(theta: Tensor, images: Tensor) -> Int64[Tensor, " b"]:
            return self.network.apply(theta, self.distilled.normalise(images)).argmax(1)

        compiled = torch.compile(classes, dynamic=False)
        try:
            with torch.no_grad():
                compiled(torch.zeros(self.network.size), self.real.images[: self.batch])
        except Exception:  # no compiler, or a network that it cannot take: the plain way is right, only slower
            return None
        return compiled
