"""How a set is evaluated: on which unseen networks, how many, and how they are trained on it."""

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
    """Unseen networks, trained on the set alone as it prescribes, and read once on the test split."""

    networks: int = 200
    """How many networks; 1 where the set was made for fixed initial weights and no other network is asked for, or for
    the network's own."""
    network: str = ""
    """Which network; empty for the one that the set was made for; nearest-neighbours(k=1,norm=2) trains none."""
    initialiser: str = ""
    """How initial weights are drawn; empty for the set's own; pool:FILE takes trained networks, on test images those
    that the pool holds out."""
    step_size: float = 0.0
    """One step size for all gradient steps; 0 for the set's own."""
    epochs: int = 0
    """Passes over the steps; 0 for the set's own. Those beyond the set's own take the step sizes of its last."""
    optimiser: Literal["", "sgd", "momentum", "adam"] = ""
    """Of the training; empty for the set's own."""
    augmentation: Augmentation = "none"
    """Of the examples, anew in each epoch, the same for all networks."""
    clip: float = 0.0
    """Limit on the norm of a network's gradient, a defence against sets that poison; 0 for none."""
    labels: Literal["", "hard", "soft"] = ""
    """Hard takes the most probable class of soft labels; empty for the set's own."""
    seed: int = 0
    """Of initial weights, which never coincide with those drawn while distilling, and of augmentation."""

    def __post_init__(self) -> None:
        at_least("networks to evaluate on", self.networks, 1)
        at_least("step_size", self.step_size, 0)
        at_least("epochs", self.epochs, 0)
        at_least("clip", self.clip, 0)

    def resolved(self, distilled: DistilledSet) -> "Protocol":
        """The protocol with all that the set decides filled in.

        Raises:
            UserError: the set was read from a file that is not trusted, and its network or its initial weights would
                import a module or open another file.
        """
        header = distilled.header
        same = self.network in ("", header.network)
        # of one known theta_0: stored for this network, or else what any network comes with
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
        """The set as this protocol trains on it.

        Raises:
            UserError: soft labels asked for, and the set has hard ones.
        """
        if self.labels == "soft" and distilled.hard:
            raise UserError("soft labels were asked for, but the set has hard ones; leave labels out")
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
        """One epoch as long as all were, with examples of its own in each."""
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
