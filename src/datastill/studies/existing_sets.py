"""Studies of finished sets: the accuracy along the program, and from other initial weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..data import load_data
from ..device import pick_device
from ..evaluation import Protocol, score
from ..networks import INITIALISERS
from ..networks.start import Random
from ..recipes import recipe
from ..report import Line, plural, spread
from .base import Part, Records
from .needed import OnSets


@dataclass(frozen=True, kw_only=True)
class Mismatch(OnSets):
    """A study of a set for random initial weights with initialisers that it was not made for."""

    name: str = "initialisers"
    title: str = "The mismatch of initialisers"
    recipe: str = "mnist-random"
    """Recipe of the set."""
    networks: int = 50
    """Number of networks for each initialiser."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the folder of the results."""
        return {"recipe": self.recipe, "networks": self.networks}

    def recipes_needed(self) -> Sequence[str]:
        """Return the recipe of the set."""
        return [self.recipe]

    def parts(self) -> list[Part]:
        """Return a part for each initialiser."""
        return [
            Part(name=name, seconds=20.0, measure=lambda _, name=name: self._measure(name)) for name in INITIALISERS
        ]

    def _measure(self, initialiser: str) -> dict[str, Any]:
        distilled = self.find_set(self.recipe)
        data = load_data(recipe(self.recipe).data).to(pick_device("auto"))
        protocol = Protocol(networks=self.networks, start=Random(initialiser))
        return {"score": score(distilled, data, protocol, progress=True).as_dict()}

    def text(self, records: Records) -> str:
        """Write the table of initialisers."""
        made_for, rows = recipe(self.recipe).start.drawn_by, []
        for name, record in records.items():
            found = record["score"]
            title = f"**{name}** (made for it)" if name == made_for else name
            rows.append(f"| {title} | {spread(found['mean'], found['sd'])} |")
        table = "\n".join(rows)
        return f"""## {self.title}: a set made for {made_for}

Accuracy of {self.networks} networks trained on `results/{self.recipe}`, for each initialiser of their initial weights.

| initialiser | accuracy, % |
|---|---|
{table}

Made by `datastill study {self.name}`.
"""


@dataclass(frozen=True, kw_only=True)
class Along(OnSets):
    """A study of the accuracy after each gradient step of the program of a set."""

    name: str = "along-the-program"
    title: str = "Accuracy along the program"
    recipes: Sequence[str] = ("mnist-random", "mnist-random-long", "mnist-fixed")
    """Recipes of the sets."""

    def settings(self) -> dict[str, Any]:
        """Return all settings but the folder of the results."""
        return {"recipes": list(self.recipes)}

    def recipes_needed(self) -> Sequence[str]:
        """Return the recipes of the sets."""
        return self.recipes

    def parts(self) -> list[Part]:
        """Return a part for each set."""
        return [Part(name=name, seconds=1.0, measure=lambda _, name=name: self._measure(name)) for name in self.recipes]

    def _measure(self, name: str) -> dict[str, Any]:
        found = dict[str, Any](self.find_set(name).header.score or {})
        return {"curve": found["curve"]}

    def figure(self, records: Records) -> str:
        """Draw a line for each set."""
        from ..report.charts import lines_chart  # imports matplotlib, which takes a second

        curves = {name: record["curve"] for name, record in records.items()}
        lines = [
            Line(
                name=name, at=curve.get("steps") or list(range(len(curve["mean"]))), mean=curve["mean"], sd=curve["sd"]
            )
            for name, curve in curves.items()
        ]
        return lines_chart(lines, "gradient steps")

    def text(self, records: Records) -> str:
        """Write the picture and what it was measured on."""
        curves = {name: record["curve"] for name, record in records.items()}
        about = "; ".join(
            f"`results/{name}`: {plural(curve['networks'], 'network')}, {curve['images']} {curve['split']} images"
            for name, curve in curves.items()
        )
        return f"""## {self.title}

![{self.title}](figure.svg)

Measured with {about}.

Made by `datastill study {self.name}`.
"""
