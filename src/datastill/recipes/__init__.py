"""Recipes: named full configurations, as functions that return a frozen `Config`."""

from collections.abc import Callable

from ..config import Config
from ..errors import unknown
from . import convnets, dataset_distillation, taught

RECIPES: dict[str, Callable[[], Config]] = {
    each.__name__.replace("_", "-"): each
    for each in sorted(
        (*convnets.RECIPES, *dataset_distillation.RECIPES, *taught.RECIPES), key=lambda each: each.__name__
    )
}
"""The recipes by name, which is that of the function."""


def recipe(name: str) -> Config:
    """Return the configuration of a named recipe.

    Raises:
        UserError: there is no such recipe.
    """
    if name not in RECIPES:
        raise unknown("recipe", str(name), RECIPES)
    return RECIPES[name]()
