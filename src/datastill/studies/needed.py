"""Studies of finished sets: the sets are found in a folder or in the package, or distilled first."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..artifact import DistilledSet
from ..bundled import load, names
from ..errors import UserError
from ..recipes import recipe as named_recipe
from ..resuming import CONFIG, SET
from ..run import distill
from ..runlog import say
from .base import Study


@dataclass(frozen=True, kw_only=True)
class OnSets(Study):
    """A study of the finished sets of some recipes."""

    results: Path = Path("results")
    """Folder that holds the distilled sets, in folders with the names of their recipes. Sets that are neither there nor
    in the package are distilled there."""
    trust: bool = False
    """Let the sets import modules and open files other than those that their recipes name."""

    def missing(self) -> Sequence[str]:
        """Return the recipes of this study whose sets are neither in `results` nor in the package."""
        return [recipe for recipe in self.recipes_needed() if self._where(recipe) is None]

    def prepare(self) -> None:
        """Distil the sets that are missing; what was stopped goes on."""
        for recipe in self.missing():
            folder = self.results / recipe
            say(f"the study {self.name} needs the set of the recipe {recipe}, which is distilled first, in {folder}")
            distill(named_recipe(recipe), folder, resume=(folder / CONFIG).exists())

    def recipes_needed(self) -> Sequence[str]:
        """Return the recipes whose finished sets this study needs."""
        raise NotImplementedError

    def find_set(self, recipe: str) -> DistilledSet:
        """Load the finished set of a recipe: from `results`, otherwise from the package.

        A set with the network of its recipe is trusted, because the recipe names the files of this network.

        Raises:
            UserError: the set is in neither.
        """
        where = self._where(recipe)
        if where is None:
            raise UserError(
                f"there is no set of the recipe {recipe} in {self.results}; it is made by: datastill study {self.name}"
            )
        found = load(where, trust=self.trust)
        return found.with_trust(found.header.network == named_recipe(recipe).network)

    def _where(self, recipe: str) -> Path | str | None:
        path = self.results / recipe / SET
        return path if path.exists() else _in_package().get(recipe)


@functools.cache
def _in_package() -> dict[str, str]:
    """Return the names of the sets in the package, by recipe."""
    return {load(name).header.config.get("recipe", ""): name for name in names()}
