"""How a set is evaluated: on which unseen networks, and how many."""

from dataclasses import dataclass

from ..artifact import DistilledSet
from ..errors import at_least


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Unseen networks, trained on the set alone as it prescribes, and read once on the test split."""

    networks: int = 200
    """How many networks; 1 where the set was made for fixed initial weights and no other network is asked for."""
    network: str = ""
    """Which network; empty for the one that the set was made for."""
    initialiser: str = ""
    """How initial weights are drawn; empty for the set's own."""
    seed: int = 0
    """Of the initial weights, which never coincide with those drawn while distilling."""

    def __post_init__(self) -> None:
        at_least("networks to evaluate on", self.networks, 1)

    def resolved(self, distilled: DistilledSet) -> "Protocol":
        """The same protocol with nothing left empty."""
        header = distilled.header
        own = self.network in ("", header.network) and self.initialiser == ""
        return Protocol(
            networks=1 if own and header.initial == "fixed" else self.networks,
            network=self.network or header.network,
            initialiser="fixed" if own and header.initial == "fixed" else self.initialiser or header.initialiser,
            seed=self.seed,
        )
