"""A distilled set with networks that it was not made for, and real images with the same networks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..baselines import Beside
from ..data import load_data
from ..device import pick_device
from ..evaluation import Difference, Grid, Protocol, compare
from ..recipes import recipe
from ..report import spread
from . import rows
from .base import Part, Records
from .needed import OnSets
from .rows import KINDS

BESIDE = {name: KINDS[name] for name in ("random", "k-means")}
"""Baselines beside the distilled set."""


@dataclass(frozen=True, kw_only=True)
class Transfer(OnSets):
    """A study of other networks. Step size, epochs and optimiser are chosen for each network and kind of set."""

    name: str = "transfer"
    title: str = "Networks that the set was not made for"
    recipe: str = "mnist-random"
    """Recipe of the set."""
    on: Sequence[str] = ("lenet", "mlp", "convnet")
    """Architectures of networks."""
    networks: int = 5
    """Number of networks of each architecture."""
    sets: int = 3
    """Number of sets of each kind of baseline."""
    choose: Grid = field(default_factory=lambda: Grid(networks=2))
    """Step sizes, epochs and optimisers to choose from; the epochs and optimiser of the distilled set are added."""
    seconds: float = 240.0
    """Expected seconds of one architecture on two CPU cores."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the folder of the results, the title and the expected seconds."""
        return self.settings_except("results", "seconds", "title", "trust")

    def recipes_needed(self) -> Sequence[str]:
        """Return the recipe of the set."""
        return [self.recipe]

    def parts(self) -> list[Part]:
        """Return a part for each architecture."""
        return [
            Part(name=name, seconds=self.seconds, measure=lambda _, name=name: self._measure(name)) for name in self.on
        ]

    def _measure(self, network: str) -> dict[str, Any]:
        distilled = self.find_set(self.recipe)
        data = load_data(recipe(self.recipe).data).to(pick_device("auto"))
        beside = Beside.of(distilled, data, recipe(self.recipe).data)
        groups = {"distilled": [distilled]} | {
            name: list(rows.sets(kind, beside, self.sets, tune=False)) for name, kind in BESIDE.items()
        }
        grid = self.choose.matching(distilled)
        protocol = Protocol(network=network, networks=self.networks)
        return {"rows": [row.as_dict() for row in compare(groups, data, protocol, grid=grid, progress=True)]}

    def text(self, records: Records) -> str:
        """Write the table, with a row for each architecture."""
        rows = []
        for network, record in records.items():
            ours, *others = record["rows"]
            cells = [spread(ours["mean"], ours["sd"])]
            for other in others:
                cells += [spread(other["mean"], other["sd"]), str(Difference(**other["difference"]))]
            title = f"**{network}** (made for it)" if network == recipe(self.recipe).network else network
            rows.append(f"| {title} | " + " | ".join(cells) + " |")
        head = "".join(f" {kind.title}, % | distilled set is better by |" for kind in BESIDE.values())
        table, seconds = "\n".join(rows), sum(record["part_seconds"] for record in records.values())
        return f"""## {self.title}

The set `results/{self.recipe}`, and {self.sets} sets of each kind of baseline, measured with {self.networks} unseen
networks of each architecture that start from the same initial weights. The learned step sizes are not used: step size,
epochs and optimiser are chosen on validation images for each architecture and each kind of set. Differences are in
percentage points, with the 95 % interval over networks.

| network | distilled set, % |{head}
|---|---|{"---|---|" * len(BESIDE)}
{table}

Made by `datastill study {self.name}` in {seconds / 60:.0f} minutes.
"""
