"""The README.md of an export: how to train on the set without datastill."""

import html

from ..artifact import DistilledSet
from ..errors import counted
from ..parts import in_words
from ..program import Ordered, optimiser_code
from ..space import Space
from .images import png_loss
from .program import BATCH_NORM, Kind, initial_words, loss_words

REAL = {"pixels": ", with pixels in [0, 1]", "whitened": ", with pixels in [0, 1]", "tokens": ", from a list of texts"}
"""What real examples must be, by the kind of their space."""
HEAD_OF_PARQUET = "configs:\n- config_name: default\n  data_files: data/train-*.parquet\n"
READING = {
    "png": '`datasets.load_dataset("imagefolder", data_dir="FOLDER")["train"]`',
    "parquet": '`datasets.load_dataset("FOLDER")["train"]`',
    "npz": "`numpy.load(FILE)`",
    "csv": '`pandas.read_csv("rows.csv")`',
}
EXACT = {
    "png": "The exact values are in the `.safetensors` file that this folder was exported from; `--kind npz` and "
    "`--kind parquet` export them too.",
    "parquet": "The exact values, normalised as a network takes them, are in the column `example`.",
    "csv": "The last columns hold the values in the units of the real ones, with enough digits to give the exact "
    "normalised values again.",
    "npz": "The exact values, normalised as a network takes them, are in the array `inputs`.",
}


def readme(distilled: DistilledSet, kind: Kind) -> str:
    """Return the text of README.md; its first lines are for `datasets` and the Hugging Face hub."""
    head = f"---\ntags:\n- dataset-distillation\n{HEAD_OF_PARQUET if kind == 'parquet' else ''}---\n"
    header = distilled.header
    warning, title = header.objective.warning(header.class_names), header.objective.title
    first = f"# {f'{title}: ' if title else ''}{_plain(header.data)}, distilled to {distilled.size} synthetic examples"
    parts = [
        first,
        f"**{_plain(warning)}**" if warning else "",
        f"Exported by datastill as {kind}. Read it with {READING[kind]}.",
        _order(distilled, kind),
        _parts(distilled),
        _images(distilled, kind),
        _score(distilled),
        "## Train a network on it",
        _facts(distilled, kind),
        _usage(kind, distilled.header.space),
    ]
    return (head if kind != "npz" else "") + "\n\n".join(part for part in parts if part) + "\n"


def _order(distilled: DistilledSet, kind: Kind) -> str:
    ordered = isinstance(distilled.program.order, Ordered)
    place = ", batch after batch in the order of training" if ordered else ""
    if kind == "npz":
        return f"The array `inputs` has one row for each example{place}."
    step = "; `step` and `index` (the place in the batch of a step) count from 0" if ordered else ""
    return f"There is one row for each example{place}{step}."


def _parts(distilled: DistilledSet) -> str:
    words = in_words(distilled.size, len(distilled.images))
    return f"The {words}; here are the examples, as networks take them." if words else ""


def _images(distilled: DistilledSet, kind: Kind) -> str:
    if kind in ("npz", "csv"):
        return EXACT[kind]
    less = " A network trained on these images is less accurate than one trained on the exact values."
    more = f"{less if kind == 'png' else ''} {EXACT[kind]}"
    return f"**The images are an approximation, not the exact set.** {png_loss(distilled)}.{more}"


def _score(distilled: DistilledSet) -> str:
    score = distilled.header.score
    if not score:
        return ""
    spread = f" ± {100 * score['sd']:.2f}" if score.get("n", 1) > 1 else ""
    real = f"{score.get('split', 'test')} {distilled.header.space.nouns}"
    return (
        f"Networks trained on the exact values reach {100 * score['mean']:.2f}{spread} % accuracy on the "
        f"{real} (mean ± standard deviation of n = {score.get('n', 1)})."
    )


def _arrays(space: Space, kind: Kind) -> str:
    """Say where the arrays are that real examples are normalised with."""
    where = "the archive" if kind == "npz" else "`normalise.npz`"
    return f" Its arrays are {' and '.join(f'`{name}`' for name in space.arrays)} in {where}." if space.arrays else ""


def _facts(distilled: DistilledSet, kind: Kind) -> str:
    header, used = distilled.header, distilled.program
    labels = (
        "one class for each example"
        if distilled.hard
        else f"{header.labels.words}, one number of every class for each example"
    )
    bits = "\n- Precision: the values of the examples were rounded to 8 bits, and the score was measured with them."
    return f"""All numbers are in `program.json`.

- Order: {_steps(distilled)}
- Optimiser: {used.optimiser.words}; use one optimiser object for all epochs: `{optimiser_code(used.optimiser)}`.
- Step sizes: `step_sizes` has one number for each epoch and step; set it as learning rate before the step.
- Loss: {loss_words(distilled)}{_limit(used.clip)}. Labels: {labels}.
- Augmentation: {used.augmentation.words if used.augmentation else "none"}.
- Normalisation: {header.space.normalisation}; the exact examples are normalised already.{_arrays(header.space, kind)}
- Network: `{header.network}` for {header.space.words} in {distilled.classes} classes; \
its code is in `network.py`.
- Initial weights: {_plain(initial_words(distilled))}
- Batch normalisation and dropout: {BATCH_NORM}{bits if header.decode.rounds else ""}"""


def _steps(distilled: DistilledSet) -> str:
    order, batch = distilled.program.order, distilled.size // distilled.batches
    if not isinstance(order, Ordered):
        return f"{order.words}."
    epochs, steps = order.step_sizes.shape
    return (
        f"each step is one gradient step on its {counted(batch, 'example')}. Each epoch has "
        f"{counted(steps, 'step')}, in order; train for {counted(epochs, 'epoch')}. "
        "Shuffled examples or a constant learning rate give a lower accuracy."
    )


def _limit(clip: float) -> str:
    return f"; the norm of the gradient of all weights together is limited to {clip:g}" if clip else ""


def _usage(kind: Kind, space: Space) -> str:
    if kind == "npz":
        return """`fit.py` and `network.py` do this training in plain PyTorch; the archive holds them as text:

```python
import numpy
with numpy.load("set.npz") as archive:
    open("fit.py", "w", encoding="utf-8").write(str(archive["fit.py"]))
from fit import fit, make_model
model = fit(make_model("set.npz"), "set.npz")
```"""
    return f"""`fit.py` and `network.py` do this training in plain PyTorch. In this folder:

```python
from fit import fit, make_model, normalise, read_program
model = fit(make_model())
logits = model(normalise(real, read_program()))  # {space.nouns}, {space.layout} each{REAL.get(space.kind, "")}
```"""


def _plain(text: str) -> str:
    """Return text from a file or a user on one line, with its markup escaped."""
    return html.escape(" ".join(text.split()), quote=False)
