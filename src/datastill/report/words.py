"""Numbers as people read them, the same on the page and in the terminal."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..artifact import DistilledSet
from ..pool import PREFIX, is_pool


def percent(fraction: int | float) -> str:
    """0.9345 as ``93.5``; without the sign, for it may follow a spread."""
    return f"{100 * fraction:.1f}"


def score_text(score: Mapping[str, Any]) -> str:
    """``93.5 ± 0.8 %``; without a spread where only one was measured."""
    return f"{spread(score['mean'], score.get('sd') if score.get('n') != 1 else None)} %"


def spread(mean: int | float, sd: int | float | None = None) -> str:
    """``93.5 ± 0.8``, in percent; the mean alone where there is no spread."""
    return percent(mean) if sd is None else f"{percent(mean)} ± {percent(sd)}"


def spread_of(values: Sequence[float]) -> str:
    """``93.5 ± 0.8``: mean and standard deviation of some fractions, in percent."""
    return spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def number(value: int) -> str:
    """10000 as ``10 000``, with a thin space."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def plural(count: int, noun: str) -> str:
    """``1 network``, ``20 networks``."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def bytes_of(count: int) -> str:
    """31440 as ``31.4 kB`` (a kB is 1000 bytes)."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def duration(seconds: int | float) -> str:
    """61 as ``1 min 1 s``; 0.52 as ``0.52 s``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


@dataclass(frozen=True, kw_only=True)
class Start:
    """What networks that are trained on a set start from."""

    made_for: str
    """What the set was made for."""
    measured: str
    """Where those came from that it was measured with."""


def start_of(distilled: DistilledSet) -> Start:
    """The start of a set, in words."""
    header = distilled.header
    if header.initial == "fixed":
        return Start(made_for="the initial weights stored with it", measured="the initial weights stored in the set")
    if header.initial == "own":
        return Start(made_for="the weights that it comes with", measured="the weights that the network comes with")
    if is_pool(header.initialiser):
        return Start(
            made_for=f"any network of the pool {header.initialiser.removeprefix(PREFIX)}",
            measured="those that the pool holds out, unseen in distillation",
        )
    return Start(
        made_for=f"any {header.initialiser} initial weights", measured="fresh initial weights, unseen in distillation"
    )


def attack_of(distilled: DistilledSet) -> dict[str, str] | None:
    """The two classes of a set made to attack, by name: images of the first are to be classified as the second."""
    if not distilled.header.attack:
        return None
    attacked, target = (distilled.header.class_names[label] for label in distilled.header.attack)
    return {"attacked_class": attacked, "target_class": target}


def step_size_text(sizes: Float[Tensor, "epochs steps"]) -> str:
    """The lowest, middle and highest step size."""
    if sizes.numel() == 1:
        return f"One step size: {sizes.item():.3g}."
    return f"From {sizes.min():.3g} over a median of {sizes.median():.3g} to {sizes.max():.3g}."
