"""The protocol of an evaluation: which networks, how many, and how they are trained on the set."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from .. import trust
from ..artifact import DistilledSet
from ..data import Augmentation, augmented
from ..errors import UserError, at_least
from ..rng import generator


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The settings of an evaluation: networks that distilling never saw are trained on the set and then measured."""

    networks: int = 200
    """How many networks are trained and measured. Always 1 if training starts from weights that the set stores or that
    the network already has."""
    network: str = ""
    """The architecture. Empty: the one that the set was made for. nearest-neighbours(k=1,norm=2) trains no network."""
    initialiser: str = ""
    """How initial weights are drawn. Empty: as the set asks for. pool:FILE: from trained networks of a pool; scores on
    test images use its held-out networks."""
    step_size: float = 0.0
    """One step size for all gradient steps. 0: the step sizes of the set."""
    epochs: int = 0
    """Passes over the steps of the set. 0: as many as the set has step sizes for. Any further epoch repeats the step
    sizes of the set's last epoch."""
    optimiser: Literal["", "sgd", "momentum", "adam"] = ""
    """The optimiser of the training. Empty: the optimiser of the set."""
    augmentation: Augmentation = "none"
    """Augmentation of the synthetic examples, drawn anew in each epoch, with the same draws for all networks."""
    clip: float = 0.0
    """Largest norm of the gradient of one network; a longer gradient is scaled to it, a defence against poisoned sets.
    0: no limit."""
    labels: Literal["", "hard", "soft"] = ""
    """Type of the labels. hard: the most probable class of each soft label. Empty: the labels of the set."""
    seed: int = 0
    """Seed of initial weights and of augmentation. Evaluation never draws the initial weights used for distilling."""

    def __post_init__(self) -> None:
        at_least("networks to evaluate on", self.networks, 1)
        at_least("step_size", self.step_size, 0)
        at_least("epochs", self.epochs, 0)
        at_least("clip", self.clip, 0)

    def resolved(self, distilled: DistilledSet) -> "Protocol":
        """Return the protocol with every empty setting filled in from the set.

        Raises:
            UserError: the set was read from a file that is not trusted, and its network or its initial weights would
                import a module or open another file.
        """
        header = distilled.header
        same = self.network in ("", header.network)
        # one theta_0: the weights stored for this network, or the weights that the network already has
        fixed = self.initialiser == "" and (header.initial == "own" or (same and header.initial == "fixed"))
        if not distilled.trusted:
            if not self.network:
                trust.check_network(header.network)
            if not self.initialiser and not fixed:
                trust.check_initialiser(header.initialiser)
        return replace(
            self,
            networks=1 if fixed else self.networks,
            network=self.network or header.network,
            initialiser="fixed" if fixed else self.initialiser or header.initialiser,
            epochs=self.epochs or len(distilled.step_sizes),
            optimiser=self.optimiser or header.optimiser,
            labels=self.labels or ("hard" if distilled.hard else "soft"),
        )

    def applied(self, distilled: DistilledSet) -> DistilledSet:
        """Return the set with this protocol's labels, step sizes, epochs, optimiser and augmentation.

        Raises:
            UserError: the protocol asks for soft labels, but the set has hard labels.
        """
        if self.labels == "soft" and distilled.hard:
            raise UserError("labels is 'soft', but the set has hard labels; leave labels out")
        labels = distilled.labels.argmax(-1) if self.labels == "hard" and not distilled.hard else distilled.labels
        sizes = distilled.step_sizes
        epochs = self.epochs or len(sizes)
        sizes = sizes[torch.arange(epochs).clamp(max=len(sizes) - 1)]
        if self.step_size:
            sizes = torch.full_like(sizes, self.step_size)
        header = replace(distilled.header, optimiser=self.optimiser or distilled.header.optimiser)
        changed = replace(distilled, labels=labels, step_sizes=sizes, header=header)
        return changed if self.augmentation == "none" else self._augmented(changed)

    def _augmented(self, distilled: DistilledSet) -> DistilledSet:
        """Return the set as one long epoch that holds the steps of all epochs, each with its own augmented examples."""
        epochs = len(distilled.step_sizes)
        moved = [
            augmented(distilled.examples.flatten(0, 1), self.augmentation, generator(self.seed, "augmentation", epoch))
            for epoch in range(epochs)
        ]
        return replace(
            distilled,
            examples=torch.stack(moved).view(-1, *distilled.examples.shape[1:]),
            labels=distilled.labels.repeat(epochs, *(1 for _ in distilled.labels.shape[1:])),
            step_sizes=distilled.step_sizes.reshape(1, -1),
        )
