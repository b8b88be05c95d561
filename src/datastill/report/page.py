"""One HTML page about a run, complete in one file: it loads nothing when opened, so it can be mailed and archived."""

import base64
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from ..artifact import DistilledSet
from ..data import RealData
from ..evaluation import check_command, start_words
from ..parts import in_words
from ..program import CrossEntropy, Ordered, known_name, optimiser_code
from ..runlog import METRICS
from ..storage.files import write_text
from . import rows, sentences
from .classes import classes
from .figures import caption, data_uri, grid, layout
from .nearest import Nearest, nearest
from .reading import ARTIFACT, CONFIG, PAGE, Run, read_run
from .remarks import remarks
from .snapshots import changes
from .words import (
    bytes_of,
    duration,
    measure_rows,
    number,
    percent,
    plural,
    score_text,
    step_size_text,
    times_smaller,
)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of the page. If `svg` is None, `text` says why there is no chart; otherwise it is the caption."""

    title: str
    svg: Markup | None
    text: str


def write_report(folder: str | Path, to: str | Path | None = None, *, data: RealData | None = None) -> Path:
    """Write the page about a run.

    Args:
        folder: a run folder; only ``distilled.safetensors`` is required in it.
        to: the file to write; None: ``report.html`` in the folder.
        data: the real data of the run, to show the train image that is nearest to each example; None: the page holds
            no real image.

    Returns:
        The file written.

    Raises:
        UserError: the folder or the distilled set in it is missing or broken, the page cannot be written, or the data
            does not fit the set.
    """
    run = read_run(Path(folder))
    path = Path(to) if to is not None else run.folder / PAGE
    write_text(path, render(run, nearest(run.distilled, data) if data else None))
    return path


def render(run: Run, near: Nearest | None = None) -> str:
    """Return the page as HTML; `near` holds the nearest real images, if they are to be shown."""
    distilled, config = run.distilled, run.config or {}
    shown = sentences.lines(distilled)
    changed = changes(run.folder, distilled)
    per_class = classes(run.score, distilled.header.class_names)
    header, made_for = distilled.header, distilled.header.start.made_for
    return template("page.html.jinja").render(
        title=f"{header.data.rstrip('/').rsplit('/', 1)[-1]}, distilled to {plural(distilled.size, 'example')}",
        subtitle=f"{header.method.replace('_', ' ') or 'made'} for {header.network}, trained from {made_for}",
        headline=_headline(run),
        remarks=remarks(distilled, run.score),
        warning=header.objective.warning(header.class_names),
        optimiser=distilled.program.optimiser.words,
        optimiser_code=optimiser_code(distilled.program.optimiser),
        facts=list(_facts(run)),
        lines=shown,
        values=rows.values(distilled),
        picture_width=layout(distilled).size[0] if shown is None else 0,
        picture=data_uri(grid(distilled, transparent=True)) if shown is None else "",
        caption=caption(distilled) if shown is None else sentences.caption(distilled),
        charts=list(_charts(run)),
        nearest=near,
        changes=changed,
        size=distilled.size,
        script=script("page.js") if changed else None,
        classes=per_class,
        class_names=header.class_names,
        matrix_picture=data_uri(per_class.picture) if per_class and per_class.picture else "",
        snippet=snippet(distilled),
        verify=check_command(distilled, run.folder / ARTIFACT),
        header=header,
        command=config.get("command"),
        tables=list(_tables(run)),
        missing=None if run.config is not None else f"The run folder has no {CONFIG}.",
        version=config.get("version") or header.provenance.get("datastill"),
    )


@functools.cache
def template(name: str) -> Template:
    """Return a template of this folder, which escapes every value that is put into it."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    return environment.get_template(name)


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script of a page, with the digest by which the page's policy allows it and no other."""

    text: Markup
    sha256: str
    """In base64."""


def script(name: str) -> Script:
    """Return the script in a file of this folder."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return Script(text=Markup(text), sha256=base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def snippet(distilled: DistilledSet) -> str:
    """Return Python code that trains a network on the set; it runs in the folder that holds the set."""
    header, used, start = distilled.header, distilled.program, distilled.header.start
    ordered = (
        ", in order, with the step sizes of the set" if isinstance(used.order, Ordered) else ", on shuffled batches"
    )
    imports = start.imports and f"\n{start.imports}"
    labels = header.labels.code(distilled.shape, distilled.classes)
    return f"""import torch
from datastill import DistilledSet, build_network{imports}

distilled = DistilledSet.load("{ARTIFACT}")
network = build_network({header.network!r}, shape={distilled.shape}, classes={distilled.classes})
{start.code}
{labels and chr(10) + labels}
# {plural(used.length(distilled.size), "gradient step")}{ordered}
# and {used.optimiser.words}
model = distilled.fit(model)

{header.space.sample}
predicted = model(distilled.normalise(real)).argmax(1)
"""


def _headline(run: Run) -> dict[str, str] | None:
    """Return the score and what it was measured on; None if it was not measured yet."""
    score = run.score
    if score is None:
        return None
    split, count = score.get("split", "test"), score.get("n", 1)
    networks = f"{plural(count, 'network')} trained from {run.distilled.header.start.measured}"
    for title, after, before in measure_rows(run.distilled, score):
        where = f"{title}, by {networks}, in the {split} split"
        return {"score": after, "where": where + (f" (before training on the set: {before})" if before else "")}
    where = f"{split} accuracy of {networks}" if count == 1 else f"{split} accuracy: mean ± sd of {networks}"
    if score.get("images"):
        where += f", on {number(score['images'])} real {run.distilled.header.space.nouns}"
    return {"score": score_text(score), "where": where}


def _facts(run: Run) -> Iterator[tuple[str, str, str]]:
    """Return (label, value, remark) for each box below the headline."""
    distilled = run.distilled
    for title, after, before in list(measure_rows(distilled, run.score or {}))[1:]:
        yield title, after, f"before training on the set: {before}" if before else ""
    baseline = (run.score or {}).get("baseline")
    if baseline:
        best = f", best {percent(baseline['best'])}\N{NO-BREAK SPACE}%" if baseline.get("best") is not None else ""
        sets = f"mean ± sd of {plural(baseline['sets'], 'set')}" if baseline.get("sets") else "mean ± sd"
        yield f"baseline: {baseline['kind']}", score_text(baseline), sets + best
    epochs, steps = distilled.step_sizes.shape
    each = distilled.size / distilled.classes
    labels = "hard" if distilled.hard else distilled.header.labels.words
    parts = in_words(distilled.size, len(distilled.images))
    yield "examples", number(distilled.size), f"{each:.3g} per class, labels: {labels}{f'; {parts}' if parts else ''}"
    yield "program", f"{steps} × {epochs}", _program_words(distilled)
    rule = distilled.program.optimiser
    yield "optimiser", known_name(rule) or type(rule).__name__, rule.words
    theta = distilled.initial_nbytes
    remark = f"and {bytes_of(theta)} of initial weights" if theta else "examples, labels, step sizes"
    yield "size", bytes_of(distilled.nbytes), remark
    real = distilled.header.provenance.get("real_images")
    if real:
        whole = real * distilled.header.space.stored_bytes
        yield (
            "compression",
            times_smaller(whole / (distilled.nbytes + theta)),
            f"{number(real)} real {distilled.header.space.nouns}: {bytes_of(whole)}",
        )


def _program_words(distilled: DistilledSet) -> str:
    """Return the order, and what else differs from plain training by cross-entropy, in words."""
    used, (epochs, steps) = distilled.program, distilled.step_sizes.shape
    kind = "ordered" if isinstance(used.order, Ordered) else "shuffled"
    parts = [f"{plural(steps, 'step')} × {plural(epochs, 'epoch')}, {kind}"]
    parts += [used.loss.words] if used.loss != CrossEntropy() else []
    parts += [used.augmentation.words] if used.augmentation else []
    return "; ".join([*parts, f"gradients of a norm of at most {used.clip:g}"] if used.clip else parts)


def _charts(run: Run) -> Iterator[Chart]:
    from . import charts  # imports matplotlib, which takes a second

    sizes, nouns = run.distilled.step_sizes, run.distilled.header.space.nouns
    score = run.score or {}
    unscored = "This run has no score yet; go on with datastill distill --resume."
    yield Chart(
        title="Step sizes",
        svg=_markup(charts.step_size_chart(sizes)),
        text=step_size_text(sizes),
    )
    if run.distilled.header.provenance.get("iterations") != 0:
        yield _learning(run)
    curve = score.get("curve")
    program = charts.program_chart(curve, steps=sizes.shape[1]) if curve else None
    text = "" if not curve else f"{plural(curve['networks'], 'network')}, " if curve.get("networks") else ""
    text += f"{number(curve['images'])} {curve.get('split', '')} {nouns}." if curve and curve.get("images") else ""
    none = "The score has no accuracy along the program." if score else unscored
    yield Chart(title="Accuracy along the program", svg=_markup(program), text=text if curve else none)
    single = score.get("accuracies") or []
    several = len(single) > 1
    split = score.get("split", "test")
    spread = charts.accuracy_chart(single, score.get("baseline"), split=split) if several else None
    text = "The accuracy of each network" + ("." if score.get("baseline") else "; no baseline was measured.")
    why = (
        "One network was measured, so there is no spread."
        if single
        else "The score has no accuracies of single networks."
    )
    none = why if score else unscored
    yield Chart(title="Spread over networks", svg=_markup(spread), text=text if several else none)


def _learning(run: Run) -> Chart:
    """Return the chart of the outer iterations."""
    from . import charts  # imports matplotlib, which takes a second

    learning = charts.learning_chart(run.lines)
    method = run.distilled.header.method or "the method"
    text = f"The objective is what {method} lowers. Those of different methods are different quantities."
    none = f"The run folder has no {METRICS}, or a file without a single iteration."
    return Chart(title="Distillation", svg=_markup(learning), text=text if learning else none)


def _tables(run: Run) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Return (title, rows) for each table: configuration, evaluation, versions and hardware; without empty ones."""
    config, score = run.config or {}, run.score or {}
    settings = dict(config.get("config") or run.distilled.header.config)
    if config.get("recipe"):
        settings = {"recipe": config["recipe"], **settings}
    made: dict[str, Any] = dict(run.distilled.header.provenance)
    if config.get("version"):
        made = {"datastill": config["version"], **made}
    if isinstance(made.get("validation"), float):
        made["validation"] = f"{percent(made['validation'])} %"
    skipped = max((line.get("skipped") or 0 for line in run.lines), default=0)
    if skipped:
        made["outer iterations skipped because not finite"] = skipped
    measured = {**(score.get("protocol") or {}), **{k: score[k] for k in ("hardware", "seconds") if k in score}}
    for title, values in (("Configuration", settings), ("Evaluation", measured), ("Versions and hardware", made)):
        rows = list(_rows(values))
        if rows:
            yield title, rows


def _rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if key == "start":
            yield f"{prefix}{key}", start_words(value)
        elif isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{key}.")
        elif key == "seconds" and isinstance(value, int | float):
            yield f"{prefix}time", duration(value)
        else:
            listed = isinstance(value, list | tuple)
            yield f"{prefix}{key}", ", ".join(map(_cell, value)) if listed else _cell(value)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _markup(svg: str | None) -> Markup | None:
    """Mark a chart as safe HTML: matplotlib has escaped its text."""
    return None if svg is None else Markup(svg)
