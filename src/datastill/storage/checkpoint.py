"""Checks of a checkpoint before a run goes on from it: its values have the right types, are finite and fit the run."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import UserError
from .records import FINITE, INTEGER_LIMIT, LARGEST_FLOAT, list_of, number, record, shown, whole

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
STATE = record(NUMBERS | {"identity": record({}, more=True)}, needed=tuple(NUMBERS), more=True)
"""The rule of what a checkpoint holds besides tensors."""
NORMS = list_of(POSITIVE, 0, 1_000_000)
ADAM_SETTINGS = {"params", "lr", "betas", "eps", "weight_decay", "amsgrad", "maximize"}
"""The settings of Adam that every version of torch has; newer versions have more."""
ADAM_MOMENTS = {"exp_avg", "exp_avg_sq"}
"""The averages that Adam keeps for each learned tensor, besides its number of steps."""


def must_be_state(plain: Any) -> None:
    """Raise a `UserError` unless `plain` holds the values of a `loop.State` that are consistent with each other."""
    STATE(plain, "state")
    learned: Any = plain.get("learned")
    _must_be_tensors("learned", learned)
    _must_be_like("averaged", cast(Any, plain.get("averaged")), learned)
    if plain.get("best"):
        _must_be_like("best", plain["best"], learned)
    _must_be_norms(plain.get("norms"), learned)


def must_continue(
    learned: Mapping[str, Tensor], stored: Any, start: Mapping[str, Tensor], optimiser: torch.optim.Adam
) -> None:
    """Raise a `UserError` unless a checkpoint's tensors and optimiser fit a run that starts from `start`.

    Args:
        learned: the learned tensors of the checkpoint.
        stored: the optimiser's state in the checkpoint, as from ``Adam.state_dict()``.
        start: the learned tensors that the run begins with.
        optimiser: the run's optimiser before its first step, with one group for each learned tensor.
    """
    _must_be_like("learned", learned, start)
    fresh = optimiser.state_dict()
    if not isinstance(stored, Mapping) or not isinstance(stored.get("state"), Mapping):
        raise UserError("it holds no state of Adam")
    if not _same_settings(stored.get("param_groups"), fresh["param_groups"]):
        raise UserError("its optimiser has other settings than the run")
    for index, group in enumerate(optimiser.param_groups):
        _must_be_moments(stored["state"].get(index), group["params"][0])
    if set(stored["state"]) - set(range(len(optimiser.param_groups))):
        raise UserError("its optimiser has state for more tensors than the run learns")


def _same_settings(stored: Any, fresh: list[dict[str, Any]]) -> bool:
    """Return whether two lists of optimiser groups agree in all settings except the rate, which each iteration sets."""
    if not isinstance(stored, list) or len(stored) != len(fresh):
        return False
    return all(
        isinstance(one, Mapping)
        and set(one) >= ADAM_SETTINGS
        and all(one[key] == value for key, value in other.items() if key in one and key != "lr")
        and FINITE.fits(one["lr"])
        for one, other in zip(stored, fresh, strict=True)
    )


def _must_be_moments(stored: Any, parameter: Tensor) -> None:
    """Raise a `UserError` unless the state of Adam for one parameter has the right names and shapes."""
    if stored is None:  # before the first step
        return
    if not isinstance(stored, Mapping) or set(stored) != ADAM_MOMENTS | {"step"}:
        raise UserError(f"its optimiser does not hold {', '.join(sorted(ADAM_MOMENTS))} and step, as Adam does")
    like = {"step": torch.zeros(())} | dict.fromkeys(ADAM_MOMENTS, parameter)
    _must_be_like("optimiser", stored, like)
    for name in ("step", "exp_avg_sq"):
        if bool((stored[name] < 0).any()):
            raise UserError(f"its optimiser holds negative numbers as {name}")


def _must_be_tensors(what: str, value: Any) -> None:
    if not isinstance(value, Mapping) or not value:
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
    if not isinstance(norms, Mapping) or set(norms) != set(learned):
        raise UserError(f"its norms are not those of the learned tensors, {', '.join(sorted(learned))}")
    for name, values in norms.items():
        NORMS(values, f"state.norms.{name}")
