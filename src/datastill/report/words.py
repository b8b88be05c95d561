"""Numbers and other facts as text for people; the page and the terminal both use these functions."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ..artifact import DistilledSet

USE_WITH_TEACHER = "the labels come from the teacher; the page of the report has the code"
"""How to use a set whose teacher gives the labels of each batch."""


def percent(fraction: int | float) -> str:
    """Write 0.9345 as ``93.5``, without the sign %, which the caller adds after a spread."""
    return f"{100 * fraction:.1f}"


def score_text(score: Mapping[str, Any]) -> str:
    """Write a score as ``93.5 ± 0.8 %``, or as ``93.5 %`` if only one network was measured."""
    return f"{spread(score['mean'], score.get('sd') if score.get('n') != 1 else None)} %"


def spread(mean: int | float, sd: int | float | None = None) -> str:
    """Write two fractions as ``93.5 ± 0.8`` (percent), or the mean alone if there is no standard deviation."""
    return percent(mean) if sd is None else f"{percent(mean)} ± {percent(sd)}"


def accuracy_text(mean: float, sd: float, count: int) -> str:
    """Write an accuracy as ``93.45% ± 0.80``, or as ``93.45%`` if only one network was measured."""
    return f"{mean:.2%}" + (f" ± {100 * sd:.2f}" if count > 1 else "")


def spread_of(values: Sequence[float]) -> str:
    """Write the mean and standard deviation of some fractions as ``93.5 ± 0.8`` (percent)."""
    return spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def number(value: int) -> str:
    """Write 10000 as ``10 000``, with a narrow no-break space."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def times_smaller(ratio: float) -> str:
    """Write a ratio with three digits: 1338.7 as ``1 340 ×``, 5.678 as ``5.68 ×``."""
    return f"{number(round(float(f'{ratio:.3g}'))) if ratio >= 100 else f'{ratio:.3g}'} ×"


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: ``1 network``, ``20 networks``."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def bytes_of(count: int) -> str:
    """Write 31440 as ``31.4 kB`` (1 kB is 1000 bytes)."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def duration(seconds: int | float) -> str:
    """Write 61 seconds as ``1 min 1 s``, and 0.52 seconds as ``0.52 s``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def measure_rows(distilled: DistilledSet, score: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Yield (title, after, before) for each measure of a score besides the accuracy; the main one comes first.

    Both values are the mean and standard deviation in percent; before training on the set, there may be none.
    """
    for measure in distilled.header.objective.measures:
        if stages := (score.get("measures") or {}).get(measure.name):
            before = f"{spread_of(stages['before'])} %" if "before" in stages else None
            yield measure.words(distilled.header.class_names), f"{spread_of(stages['after'])} %", before


def measure_text(title: str, after: str, before: str | None) -> str:
    """Write a row of `measure_rows` in one line."""
    return f"{title}: {f'{before} -> ' if before else ''}{after}"


def step_size_text(sizes: Float[Tensor, "epochs steps"]) -> str:
    """Write the lowest, median and highest step size as a sentence."""
    if sizes.numel() == 1:
        return f"One step size: {sizes.item():.3g}."
    return f"Lowest {sizes.min():.3g}, median {sizes.median():.3g}, highest {sizes.max():.3g}."
