"""What a run or a study leaves behind, changed at random: scores, logs, settings, parts of studies and sections."""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from datastill.report import write_report
from datastill.studies import STUDIES, collect, run
from datastill.studies import draw as draw_study

from .loops import begin, go_on
from .mutations import changed, changed_bytes
from .sets import BASES, SCORE
from .text import must_be_one_line

RESULTS = Path(__file__).resolve().parents[2] / "results"
DRAWN = ("steps", "along-the-program", "initialisers", "transfer", "adapt-mnist-usps", "attack-mnist")
"""Studies that are drawn without the real data."""
SET = replace(BASES[0], header=replace(BASES[0].header, score=None))
CONFIG = {
    "recipe": "digits",
    "command": "datastill distill digits",
    "version": "0.1.0",
    "config": {"data": {"name": "digits"}, "loop": {"betas": [0.9, 0.99], "clip": None}},
    "engine": {"execution": "auto"},
}
LINES: list[Any] = [
    *({"iteration": i, "objective": 2.0 / i, "gradient_norm": {"examples": 0.1}, "skipped": 0} for i in (1, 2, 3)),
    {"iteration": 3, "validation": {"mean": 0.4, "sd": 0.1, "n": 20}, "seconds": 1.5},
]


def report(folder: Path, draw: random.Random) -> None:
    """The page about a finished run, of whose files one is changed."""
    SET.save(folder / "distilled.safetensors")
    texts: dict[str, Callable[[Callable[[Any], Any]], str]] = {
        "score.json": lambda change: json.dumps(change(SCORE)),
        "config.json": lambda change: json.dumps(change(CONFIG)),
        "metrics.jsonl": lambda change: _lines(LINES, change),
    }
    spoiled = draw.choice(list(texts))
    for name, text in texts.items():
        (folder / name).write_text(text(lambda value: value), encoding="utf-8")
    _spoil(folder / spoiled, texts[spoiled], draw)
    written = write_report(folder).read_text(encoding="utf-8")
    must_be_one_line(written.replace("\n", ""))


def log(folder: Path, draw: random.Random) -> None:
    """The log of a run that goes on."""
    path = folder / "metrics.jsonl"
    begin(folder)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    _spoil(path, lambda change: _lines(lines, change), draw)
    go_on(folder)


def study(folder: Path, draw: random.Random) -> None:
    """A finished study, of whose files one is changed: its section and its picture are drawn again."""
    name = draw.choice(DRAWN)
    shutil.copytree(RESULTS / name / "parts", folder / "parts")
    shutil.copy(RESULTS / name / "study.json", folder)
    path = draw.choice([folder / "study.json", *sorted((folder / "parts").iterdir())])
    content = json.loads(path.read_text(encoding="utf-8"))
    _spoil(path, lambda change: json.dumps(change(content)), draw)
    if path.name == "study.json":
        run(STUDIES[name], folder)
    must_be_one_line(draw_study(STUDIES[name], folder).read_text(encoding="utf-8").replace("\n", ""))


def page(folder: Path, draw: random.Random) -> None:
    """The page about all results, with a section that is changed."""
    (folder / "study").mkdir()
    section = "## A study\n\n![it](figure.svg)\n\n| set | accuracy, % |\n|---|---|\n| distilled | 93.1 ± 0.8 |\n"
    (folder / "study/section.md").write_bytes(changed_bytes(section.encode(), draw))
    collect(folder, folder / "results.md")


def _lines(lines: list[Any], change: Callable[[Any], Any]) -> str:
    found = change(lines)
    return "".join(json.dumps(line) + "\n" for line in (found if isinstance(found, list) else [found]))


def _spoil(path: Path, text: Callable[[Callable[[Any], Any]], str], draw: random.Random) -> None:
    """Change a file by its values or, less often, by its bytes."""
    path.write_text(text(lambda value: changed(value, draw)), encoding="utf-8")
    if draw.random() < 0.3:
        path.write_bytes(changed_bytes(text(lambda value: value).encode(), draw))
