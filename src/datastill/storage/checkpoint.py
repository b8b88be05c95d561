"""Checks of a checkpoint before a run goes on from it: its values have the right types, are finite and fit the run."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import UserError
from .records import FINITE, INTEGER_LIMIT, LARGEST_FLOAT, TEXT, list_of, number, record, shown, whole

COUNT = whole(0, INTEGER_LIMIT)
POSITIVE = number(0, LARGEST_FLOAT)
NUMBERS = {
    "iteration": COUNT,
    "best_iteration": COUNT,
    "skipped": COUNT,
    "best_mean": number(-1, LARGEST_FLOAT),
    "seconds": POSITIVE,
}
"""The rules of the numbers in a checkpoint."""
OF_METHOD = {"method": TEXT, "version": COUNT}
"""The rules of the name of a method and the version of its state."""
STATE = record(NUMBERS | OF_METHOD | {"identity": record({}, more=True)}, needed=(*NUMBERS, *OF_METHOD), more=True)
"""The rule of what a checkpoint holds besides tensors."""
NORMS = list_of(POSITIVE, 0, 1_000_000)
SETTINGS = {
    "Adam": {"params", "lr", "betas", "eps", "weight_decay", "amsgrad", "maximize"},
    "SGD": {"params", "lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize"},
}
"""The settings of an optimiser that every version of torch has; newer versions have more."""
MOMENTS = {"Adam": {"exp_avg", "exp_avg_sq"}, "SGD": {"momentum_buffer"}}
"""What an optimiser keeps for each learned tensor; Adam keeps the number of steps, too."""


def must_be_state(plain: Any) -> None:
    """Raise a `UserError` unless `plain` holds the values of a `RunState` that are consistent with each other."""
    STATE(plain, "state")
    learned: Any = plain.get("learned")
    _must_be_tensors("learned", learned)
    _must_be_like("averaged", cast(Any, plain.get("averaged")), learned)
    if plain.get("best"):
        _must_be_like("best", plain["best"], learned)
    _must_be_norms(plain.get("norms"), learned)
    for name in ("carried", "best_carried"):
        must_be_carried(plain.get(name), f"its {name}")


def must_be_carried(value: Any, where: str) -> None:
    """Raise a `UserError` unless a value is made of finite tensors and plain values, by names and in lists."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise UserError(f"{where} holds values that are not finite")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            TEXT(key, f"a name in {where}")
            must_be_carried(each, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for i, each in enumerate(value):
            must_be_carried(each, f"{where}[{i}]")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise UserError(f"{where} is {shown(value)}, but must be a tensor, a number, a text, True, False or None")


def must_be_optimiser(stored: Any, rules: Mapping[str, torch.optim.Optimizer]) -> None:
    """Raise a `UserError` unless stored states fit optimisers before their first step.

    Args:
        stored: by the name of the rule, what `state_dict` returned.
        rules: the optimisers of a run by the name of the rule, with one group for each learned tensor.
    """
    if not isinstance(stored, Mapping) or set(stored) != set(rules):
        raise UserError(f"it holds no state of the outer optimisers of the run, {', '.join(sorted(rules))}")
    for name, rule in rules.items():
        _must_be_rule(stored[name], rule)


def _must_be_rule(stored: Any, rule: torch.optim.Optimizer) -> None:
    kind = type(rule).__name__
    if not isinstance(stored, Mapping) or not isinstance(stored.get("state"), Mapping):
        raise UserError(f"it holds no state of {kind}")
    if not _same_settings(stored.get("param_groups"), rule.state_dict()["param_groups"], SETTINGS[kind]):
        raise UserError("its optimiser has other settings than the run")
    for index, group in enumerate(rule.param_groups):
        _must_be_moments(stored["state"].get(index), group["params"][0], kind)
    if set(stored["state"]) - set(range(len(rule.param_groups))):
        raise UserError("its optimiser has state for more tensors than the run learns")


def _same_settings(stored: Any, fresh: list[dict[str, Any]], names: set[str]) -> bool:
    """Return whether two lists of optimiser groups agree in all settings except the rate, which each iteration sets."""
    if not isinstance(stored, list) or len(stored) != len(fresh):
        return False
    return all(
        isinstance(one, Mapping)
        and set(one) >= names
        and all(one[key] == value for key, value in other.items() if key in one and key != "lr")
        and FINITE.fits(one["lr"])
        for one, other in zip(stored, fresh, strict=True)
    )


def _must_be_moments(stored: Any, parameter: Tensor, kind: str) -> None:
    """Raise a `UserError` unless the state of an optimiser for one parameter has the right names and shapes."""
    if stored is None or (kind == "SGD" and stored in ({}, {"momentum_buffer": None})):  # nothing is kept, or not yet
        return
    like = dict.fromkeys(MOMENTS[kind], parameter) | ({"step": torch.zeros(())} if kind == "Adam" else {})
    if not isinstance(stored, Mapping) or set(stored) != set(like):
        raise UserError(f"its optimiser does not hold {', '.join(sorted(like))}, as {kind} does")
    _must_be_like("optimiser", stored, like)
    for name in {"step", "exp_avg_sq"} & set(like):
        if bool((stored[name] < 0).any()):
            raise UserError(f"its optimiser holds negative numbers as {name}")


def _must_be_tensors(what: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise UserError(f"it has {shown(value)} as {what}, which must be tensors by name")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise UserError(f"its {what} {shown(name)} is not a tensor of floating-point numbers")
        if not bool(tensor.isfinite().all()):
            raise UserError(f"its {what} {name!r} holds values that are not finite")


def _must_be_like(what: str, value: Any, other: Mapping[str, Tensor]) -> None:
    """Raise a `UserError` unless tensors have the names, shapes and types of other tensors."""
    _must_be_tensors(what, value)
    if set(value) != set(other):
        raise UserError(f"its {what} are {', '.join(sorted(value))}, but the run has {', '.join(sorted(other))}")
    for name, tensor in value.items():
        if tensor.shape != other[name].shape or tensor.dtype != other[name].dtype:
            raise UserError(
                f"its {what} {name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}, but the run has "
                f"{other[name].dtype} of shape {tuple(other[name].shape)}"
            )


def _must_be_norms(norms: Any, learned: Mapping[str, Tensor]) -> None:
    if not isinstance(norms, Mapping) or not set(norms) <= set(learned):
        raise UserError(f"its norms are not those of the learned tensors, {', '.join(sorted(learned))}")
    for name, values in norms.items():
        NORMS(values, f"state.norms.{name}")
