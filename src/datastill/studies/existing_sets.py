"""Studies of sets that are there: the accuracy along the program, and from other initial weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..data import load_data
from ..evaluation import Protocol, score
from ..networks import INITIALISERS
from ..recipes import recipe
from ..report import Line, lines_chart, plural, spread
from ..run import pick_device
from .base import Part, Records
from .needed import OnSets


@dataclass(frozen=True, kw_only=True)
class Mismatch(OnSets):
    """A set for random initial weights, trained on from initialisers that it was not made for."""

    name: str = "initialisers"
    title: str = "The mismatch of initialisers"
    recipe: str = "mnist-random"
    """Which set."""
    networks: int = 50
    """Networks for each initialiser."""

    def settings(self) -> dict[str, Any]:
        """Without where the results are."""
        return {"recipe": self.recipe, "networks": self.networks}

    def recipes_needed(self) -> Sequence[str]:
        """One set."""
        return [self.recipe]

    def parts(self) -> list[Part]:
        """One for each initialiser."""
        return [
            Part(name=name, seconds=20.0, measure=lambda _, name=name: self._measure(name)) for name in INITIALISERS
        ]

    def _measure(self, initialiser: str) -> dict[str, Any]:
        distilled = self.find_set(self.recipe)
        data = load_data(recipe(self.recipe).data).to(pick_device("auto"))
        protocol = Protocol(networks=self.networks, initialiser=initialiser)
        return {"score": score(distilled, data, protocol, progress=True).as_dict()}

    def text(self, records: Records) -> str:
        """A table."""
        made_for, rows = recipe(self.recipe).initialiser, []
        for name, record in records.items():
            found = record["score"]
            title = f"**{name}** (made for it)" if name == made_for else name
            rows.append(f"| {title} | {spread(found['mean'], found['sd'])} |")
        table = "\n".join(rows)
        return f"""## {self.title}: a set made for {made_for}

`results/{self.recipe}`, trained on from other initial weights; {self.networks} networks each.

| initialiser | accuracy, % |
|---|---|
{table}

Made by `datastill study {self.name}`.
"""


@dataclass(frozen=True, kw_only=True)
class Along(OnSets):
    """The accuracy after each gradient step of a set's program."""

    name: str = "along-the-program"
    title: str = "Accuracy along the program"
    recipes: Sequence[str] = ("mnist-random", "mnist-random-long", "mnist-fixed")
    """Which sets."""

    def settings(self) -> dict[str, Any]:
        """Without where the results are."""
        return {"recipes": list(self.recipes)}

    def recipes_needed(self) -> Sequence[str]:
        """All sets that have a line."""
        return self.recipes

    def parts(self) -> list[Part]:
        """One for each set."""
        return [Part(name=name, seconds=1.0, measure=lambda _, name=name: self._measure(name)) for name in self.recipes]

    def _measure(self, name: str) -> dict[str, Any]:
        found = dict[str, Any](self.find_set(name).header.score or {})
        return {"curve": found["curve"]}

    def figure(self, records: Records) -> str:
        """A line for each set."""
        curves = {name: record["curve"] for name, record in records.items()}
        lines = [
            Line(
                name=name, at=curve.get("steps") or list(range(len(curve["mean"]))), mean=curve["mean"], sd=curve["sd"]
            )
            for name, curve in curves.items()
        ]
        return lines_chart(lines, "gradient steps")

    def text(self, records: Records) -> str:
        """Picture and what it was measured on."""
        curves = {name: record["curve"] for name, record in records.items()}
        about = "; ".join(
            f"`results/{name}`: {plural(curve['networks'], 'network')}, {curve['images']} {curve['split']} images"
            for name, curve in curves.items()
        )
        return f"""## {self.title}

![{self.title}](figure.svg)

{about}.

Made by `datastill study {self.name}`.
"""
