"""Settings that would do nothing in a run: each is refused by its name instead of being ignored in silence."""

from dataclasses import fields, replace

from .artifact import DistilledSet
from .config import Config, differences
from .data import DataSettings, RealData
from .errors import UserError
from .loop import LoopSettings
from .recipes import RECIPES


def changed_settings(config: Config) -> set[str]:
    """Return the names of the settings, e.g. ``method.ipc``, that are neither the default nor that of the recipe."""
    default = Config(method=type(config.method)())
    of_recipe = RECIPES[config.recipe]() if config.recipe in RECIPES else default
    return _names(default, config) & _names(of_recipe, config)


def _names(standard: Config, config: Config) -> set[str]:
    return {line.partition(":")[0] for line in differences(standard, config)}


def must_use_warm_start(config: Config, earlier: DistilledSet | None) -> None:
    """Raise a `UserError` if the user changed a setting whose value the warm start gives instead.

    Args:
        config: the settings of the run.
        earlier: the distilled set of the warm start; None without one.
    """
    if earlier is None:
        return
    changed = changed_settings(config)
    for name, given in config.method.given_by_warm_start.items():
        if f"method.{name}" in changed:
            raise UserError(
                f"method.{name} is given, but has no effect: the run starts from the {given} of the warm start "
                f"{config.warm_start}; leave method.{name} out, or leave the warm start out"
            )
    usual = type(config.start)
    if config.start.continues and earlier.theta_0 and config.start != usual():
        raise UserError(
            f"start is {config.start}, but the run starts from the initial weights stored in the warm start "
            f"{config.warm_start}, so nothing is drawn; give {usual.spelling}, or leave the warm start out"
        )


def must_use_settings(config: Config) -> None:
    """Raise a `UserError` if the user changed a setting of the method, the loop or the grid that does nothing."""
    idle = {f"method.{name}": why for name, why in config.method.without_effect.items()} | _idle(config)
    for setting in sorted(changed_settings(config)):
        if why := idle.get(setting):
            raise UserError(f"{setting} is given, but has no effect: {why}; leave {setting} out")


def _idle(config: Config) -> dict[str, str]:
    """Return the settings of the loop and of the grid that do nothing, each with the reason."""
    found, method, rates = {}, config.method, config.method.rates()
    if not rates:
        why = f"the method {method.name} has no outer iterations"
        found |= {f"loop.{each.name}": why for each in fields(LoopSettings)}
    elif all(each.rule != "adam" for each in rates.values()):
        found["loop.betas"] = (
            f"the outer optimiser of the method {method.name} is gradient descent, and betas are Adam's"
        )
    if config.tune.is_empty and not method.has_open_program:
        found |= dict.fromkeys(("tune.networks", "tune.images"), "there is nothing to choose from (--tune.step-sizes)")
    return found


def must_use_candidates(config: Config) -> None:
    """Raise a `UserError` if several candidates are asked for, but the method has iterations, or nothing is random."""
    method = config.method
    if config.candidates > 1 and (method.rates() or not method.varies):
        why = "learns one set in outer iterations" if method.rates() else "gives every seed an equal set"
        said = f"candidates is {config.candidates}, but has no effect: the method {method.name} {why}"
        raise UserError(f"{said}; leave candidates out")


def must_use_given_data(config: Config, data: RealData) -> None:
    """Raise a `UserError` if the user changed a setting of the data, but gave data that is loaded already.

    The name of data in memory only describes it, so another name is no error.
    """
    used = replace(config, data=data.settings)
    changed = changed_settings(config) & _names(used, config)
    described = ("name", "in_memory") if config.data.in_memory else ("in_memory",)
    for name in (field.name for field in fields(DataSettings)):
        if f"data.{name}" in changed and name not in described:
            raise UserError(
                f"data.{name} is {getattr(config.data, name)!r}, but has no effect: the data is given with data=, and "
                f"was loaded with {getattr(data.settings, name)!r}; give {name} to load_data, and leave it out here"
            )
