"""The commands that show sets and names: show, export, report and list."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from ..artifact import NAME, DistilledSet
from ..baselines import BASELINES
from ..bundled import load, names
from ..data import KNOWN
from ..errors import UserError
from ..exporting import export, png_loss
from ..methods import METHODS, Method
from ..networks import INITIALISERS, NETWORKS
from ..networks.start import KINDS as STARTS
from ..objectives import KINDS as OBJECTIVES
from ..program import AUGMENTATIONS, OPTIMISERS, PROGRAMS
from ..recipes import RECIPES
from ..report import as_json, bytes_of, grid, picture_bytes, score_text, summary, write_comparison, write_report
from ..report.reading import read_run
from ..storage.files import write_whole
from ..studies import STUDIES, OnSets, Study, collect
from .computing import Computing
from .evaluating import real_data
from .output import first_line, out, print_json, say_written
from .teaching import TeacherName, taught


@dataclass(frozen=True, kw_only=True)
class Show:
    """Show a distilled set: print a summary, or write a picture of its examples.

    Examples:
      datastill show runs/digits
      datastill show set.safetensors --to grid.png
    """

    file: Positional[Path]
    """The distilled set: a file, the folder of a finished run, or the name of a set in the package."""
    to: Path | None = None
    """Write a picture to this file (.png, .jpg or .webp): one column per class, and for each step as many
    rows as it has examples of a class."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> int:
        """Print the summary, write the picture, and return the exit code."""
        distilled = load(self.file)
        if self.to:
            _ready(distilled, self.file)
            write_whole(self.to, picture_bytes(grid(distilled), self.to))
        if self.json:
            return print_json(as_json(distilled))
        out.print(summary(distilled))
        if self.to:
            out.print(f"wrote {self.to}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a distilled set in another file format: png pictures, npz arrays, parquet or csv.

    Examples:
      datastill export runs/digits --kind npz --to set.npz           a finished run, by its folder
      datastill export set.safetensors --kind png --to folder        pictures, one folder per class (8 bits, lossy)
      datastill export set.safetensors --kind npz --to set.npz       all tensors, exactly
      datastill export set.safetensors --kind parquet --to folder    for datasets.load_dataset("folder")
      datastill export set.safetensors --to folder --teacher pools/mnist-convnet.safetensors    with its labels
    """

    file: Positional[Path]
    """The distilled set: a file, the folder of a finished run, or the name of a set in the package."""
    kind: Literal["png", "npz", "parquet", "csv"] = "png"
    """File format; png, parquet and csv (rows, signals or sentences) write a folder, npz writes one file."""
    to: Path
    """File or folder to write; it must not exist yet, or be an empty folder."""
    teacher: TeacherName = ""
    json: bool = False
    """Print what was written as JSON."""

    def run(self) -> int:
        """Write the files, print where they are, and return the exit code."""
        (distilled,) = taught([_ready(load(self.file), self.file)], self.teacher)
        made = export(distilled, self.to, self.kind)
        loss = png_loss(distilled) if self.kind == "png" else None
        if self.json:
            return print_json({"file": str(made), "kind": self.kind, "loss": loss and asdict(loss)})
        say_written(made, json=False)
        if loss:
            out.print(f"{loss}; networks trained on them are less accurate than with npz or parquet")
        return 0


@dataclass(frozen=True, kw_only=True)
class Report(Computing):
    """Write the HTML page of a run again, compare runs on one page, or collect a folder of results and studies.

    Examples:
      datastill report runs/digits
      datastill report runs/digits --data digits      also show the real image that is nearest to each example
      datastill report runs/digits runs/mine --to comparison.html      a table to sort, curves and examples together
      datastill report results --to docs/results.md
    """

    folders: Positional[tuple[Path, ...]]
    """The folder of a run, the folders of several runs, or a folder that holds folders of results."""
    to: Path | None = None
    """File to write; if not given: report.html (of a run) or results.md (of results) in the folder, or comparison.html
    (of several runs) in the folder that holds them."""
    data: str = ""
    """Name or folder of the real data of one run: the page then shows the real train image that is nearest to each
    example. If not given: the page holds no real image."""
    json: bool = False
    """Print the name of the page's file as JSON."""

    def compute(self) -> int:
        """Write the page, print where it is, and return the exit code."""
        if not self.folders:
            raise UserError("no folder was given; name the folder of a run, or of results")
        for folder in self.folders:
            if os.path.isfile(folder / NAME):  # noqa: PTH113 (pathlib raises for names that are too long)
                _ready(load(folder), folder / NAME)
        if self.data and len(self.folders) > 1:
            raise UserError("--data is for the page of one run; leave it out, or name one run")
        made = write_comparison(self.folders, self.to) if len(self.folders) > 1 else self._one(self.folders[0])
        return say_written(made, json=self.json)

    def _one(self, folder: Path) -> Path:
        try:
            one = (folder / NAME).exists() or not any(folder.glob("*/"))
        except OSError as error:
            raise UserError(f"cannot read {folder}: {error.strerror or error}") from error
        if self.data and not one:
            raise UserError(f"--data is for the page of a run, but {folder} holds results; leave --data out")
        data = real_data(read_run(folder).distilled, folder / NAME, self.data) if self.data else None
        return write_report(folder, self.to, data=data) if one else collect(folder, self.to or folder / "results.md")


Kind = Literal[
    "all",
    "recipes",
    "networks",
    "starts",
    "objectives",
    "initialisers",
    "programs",
    "augmentations",
    "optimisers",
    "data",
    "methods",
    "baselines",
    "studies",
    "sets",
]

_INITIALISERS = {
    "xavier": "Normal weights with the variance 2 / (inputs + outputs of the layer).",
    "xavier-uniform": "Uniform weights with the variance 2 / (inputs + outputs of the layer).",
    "kaiming": "Normal weights with the variance 2 / inputs of the layer.",
    "orthogonal": "Weights whose rows, or columns if these are fewer, are orthogonal and have length 1.",
    "own": "The random initialisation in the network's own code (for its pretrained weights: --start pretrained).",
}


@dataclass(frozen=True, kw_only=True)
class List:
    """List the names that other commands accept: recipes, networks, programs, data, methods, baselines, sets and more.

    Examples:
      datastill list
      datastill list recipes --json
    """

    kind: Positional[Kind] = "all"
    """Which names to list."""
    json: bool = False
    """Print the list as JSON."""

    def run(self) -> int:
        """Print the names, each with one line about it, and return the exit code."""
        tables: dict[str, dict[str, str]] = {
            "recipes": {name: first_line(make) for name, make in RECIPES.items()},
            "networks": {name: first_line(make) for name, make in NETWORKS.items()},
            "starts": {each.spelling: first_line(each) for each in STARTS.values()},
            "objectives": {each.spelling: first_line(each) for each in OBJECTIVES.values()},
            "initialisers": {name: _INITIALISERS[name] for name in INITIALISERS},
            "programs": {name: each.words for name, each in PROGRAMS.items()},
            "augmentations": {name: each.words if each else "unchanged" for name, each in AUGMENTATIONS.items()},
            "optimisers": {name: each.words for name, each in OPTIMISERS.items()},
            "data": {name: known.hub or "comes with scikit-learn" for name, known in KNOWN.items()},
            "methods": {name: _with_names(method) for name, method in METHODS.items()},
            "baselines": {name: first_line(kind) for name, kind in BASELINES.items()},
            "studies": {name: _about_study(study) for name, study in STUDIES.items()},
            "sets": {name: _about_set(load(name)) for name in names()},
        }
        chosen = tables if self.kind == "all" else {self.kind: tables[self.kind]}
        if self.json:
            return print_json(chosen)
        for title, listed in chosen.items():
            out.print(title, style="bold")
            width = max(24, *map(len, listed)) + 2
            for name, text in listed.items():
                out.print(f"  {name:<{width}}{text}")
        return 0


def _ready(distilled: DistilledSet, file: Path) -> DistilledSet:
    """Return the set in a file, after loading its real data if its examples cannot be shown without it."""
    if distilled.header.space.needs_data:
        real_data(distilled, file)
    return distilled


def _about_set(distilled: DistilledSet) -> str:
    """Describe a set that comes with the package, in one line."""
    header = distilled.header
    size = bytes_of(distilled.nbytes + distilled.initial_nbytes)
    return f"{header.network}, {header.start}: {score_text(dict(header.score or {}))}, {size}"


def _with_names(method: type[Method]) -> str:
    """Return what a method does, and its names in papers."""
    return first_line(method) + (f" In papers: {', '.join(method.known_as)}." if method.known_as else "")


def _about_study(study: Study) -> str:
    """Return the title of a study, and the names of the sets that it distils first, because they are missing."""
    missing = study.missing() if isinstance(study, OnSets) else []
    return f"{study.title} (first distils {', '.join(missing)})" if missing else study.title
