"""Make the folder of a finished run small enough for results/: ``python -m benchmarks.keep results/NAME``.

The set is rounded to 8 bits, if the score that is measured then is near the claimed one. All validations of the log
stay, and about `MOST_ITERATIONS` iterations: figures look alike, and more lines are not read.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datastill import DistilledSet
from datastill.artifact import NAME
from datastill.commands.evaluating import real_data
from datastill.errors import UserError
from datastill.evaluation import curve, packed
from datastill.evaluation.verify import claimed_protocol
from datastill.report.reading import SCORE
from datastill.runlog import METRICS, read_lines, say
from datastill.storage.files import write_json, write_text

MOST_ITERATIONS = 400
"""The largest number of equal distances between the iterations that a log keeps."""
TOLERANCE, OF_SD = 0.005, 0.5
"""What a mean accuracy may lose: this fraction of 1, and this fraction of a standard deviation over networks."""


def main(words: list[str] | None = None) -> None:
    """Make the folders that are named on the command line small."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keep", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of finished runs")
    for folder in parser.parse_args(words).folders:
        try:
            pack(folder)
            thin(folder / METRICS)
        except UserError as error:
            parser.error(str(error))


def thin(log: Path) -> None:
    """Leave out most iterations of a log, if there is one."""
    if lines := read_lines(log):
        write_text(log, "".join(json.dumps(each) + "\n" for each in thinned(lines)))


def thinned(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all validations, and iterations at equal distances with the first and the last one; again: no change."""
    iterations = [at for at, line in enumerate(lines) if "validation" not in line]
    every = max(1, -(-(len(iterations) - 1) // MOST_ITERATIONS))
    kept = {*iterations[::every], *iterations[-1:]}
    return [line for at, line in enumerate(lines) if "validation" in line or at in kept]


def pack(folder: Path) -> None:
    """Round the set in a folder to 8 bits, measure its score and its curve again, and keep it if the score holds."""
    whole = DistilledSet.load(folder / NAME)
    claimed, data = dict(whole.header.score or {}), real_data(whole, folder / NAME)
    small = packed(whole, data, progress=True)
    measured = dict(small.header.score or {})
    if not holds(claimed, measured):
        say(f"{folder}: {measured['mean']:.2%} with 8 bits, {claimed['mean']:.2%} before; the set stays as it is")
        return
    random_sets = {name: value for name, value in claimed.items() if name == "baseline"}
    keep(folder, small, measured | {"curve": curve(small, data, claimed_protocol(whole))} | random_sets)


def holds(claimed: dict[str, Any], measured: dict[str, Any]) -> bool:
    """Return whether a measured score has the networks of a claimed one, and loses no more than is allowed."""
    limit = TOLERANCE if claimed["n"] == 1 else min(TOLERANCE, OF_SD * claimed["sd"])
    return claimed["n"] == measured["n"] and claimed["mean"] - measured["mean"] <= limit


def keep(folder: Path, small: DistilledSet, score: dict[str, Any]) -> None:
    """Write a packed set with its score, and the score beside it."""
    small.with_score(score).save(folder / NAME)
    write_json(folder / SCORE, score)


if __name__ == "__main__":
    main()
