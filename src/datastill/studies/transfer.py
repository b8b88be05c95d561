"""A set on networks that it was not made for, beside real images on the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..baselines import BASELINES, Setting
from ..data import load_data
from ..evaluation import Difference, Grid, Protocol, compare
from ..recipes import recipe
from ..report import spread
from ..run import pick_device
from .base import Part, Records
from .needed import OnSets
from .rows import KINDS

BESIDE = {kind: KINDS[kind] for kind in ("random", "k-means")}


@dataclass(frozen=True, kw_only=True)
class Transfer(OnSets):
    """Step size, epochs and optimiser chosen for each network and each kind of set on validation images."""

    name: str = "transfer"
    title: str = "Other networks than the one it was made for"
    recipe: str = "mnist-random"
    """Which set."""
    on: Sequence[str] = ("lenet", "mlp", "convnet")
    """Which networks."""
    networks: int = 5
    """How many of each."""
    sets: int = 3
    """Sets of real images, and of centroids."""
    choose: Grid = field(default_factory=lambda: Grid(networks=2))
    """What step size, epochs and optimiser are chosen from, besides the epochs and the optimiser of ours."""
    seconds: float = 240.0
    """About how long a network takes on two CPU cores."""

    def settings(self) -> dict[str, Any]:
        """All but where the results are and how long it takes."""
        return self.settings_except("results", "seconds", "title")

    def recipes_needed(self) -> Sequence[str]:
        """One set."""
        return [self.recipe]

    def parts(self) -> list[Part]:
        """One for each network."""
        return [
            Part(name=name, seconds=self.seconds, measure=lambda _, name=name: self._measure(name)) for name in self.on
        ]

    def _measure(self, network: str) -> dict[str, Any]:
        distilled = self.find_set(self.recipe)
        data = load_data(recipe(self.recipe).data).to(pick_device("auto"))
        setting = Setting.like(distilled, data, recipe(self.recipe).data)
        groups = {"distilled": [distilled]} | {
            kind: [BASELINES[kind]().plain(replace(setting, seed=seed)) for seed in range(self.sets)] for kind in BESIDE
        }
        grid = self.choose.matching(distilled)
        protocol = Protocol(network=network, networks=self.networks)
        return {"rows": [row.as_dict() for row in compare(groups, data, protocol, grid=grid, progress=True)]}

    def text(self, records: Records) -> str:
        """A row for each network."""
        rows = []
        for network, record in records.items():
            ours, *others = record["rows"]
            cells = [spread(ours["mean"], ours["sd"])]
            for other in others:
                cells += [spread(other["mean"], other["sd"]), str(Difference(**other["difference"]))]
            title = f"**{network}** (made for it)" if network == recipe(self.recipe).network else network
            rows.append(f"| {title} | " + " | ".join(cells) + " |")
        head = "".join(f" {title}, % | ours is better by |" for title in BESIDE.values())
        table, seconds = "\n".join(rows), sum(record["part_seconds"] for record in records.values())
        return f"""## {self.title}

`results/{self.recipe}` on {self.networks} unseen networks of each architecture, beside {self.sets} sets of each
other kind on the same initial weights. The learned step sizes are not used: step size, epochs and optimiser are chosen
on validation images for each network and each kind. Differences in points, with the 95 % interval over networks.

| network | distilled, % |{head}
|---|---|{"---|---|" * len(BESIDE)}
{table}

Made by `datastill study {self.name}` in {seconds / 60:.0f} minutes.
"""
