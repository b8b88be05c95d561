"""Charts as inline SVG: text stays text, nothing is fetched, and every id is unique on a page."""

import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from torch import Tensor

from .lines import Line

BLUE, ORANGE, GREEN, GREY, PINK = "#0072B2", "#D55E00", "#009E73", "#8A929C", "#CC79A7"
"""Colours by Okabe and Ito, which colour-blind readers can distinguish."""
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "datastill",
    "font.family": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.parse_math": False,
    "axes.edgecolor": "#B4BAC2",
    "axes.labelcolor": "#4A515B",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "grid.color": "#E9ECEF",
    "xtick.color": "#6A727C",
    "ytick.color": "#6A727C",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}
PAGE_COLOURS = {
    "#1C2026": "ink",
    "#4A515B": "label",
    "#6A727C": "tick",
    "#B4BAC2": "edge",
    "#E9ECEF": "grid",
    "#C9CED6": "mark",
    BLUE: "blue",
    ORANGE: "orange",
}
"""Colours that need another value on a dark page, each with the name of the CSS variable that holds it."""
RUN_COLOURS = (BLUE, ORANGE, GREEN, PINK, GREY)
DASHES = ("", "6 3", "2 2", "8 2 2 2")
"""Run i has colour i; after the last colour they come again, with the next pattern of dashes and gaps (in points)."""
Pick = Callable[[Mapping[str, Any]], tuple[Any, ...]]
"""Function that takes from a line of metrics the values to plot; None where the line lacks one."""
SIZE_IN_INCHES = (5.4, 3.2)
"""(width, height) of a chart on a page, which scales it to the space available; letters are readable on a telephone."""
WHOLE_IN_INCHES = (6.4, 3.7)
"""(width, height) of a chart in a file of its own."""
MOST_MARKED_EPOCHS = 20
"""The ends of epochs are marked if there are at most this many epochs."""
MOST_NUMBERED_CELLS = 60
"""Each cell of a heat map shows its number if there are at most this many cells."""


def step_size_chart(step_sizes: Float[Tensor, "epochs steps"]) -> str:
    """Draw the learned step sizes: bars for a single epoch or a single step, otherwise a heat map of epochs x steps."""
    values = step_sizes.detach().double().cpu().numpy()
    with _figure("step-sizes") as (figure, out):
        axes = figure.subplots()
        if min(values.shape) == 1:
            _bars(axes, values)
        else:
            _heat_map(figure, axes, values)
    return out[0]


def learning_chart(lines: Sequence[Mapping[str, Any]]) -> str | None:
    """Draw objective and validation accuracy over the outer iterations; return None if `lines` has neither.

    Args:
        lines: the metrics of a run, as in ``metrics.jsonl``. Values that are not finite are left out.
    """
    objective = _series(lines, lambda line: (line.get("objective"),))
    validation = _series(lines, lambda line: (_part(line, "mean"), _part(line, "sd") or 0.0))
    panels = [panel for panel in (objective, validation) if panel.size]
    if not panels:
        return None
    with _figure("learning", height=SIZE_IN_INCHES[1] + 0.3 * (len(panels) - 1)) as (figure, out):
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        if objective.size:
            _objective(all_axes[0], objective)
        if validation.size:
            axes = all_axes[-1]
            _band(axes, *validation.T)
            axes.set(ylabel="validation accuracy")
        all_axes[-1].set(xlabel="outer iteration")
    return out[0]


def program_chart(curve: Mapping[str, Any], *, steps: int) -> str:
    """Draw the accuracy after each gradient step of the program: mean and standard deviation over networks.

    Args:
        curve: as in a score: ``mean`` and ``sd`` (fractions) after each number of ``steps`` (after every step if
            ``steps`` is missing), and ``split``.
        steps: gradient steps in an epoch; used to mark where an epoch ends.
    """
    mean = np.asarray(curve["mean"], dtype=float)
    at = np.asarray(curve.get("steps") or range(len(mean)))
    length = int(at[-1])
    with _figure("program") as (figure, out):
        axes = figure.subplots()
        epochs = range(steps, length, steps) if steps > 1 and length <= MOST_MARKED_EPOCHS * steps else ()
        for end in epochs:
            axes.axvline(end, color="#C9CED6", linewidth=1, linestyle=(0, (4, 3)))
        _band(axes, at, mean, np.asarray(curve.get("sd") or np.zeros(len(mean)), dtype=float))
        marked = ", dashed: end of an epoch" if epochs else ""
        axes.set_xlabel(f"gradient steps taken (of {length}{marked})")
        axes.set_ylabel(f"{curve.get('split', '')} accuracy")
        axes.set_xlim(-0.02 * (length + 1), length + 0.02 * (length + 1))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return out[0]


def lines_chart(lines: Sequence[Line], axis: str) -> str:
    """Draw accuracies as lines with bands of one standard deviation; return the text of a complete SVG file.

    Args:
        lines: the lines to draw.
        axis: the label of the horizontal axis.
    """
    with _figure("lines", whole=True) as (figure, out):
        axes = figure.subplots()
        for line, colour in zip(lines, itertools.cycle((BLUE, ORANGE, GREEN, GREY))):
            mean, sd = np.asarray(line.mean), np.asarray(line.sd)
            many = len(line.at) > 20
            axes.plot(line.at, mean, color=colour, marker="" if many else "o", markersize=4, label=line.name)
            low, high = np.maximum(mean - sd, 0), np.minimum(mean + sd, 1)
            axes.fill_between(line.at, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel=axis, ylabel="accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(_percent())
        axes.legend(loc="lower right")
    return out[0]


def runs_chart(lines: Sequence[Line | None], axis: str) -> str:
    """Draw the line of each run that has one, without names: each looks as `swatch` shows it.

    The id of each line and band ends in ``-run-I``, where I is the number of its run.

    Args:
        lines: accuracies of each run; None: the run has no line.
        axis: the label of the horizontal axis.
    """
    with _figure(axis.replace(" ", "-")) as (figure, out):
        axes = figure.subplots()
        for which, line in enumerate(lines):
            if line:
                _run_line(axes, line, which)
        axes.set(xlabel=axis, ylabel="validation accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(_percent())
    return out[0]


def _run_line(axes: Axes, line: Line, which: int) -> None:
    mean, sd = np.asarray(line.mean), np.asarray(line.sd)
    colour, dashes = _look(which)
    style = (0, tuple(map(float, dashes.split()))) if dashes else "-"
    (drawn,) = axes.plot(line.at, mean, color=colour, linestyle=style, marker="" if len(mean) > 1 else "o")
    drawn.set_gid(f"line-run-{which}")
    band = axes.fill_between(
        line.at, np.maximum(mean - sd, 0), np.minimum(mean + sd, 1), color=colour, alpha=0.12, lw=0
    )
    band.set_gid(f"band-run-{which}")


def _look(which: int) -> tuple[str, str]:
    """Return the colour and the dashes of the line of run number `which`."""
    colours = len(RUN_COLOURS)
    return RUN_COLOURS[which % colours], DASHES[which // colours % len(DASHES)]


def swatch(which: int) -> str:
    """Return a small picture of the line of run number `which`, for a legend."""
    colour, dashes = _look(which)
    line = f'<line x1="0" y1="5" x2="34" y2="5" stroke-width="3" stroke-dasharray="{dashes}" style="stroke: {colour}"/>'
    return _in_colours_of_the_page(f'<svg width="34" height="10" aria-hidden="true">{line}</svg>')


def accuracy_chart(accuracies: Sequence[float], baseline: Mapping[str, Any] | None, *, split: str) -> str:
    """Draw a histogram of the accuracies of the single networks, and of the baseline's if it was measured.

    Args:
        accuracies: one fraction per network.
        baseline: as in a score: ``kind``, ``mean``, ``best`` and optionally ``accuracies``.
        split: name of the split that the accuracies were measured on, for the label of the axis.
    """
    against = baseline or {}
    own, other = np.asarray(accuracies, dtype=float), np.asarray(against.get("accuracies") or [], dtype=float)
    both = np.concatenate([own, other])
    spread = max(float(both.max() - both.min()), 0.01)
    bins = np.linspace(both.min() - 0.02 * spread, both.max() + 0.02 * spread, 41 if len(both) > 100 else 26).tolist()
    with _figure("accuracies") as (figure, out):
        axes = figure.subplots()
        axes.hist(own, bins=bins, color=BLUE, alpha=0.85, label=f"distilled (n = {len(own)})")
        if len(other):
            axes.hist(other, bins=bins, color=ORANGE, alpha=0.75, label=f"{against['kind']} (n = {len(other)})")
        for key, style in (("mean", "--"), ("best", ":")):
            if against.get(key) is not None:
                axes.axvline(against[key], color=ORANGE, linestyle=style, label=f"{against['kind']}, {key}")
        axes.set(xlabel=f"{split} accuracy", ylabel="networks")
        axes.grid(visible=False, axis="x")
        axes.xaxis.set_major_formatter(_percent())
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0.2)
    return out[0]


def _bars(axes: Axes, values: Float[np.ndarray, "epochs steps"]) -> None:
    one_epoch = values.shape[0] == 1
    flat = values.ravel()
    at = np.arange(1, len(flat) + 1)
    if len(flat) <= 100:
        axes.bar(at, flat, color=BLUE, width=0.72 if len(flat) > 2 else 0.3)
    else:
        axes.step(at, flat, where="mid", color=BLUE)
    axes.set(xlabel="step" if one_epoch else "epoch", ylabel="step size", ylim=(0, float(flat.max()) * 1.08 or 1))
    if len(flat) <= 2:
        axes.set_xlim(0, len(flat) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=15))
    axes.grid(visible=False, axis="x")


def _heat_map(figure: Figure, axes: Axes, values: Float[np.ndarray, "epochs steps"]) -> None:
    epochs, steps = values.shape
    edges = (np.arange(steps + 1) + 0.5, np.arange(epochs + 1) + 0.5)
    line = 0.8 if values.size <= 400 else 0
    mesh = axes.pcolormesh(*edges, values, cmap="cividis", edgecolors="white", linewidth=line)
    mesh.set_rasterized(values.size > 2000)  # thousands of separate shapes would make the page slow
    figure.colorbar(mesh, ax=axes, label="step size", pad=0.02).outline.set_visible(False)
    if values.size <= MOST_NUMBERED_CELLS:
        middle = (values.min() + values.max()) / 2
        for (epoch, step), value in np.ndenumerate(values):
            ink = "white" if value <= middle else "black"
            axes.text(step + 1, epoch + 1, f"{value:.2g}", color=ink, ha="center", va="center", fontsize=9)
    axes.set(xlabel="step", ylabel="epoch")
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=12))


def _objective(axes: Axes, points: Float[np.ndarray, "points 2"]) -> None:
    at, value = points[:, 0], points[:, 1]
    window = max(1, len(value) // 50)
    axes.plot(at, value, color=GREY if window > 1 else BLUE, linewidth=0.8 if window > 1 else 1.6, alpha=0.6)
    if window > 1:  # a median, because single iterations are noisy and have outliers
        smooth = [float(np.median(value[max(0, i - window) : i + window + 1])) for i in range(len(value))]
        axes.plot(at, smooth, color=BLUE, linewidth=1.8, label=f"running median of {2 * window + 1}")
        axes.legend(loc="upper right")
    if value.min() > 0 and value.max() / value.min() > 30:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(ylabel="objective")


def _band(axes: Axes, at: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> None:
    axes.plot(at, mean, color=BLUE, marker="o" if len(at) < 40 else "", markersize=3.5, label="mean")
    axes.yaxis.set_major_formatter(_percent())
    if sd.any():  # one network has no spread
        low, high = np.maximum(mean - sd, 0), np.minimum(mean + sd, 1)
        axes.fill_between(at, low, high, color=BLUE, alpha=0.18, linewidth=0, label="± sd")
        axes.legend(loc="lower right")


def _percent() -> FuncFormatter:
    return FuncFormatter(lambda value, _: f"{round(100 * value, 6):g} %")


def _part(line: Mapping[str, Any], key: str) -> Any:
    validation = line.get("validation")
    return validation.get(key) if isinstance(validation, Mapping) else None


def _series(lines: Sequence[Mapping[str, Any]], pick: Pick) -> Float[np.ndarray, "points columns"]:
    """Return a row (iteration, values...) for each line whose values are all finite numbers."""
    rows = [(line.get("iteration"), *pick(line)) for line in lines]
    whole = [row for row in rows if all(isinstance(value, int | float) and math.isfinite(value) for value in row)]
    return np.array(whole, dtype=float).reshape(len(whole), -1 if whole else 0)


@contextmanager
def _figure(name: str, height: float | None = None, *, whole: bool = False) -> Iterator[tuple[Figure, list[str]]]:
    """Give a figure in the style of this module, and a list that holds its SVG after the block.

    The SVG is part of a page, or a complete file if `whole`.
    """
    out: list[str] = []
    width, usual = WHOLE_IN_INCHES if whole else SIZE_IN_INCHES
    ink = {} if whole else {"text.color": "#1C2026"}
    with matplotlib.rc_context(STYLE | ink):
        figure = Figure(figsize=(width, height or usual), layout="constrained", dpi=150)
        yield figure, out
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=not whole, metadata=nothing)
    out.append(buffer.getvalue() if whole else _inline(buffer.getvalue(), name))


def _inline(svg: str, name: str) -> str:
    """Make an SVG file part of a page: without XML head and addresses of schemas, with ids that begin with `name`."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    head = rf'<svg \1 class="chart" role="img" aria-label="{name.replace("-", " ")}">'
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', head, svg, count=1)
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', system-ui, sans-serif")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", svg)
    return _in_colours_of_the_page(svg)


def _in_colours_of_the_page(svg: str) -> str:
    """Replace colours by CSS variables that the page sets for light and dark; each colour is the default value."""
    for colour, name in PAGE_COLOURS.items():
        svg = re.sub(colour, f"var(--chart-{name}, {colour.lower()})", svg, flags=re.IGNORECASE)
    return svg.replace("stroke: #ffffff", "stroke: var(--card, #ffffff)")
