"""Studies of finished sets, and the search for these sets."""

import functools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..artifact import DistilledSet
from ..bundled import load, names
from ..errors import UserError
from ..recipes import recipe as named_recipe
from .base import Study


@dataclass(frozen=True, kw_only=True)
class OnSets(Study):
    """A study of the finished sets of some recipes."""

    results: Path = Path("results")
    """Folder that holds the distilled sets, in folders with the names of their recipes."""
    trust: bool = False
    """Let the sets import modules and open files other than those that their recipes name."""

    def missing(self) -> Sequence[str]:
        """Return the recipes of this study whose sets are neither in `results` nor in the package."""
        return [recipe for recipe in self.recipes_needed() if self._where(recipe) is None]

    def check(self) -> None:
        """Raise a `UserError` if a set is missing, before anything is measured."""
        if missing := self.missing():
            raise UserError(_must_be_distilled(self.name, missing, self.results))

    def recipes_needed(self) -> Sequence[str]:
        """Return the recipes whose finished sets this study needs."""
        raise NotImplementedError

    def find_set(self, recipe: str) -> DistilledSet:
        """Load the finished set of a recipe: from `results`, otherwise from the package.

        A set with the network of its recipe is trusted, because the recipe names the files of this network.

        Raises:
            UserError: the set is in neither; the message says how to make it.
        """
        where = self._where(recipe)
        if where is None:
            raise UserError(_must_be_distilled(self.name, [recipe], self.results))
        found = load(where, trust=self.trust)
        return found.with_trust(found.header.network == named_recipe(recipe).network)

    def _where(self, recipe: str) -> Path | str | None:
        path = self.results / recipe / "distilled.safetensors"
        return path if path.exists() else _in_package().get(recipe)


def _must_be_distilled(study: str, recipes: Sequence[str], results: Path) -> str:
    """Return the message that sets are missing, with the commands that make them."""
    commands = " && ".join(
        shlex.join(["datastill", "distill", recipe, "--out", str(results / recipe)]) for recipe in recipes
    )
    return f"study {study} needs distilled sets that are not in the folder {results}; make them first: {commands}"


@functools.cache
def _in_package() -> dict[str, str]:
    """Return the names of the sets in the package, by recipe."""
    return {load(name).header.config.get("recipe", ""): name for name in names()}
