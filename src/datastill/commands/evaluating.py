"""The commands that measure sets: evaluate, verify and pack."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import rich.box
import tyro
from rich.table import Table
from tyro.conf import Positional

from .. import distributed
from ..artifact import NAME, DistilledSet
from ..bundled import load
from ..data import DataSettings, RealData, load_data
from ..device import pick_device
from ..errors import UserError, at_least
from ..evaluation import (
    Grid,
    Protocol,
    Row,
    answerer,
    comparable,
    compare,
    curve,
    matched,
    other_data,
    packed,
    score,
    verify,
)
from ..report import accuracy_text, bytes_of, measure_rows, measure_text, plural, score_text, snapshots, spread
from ..runlog import say
from ..storage.files import must_be_new
from ..storage.records import read
from ..trust import check_data
from .computing import Computing
from .output import out, print_json
from .teaching import TeacherName, taught


@dataclass(frozen=True, kw_only=True)
class Evaluate(Computing):
    """Train unseen networks on distilled sets alone and measure them on real data.

    If several sets are given, each is compared with the first one, on equal initial weights. The sets in a folder
    make one row of the table.

    Examples:
      datastill evaluate runs/digits/distilled.safetensors
      datastill evaluate set.safetensors --network "convnet(depth=2)" --networks 50     another architecture
      datastill evaluate set.safetensors --on lenet mlp convnet --tune                  three architectures
      datastill evaluate mine.safetensors theirs.safetensors runs/random-mnist          compare them in one table
      datastill evaluate runs/mine runs/theirs                     folders of runs that differ in their --seed
      datastill evaluate set.safetensors --network "nearest-neighbours(k=1,norm=2)"     without training a network
      datastill evaluate set.safetensors --start "random(kaiming)" --split validation
      datastill evaluate set.safetensors --data ./my-images --curve --json
    """

    files: Positional[tuple[Path, ...]]
    """Files of distilled sets, folders that hold them, or names of sets in the package."""
    protocol: Annotated[Protocol, tyro.conf.arg(name="")] = field(default_factory=Protocol)
    """How networks are trained on each set; equal for all sets."""
    on: tuple[str, ...] = ()
    """Architectures to evaluate on, instead of --network; prints one table for each."""
    tune: bool = False
    """Choose the step size from {.001, .003, .01, .03, .1, .3} and the epochs from {1, 3, 5} by validation accuracy."""
    data: str = ""
    """Name or folder of the real data; if not given: the data that the first set was made from."""
    split: Literal["test", "validation"] = "test"
    """Images to measure accuracy on: validation for every choice that you make, test only for the final number."""
    curve: bool = False
    """Also print the accuracy on validation images after each gradient step; for one set on one architecture."""
    teacher: TeacherName = ""
    trust: bool = False
    """Allow files to import modules, which runs their code, and to open other files. Only for files that you trust."""
    json: bool = False
    """Print the result as JSON."""

    def compute(self) -> int:
        """Print the score of one set, or the table of several, and return the exit code."""
        groups, data = distributed.on_every_rank(self._given)
        if self._several(groups) or self.tune:
            return self._table(groups, data)
        return self._one(next(iter(groups.values()))[0], data)

    def _given(self) -> tuple[Mapping[str, list[DistilledSet]], RealData]:
        """Load the sets, by name, and the real data to measure them on."""
        if not self.files:
            raise UserError("no set was given; name the file of a distilled set, or a folder of them")
        files = {name: _files(path) for name, path in _named(self.files).items()}
        found = {name: [load(file, trust=self.trust) for file in some] for name, some in files.items()}
        each = iter(taught([*itertools.chain(*found.values())], self.teacher))
        groups = {name: [next(each) for _ in sets] for name, sets in found.items()}
        if self.curve and (self.tune or self._several(groups)):
            raise UserError(
                "--curve is for one set on one architecture; leave --curve out, or name one file without --on and "
                "without --tune"
            )
        for network in filter(None, (*self.on, self.protocol.network)):  # a wrong name is refused before data is loaded
            answerer(network).check(next(iter(groups.values()))[0])
        if not self.data:
            comparable({name: sets[0] for name, sets in groups.items()})
        first, file = next(iter(groups.values()))[0], next(iter(files.values()))[0]
        data = real_data(first, file, self.data)
        for name, sets in groups.items():
            for one in sets:
                _say_if_other(name, one, data, self.split)
        return groups, data

    def _several(self, groups: Mapping[str, list[DistilledSet]]) -> bool:
        return bool(self.on) or sum(map(len, groups.values())) > 1

    def _one(self, distilled: DistilledSet, data: RealData) -> int:
        found = score(distilled, data, self.protocol, split=self.split, confusion=True, progress=True)
        along = curve(distilled, data, self.protocol, progress=True) if self.curve else None
        plain = found.as_dict()
        if self.json:
            return print_json(plain | ({"curve": along} if along else {}))
        out.print(f"{self.files[0]}: {found}")
        for row in measure_rows(distilled, plain):
            out.print(measure_text(*row))
        if along:
            for step, mean, sd in zip(along["steps"], along["mean"], along["sd"], strict=True):
                text = accuracy_text(mean, sd, along["networks"])
                out.print(f"  after step {step:3d}: {text} of {along['images']} validation {data.space.nouns}")
        return 0

    def _table(self, groups: Mapping[str, list[DistilledSet]], data: RealData) -> int:
        rows = compare(
            groups,
            data,
            self.protocol,
            networks=self.on,
            grid=Grid() if self.tune else None,
            split=self.split,
            progress=True,
        )
        if self.json:
            return print_json([row.as_dict() for row in rows])
        tables: dict[str, list[Row]] = {}
        for row in rows:
            tables.setdefault(row.network, []).append(row)
        for network, some in tables.items():
            out.print(_as_table(network, some))
        return 0


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """Return each path under a short name, or under its whole path if two short names are equal."""
    short = [path.parent.name if path.name == NAME else path.stem for path in files]
    unique = len(set(short)) == len(files) and all(short)
    return dict(zip(short if unique else map(str, files), files, strict=True))


def _files(path: Path) -> list[Path]:
    """Return the file of a set, or the files of all sets in a folder of files or of finished runs."""
    if not path.is_dir():
        return [path]
    files = snapshots.sets_in(path) or sorted(path.glob(f"*/{NAME}"))
    if not files:
        raise UserError(f"there is no distilled set (*.safetensors, or finished runs) in the folder {path}")
    return files


def _as_table(network: str, rows: Sequence[Row]) -> Table:
    """Return the rows of one architecture as a table for the terminal."""
    kinds = sorted({row.column for row in rows})
    table = Table(box=rich.box.SIMPLE_HEAD, show_edge=False, title=network, title_justify="left")
    table.add_column("set", overflow="fold")
    for column in (
        *(f"{kind}, %" for kind in kinds),
        "n",
        "sets",
        "sd between sets",
        "first better by",
        "size",
    ):
        table.add_column(column, overflow="fold", justify="right")
    for row in rows:
        accuracy = spread(row.mean, row.sd if row.n > 1 else None)
        accuracies = (accuracy if kind == row.column else "" for kind in kinds)
        between = "" if row.between is None else spread(row.between)
        behind = str(row.difference or "")
        table.add_row(row.name, *accuracies, str(row.n), str(row.sets), between, behind, bytes_of(row.bytes))
    table.caption = (
        "mean ± sd over n networks of all sets; first better by: points to the first set in this column, "
        "[95 % interval over networks]"
    )
    table.caption_justify = "left"
    return table


@dataclass(frozen=True, kw_only=True)
class Verify(Computing):
    """Check the claims in a distilled set: measure its score again; exit with code 1 if a claim does not hold.

    Examples:
      datastill verify results/mnist-random/distilled.safetensors
      datastill verify set.safetensors --networks 20        the first 20 of its networks, ten times as fast
    """

    file: Positional[Path]
    """The distilled set."""
    networks: int | None = None
    """How many networks of the score to measure again, counted from the first; if not given: all of them."""
    tolerance: float = 0.5
    """Largest difference to a mean, a standard deviation or a single accuracy that is claimed, in percentage points;
    machines round differently."""
    data: str = ""
    """Name or folder of the real data; if not given: the data that the set names."""
    teacher: TeacherName = ""
    trust: bool = False
    """Let the file import modules and open other files that it names. Only for files that you trust."""
    json: bool = False
    """Print the result as JSON."""

    def compute(self) -> int:
        """Print which claims hold, and return the exit code: 0 if they hold, 1 if not."""
        at_least("tolerance", self.tolerance, 0)
        (distilled,) = taught([load(self.file, trust=self.trust)], self.teacher)
        found = verify(
            distilled,
            real_data(distilled, self.file, self.data),
            networks=self.networks,
            tolerance=self.tolerance / 100,
            progress=True,
        )
        if self.json:
            print_json(found)
        else:
            verdict = "holds" if found["holds"] else "DOES NOT HOLD"
            unchecked = [each["name"] for each in found["claims"] if each["verdict"] == "not checked"]
            out.print(
                f"{self.file}: claimed {found['claimed']:.2%}, measured {found['measured']:.2%} on the same "
                f"{plural(found['n'], 'network')}: {verdict} (tolerance {self.tolerance} points; "
                f"not checked: {', '.join(unchecked) or 'nothing'})",
            )
            for each in found["claims"]:
                out.print(f"  {each['verdict']:<15}{each['name']}: {each['text']}")
        return 0 if found["holds"] else 1


@dataclass(frozen=True, kw_only=True)
class Pack(Computing):
    """Make a set four times smaller: round its examples to 8 bits, and measure its score again.

    Real images have 8 bits already, and stay as they are. Initial weights that their seed draws again are left out,
    too. A set without a score gets one, on test images.

    Examples:
      datastill pack runs/mnist-random/distilled.safetensors --to mnist-100.safetensors
    """

    file: Positional[Path]
    """The distilled set."""
    to: Path
    """The file to write."""
    data: str = ""
    """Name or folder of the real data; if not given: the data that the set names."""
    teacher: TeacherName = ""
    trust: bool = False
    """Let the file import modules and open other files that it names. Only for files that you trust."""
    json: bool = False
    """Print both scores and sizes as JSON."""

    def compute(self) -> int:
        """Write the smaller set, print both scores, and return the exit code."""
        must_be_new(self.to)
        (distilled,) = taught([load(self.file, trust=self.trust)], self.teacher)
        data = real_data(distilled, self.file, self.data)
        _say_if_other(str(self.file), distilled, data, (distilled.header.score or {}).get("split", "test"))
        small = packed(distilled, data, progress=True)
        small.save(self.to)
        scores = [each.header.score for each in (distilled, small)]
        sizes = [each.nbytes + each.initial_nbytes for each in (distilled, small)]
        if self.json:
            named = (dict(zip(("before", "after"), values, strict=True)) for values in (scores, sizes))
            return print_json({"file": str(self.to), **dict(zip(("scores", "bytes"), named, strict=True))})
        before, after = (score_text(each) if each else "not measured" for each in scores)
        out.print(f"{self.to}: {after} (before: {before}), {bytes_of(sizes[0])} before, {bytes_of(sizes[1])} after")
        return 0


def real_data(distilled: DistilledSet, file: Path, name: str = "") -> RealData:
    """Load the real data that the set in a file was made from, or the data called `name`, with its data settings."""
    return load_data(data_settings(distilled, file, name)).to(pick_device("auto"))


def _say_if_other(name: str, distilled: DistilledSet, data: RealData, split: str) -> None:
    """Say in one line if a set is measured on other data than it was made from."""
    if why := other_data(distilled, matched(distilled, data), split):
        say(f"{name}: {why}")


def data_settings(distilled: DistilledSet, file: Path, name: str = "") -> DataSettings:
    """Return the settings that load the real data of the set in a file, or the data called `name` instead.

    Raises:
        UserError: the set was read from a file that is not trusted, and names data that is not on this machine.
    """
    stored = distilled.header.config.get("data", {"name": distilled.header.data})
    settings = read(DataSettings, stored, "config.data")
    if not (name or settings.in_memory or distilled.trusted):
        check_data(settings.name, str(file))
    return settings.named(name)
