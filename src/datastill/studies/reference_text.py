"""The text of the reference table: what was equal for all rows, and the table of each benchmark."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import counted
from ..report import spread
from .base import Records
from .published import ALL_DATA, HIGHEST, ROWS, Published
from .reference_rows import Benchmark, Labels, Row

KINDS: Mapping[Labels, str] = {
    "hard": "hard labels",
    "soft": "learned labels",
    "teacher once": "labels that a teacher gave once, stored",
    "teacher": "labels of a teacher, of each batch",
}
"""The groups of rows: accuracies with different kinds of labels are not compared."""
COLUMNS = 10
EMPTY = "–"


def introduction(records: Records, *, parts: int, networks: int, full_epochs: int) -> str:
    """Write what was equal for all rows, and what was not run.

    Args:
        records: the measured parts.
        parts: the number of all parts.
        networks: how many networks measure each set.
        full_epochs: passes over all real images in the row of all data.
    """
    hardware = {score["hardware"] for record in records.values() for score in record.get("scores", ())}
    seconds = sum(record["part_seconds"] for record in records.values())
    took = f", in {seconds / 60:.0f} minutes ({', '.join(sorted(hardware))})" if hardware else ""
    return f"""{len(records)} of {parts} parts were measured{took}.
A part is a row of a table, or the training of the teacher or the experts of some data. Rows that were not measured are
marked "not run"; nothing is estimated.

**Budget**: at most 20 minutes on two CPU cores for each set. This includes the networks that a method trains on the
real data first: a teacher, or experts. The numbers of outer iterations were fixed from processor times of single
iterations on CIFAR-10 (one thread of an AMD EPYC processor with AVX2), not from accuracies. They are equal for all
data, and so are all settings but mirroring: digits are not mirrored. The table has the seconds that passed: of the
outer iterations, with one short validation, and of the networks that were trained first. Some cells shared their core
with other work, so that their seconds can exceed the budget. "GPU" stands behind those of a
set that was made on a GPU, with the same settings and number of iterations. Memory is the largest of the process, with
the real data and PyTorch itself, and without the memory of a GPU: compare it only where "GPU" stands in both rows or in
none, as PyTorch for a GPU takes a gigabyte more. Selections that have no seconds were measured on either.

**Evaluation**: each row is one set (seed 0), from the last iteration of its run. Networks that no run has seen
({networks} for each column) are trained on it and measured on the test split, which is read once. The spread is the
standard deviation over these networks, not over sets. `shuffled-300` is one program for all sets: ConvNet-3 of width
128, 300 epochs, SGD with momentum, siamese augmentation, cross-entropy also for labels of a teacher and for the targets
of kernel ridge regression, which become probabilities. The own program is the program of the set: learned step sizes
for dataset distillation, `shuffled-300-squared` for kernel ridge regression, `shuffled-300-adam` for all others. The
network of the third column was not used to make any set; it is trained by `shuffled-300`. Sets are made with narrower
ConvNets. The networks of a cell differ in their initial weights and share the order of batches and the augmentation,
whose draws moved the mean by another 0.8 to 1.7 points (standard deviation) in trials with ten images of digits.

**Labels**: rows with different kinds of labels are in groups of their own and are not to be compared with each other. A
teacher gives labels once at the snapshot that is as early in its training as that of Qin et al. 2024, and the labels of
each batch when it is trained. Rows whose examples are parts of stored images, enlarged, are in groups of their own,
too: they train on four times as many examples from equal bytes. Bytes are those of the file: a real pixel takes one
byte; a learned one, or one of an average, four (one after `datastill pack`); image bytes include step sizes, and label
bytes the weights of a teacher that every training needs. With one image per class k-means is the class average.

**All real images**: one network, {counted(full_epochs, "epoch")} by the same evaluator, as more do not fit into half an
hour. So this is no upper bound: sets are trained on for 300 epochs.

**Published**: [F] read in a file of the authors' repository or in the text of a paper, [I] read off a picture of
results, [T] from an issue thread. The number is of the method that it names, which may be an earlier or a later one of
the same kind, with another budget and another evaluation. "–": none was found in these sources."""


def table(
    benchmark: Benchmark,
    rows: Sequence[Row],
    records: Mapping[str, dict[str, Any] | None],
    whole: dict[str, Any] | None,
    *,
    other: str,
) -> str:
    """Write the table of a benchmark: in each group of labels, the set with the highest accuracy comes first.

    If nothing was measured, the text has the command that measures it, and no table.

    Args:
        benchmark: the data and the size of the sets.
        rows: the methods.
        records: what was measured, by the name of a row; None: it was not run.
        whole: what was measured with all real images.
        other: the architecture of the third column.
    """
    highest = HIGHEST.get(benchmark.key, {})
    lines = [f"### {benchmark.title}, {benchmark.ipc} per class\n"]
    if whole or any(records.values()):
        lines += _table(rows, records, whole, ROWS.get(benchmark.key, {}), ALL_DATA.get(benchmark.name), other)
    else:
        lines.append(f"Not run: no cell of this table. `datastill study reference --only {benchmark.key}` measures it.")
    if highest:
        best = "; ".join(f"{kind}: {each}" for kind, each in highest.items())
        lines.append(f"\nHighest published with a ConvNet: {best}.")
    return "\n".join(lines)


def _table(
    rows: Sequence[Row],
    records: Mapping[str, dict[str, Any] | None],
    whole: dict[str, Any] | None,
    published: Mapping[str, Published],
    of_all: Published | None,
    other: str,
) -> list[str]:
    """Return the lines of a table; `published` has the numbers of rows, and `of_all` is that of all real images."""
    accuracies = ("`shuffled-300`, %", "own program, %", f"{other}, %")
    costs = ("networks", "image kB", "label kB", "seconds", "memory, MB")
    return [
        "| " + " | ".join(["set", *accuracies, *costs, "published, %"]) + " |",
        "|---" * COLUMNS + "|",
        *_groups(rows, records, published),
        _line("**all real images, few epochs**", "", whole, of_all),
    ]


def _groups(
    rows: Sequence[Row], records: Mapping[str, dict[str, Any] | None], published: Mapping[str, Published]
) -> Iterator[str]:
    """Yield the lines of each kind of images and labels, after a line with its name."""
    for factor, (kind, words) in itertools.product(sorted({row.factor for row in rows}), KINDS.items()):
        group = [row for row in rows if (row.factor, row.labels) == (factor, kind)]
        some = sorted(group, key=lambda row: _order(records[row.name]))
        decoded = f", decoded: {factor**2} parts in each stored image" if factor > 1 else ""
        if some:
            yield f"| *{words}{decoded}* " + "| " * (COLUMNS - 1) + "|"
        for row in some:
            record = records[row.name]
            yield _line(row.title, _seconds(row, record) if record else "", record, published.get(row.name))


def _order(record: dict[str, Any] | None) -> float:
    """Return the key of a row for sorting: the highest accuracy first, rows that were not run last."""
    return -record["scores"][0]["mean"] if record else 1.0


def _line(title: str, seconds: str, record: dict[str, Any] | None, published: Published | None) -> str:
    cells = [*_measured(record, seconds)] if record else ["not run", *[EMPTY] * (COLUMNS - 3)]
    return "| " + " | ".join([title, *cells, str(published or EMPTY)]) + " |"


def _measured(record: dict[str, Any], seconds: str) -> Iterator[str]:
    """Yield the cells of a measured row between its title and the published number."""
    scores = record["scores"]
    for column in range(3):
        yield _accuracy(scores[column]) if column < len(scores) else EMPTY
    yield str(scores[0]["n"])
    yield f"{record['image_bytes'] / 1000:.1f}"
    yield f"{record['label_bytes'] / 1000:.1f}"
    yield seconds or EMPTY
    yield f"{record['peak_bytes'] / 1e6:.0f}" if "peak_bytes" in record else EMPTY


def _accuracy(score: dict[str, Any]) -> str:
    return spread(score["mean"], score["sd"] if score["n"] > 1 else None)


def _seconds(row: Row, record: dict[str, Any]) -> str:
    """Write the seconds of the outer iterations, and those of the networks that are trained first."""
    where = "" if record["hardware"].endswith("CPU") else " GPU"
    parts = [f"{record['seconds']:.0f}{where}"] if row.iterations else []
    parts += [f"{record['pool_seconds']:.0f} ({row.pool})"] if row.pool else []
    return " + ".join(parts)
