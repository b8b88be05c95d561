"""What can be asked for on the command line: one record per command, whose docstrings are its help."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from tyro.conf import Positional

from .artifact import DistilledSet
from .data import KNOWN, DataSettings, RealData, load_data
from .errors import UserError
from .evaluation import Protocol, curve, score, verify
from .export import export, png_loss
from .files import write_whole
from .methods import METHODS
from .networks import INITIALISERS, NETWORKS
from .planner import plan
from .recipes import RECIPES, Config, differences, recipe
from .report import as_json, grid, summary, write_report
from .run import distill, pick_device, prepare, stored_config

out = Console()


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Distil a dataset: learn synthetic examples, evaluate them on unseen networks, write a report.

    Examples:
      datastill distill                                        the embedded digits, under a minute
      datastill distill mnist-random --out runs/mnist          a recipe by name (datastill list recipes)
      datastill distill mnist-random --network "convnet(depth=2)" --method.ipc 5 --method.steps 5
      datastill distill --data.name ./my-images --data.resize 28 --network lenet
      datastill distill --resume --out runs/mnist              go on where it was stopped (Ctrl-C is safe)
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    """Settings; the recipe gives the defaults shown."""
    out: Path | None = None
    """Folder of the run; runs/RECIPE when left out."""
    resume: bool = False
    """Go on with the unfinished run in the folder, with its own settings."""
    json: bool = False
    """Print the score as JSON."""
    command: tyro.conf.Suppress[str] = ""
    """What was typed, for the record."""

    def run(self) -> int:
        """Distil."""
        config, folder = self.config, self.out or Path("runs") / self.config.recipe
        if self.resume:
            config = _resumed(stored_config(folder), config, folder)
        distilled = distill(config, folder, resume=self.resume, command=self.command)
        if self.json:
            return _print_json({"folder": str(folder), "score": distilled.header.score})
        _say_next(folder, distilled.header.score or {})
        return 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Say what a run would cost here before it is begun: operations, memory by mode, seconds by way of computing.

    Takes some outer iterations, which is all that it does with the data.

    Examples:
      datastill plan mnist-random
      datastill plan cifar10-random --method.epochs 10 --engine.precision float32
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    """Settings; the recipe gives the defaults shown."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Plan."""
        run = prepare(self.config)
        found = plan(self.config.method, run.problem, self.config.loop.iterations)
        if self.json:
            return _print_json(asdict(found))
        for line in found.lines(self.config.loop.iterations):
            out.print(line, highlight=False, soft_wrap=True)
        return 0


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Train unseen networks on a distilled set alone and measure them on real data.

    Examples:
      datastill evaluate runs/digits/distilled.safetensors
      datastill evaluate set.safetensors --network "convnet(depth=2)" --networks 50     another architecture
      datastill evaluate set.safetensors --initialiser kaiming --split validation
      datastill evaluate set.safetensors --data ./my-images --curve --json
    """

    file: Positional[Path]
    """The distilled set."""
    networks: int = 200
    """How many unseen networks."""
    network: str = ""
    """Another network than the set was made for."""
    initialiser: str = ""
    """Another initialiser than the set's own."""
    seed: int = 0
    """Of the initial weights."""
    data: str = ""
    """Name or folder of the real data, where it is not the set's own."""
    split: Literal["test", "validation"] = "test"
    """Choose on validation, read test once."""
    curve: bool = False
    """Also the accuracy after each step of the program (on the validation split)."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Evaluate."""
        distilled = DistilledSet.load(self.file)
        data = _data(distilled, self.data)
        protocol = Protocol(networks=self.networks, network=self.network, initialiser=self.initialiser, seed=self.seed)
        found = score(distilled, data, protocol, split=self.split, progress=True)
        along = curve(distilled, data, protocol) if self.curve else None
        if self.json:
            return _print_json(found.as_dict() | ({"curve": along} if along else {}))
        out.print(f"{self.file}: {found}", highlight=False)
        if along:
            for step, (mean, sd) in enumerate(zip(along["mean"], along["sd"], strict=True)):
                out.print(f"  after step {step:3d}: {mean:7.2%} ± {sd * 100:.2f}", highlight=False)
        return 0


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Measure again what a distilled set claims; exit with 1 when it does not hold.

    Examples:
      datastill verify results/mnist-random/distilled.safetensors
      datastill verify set.safetensors --networks 20        the first 20 of its networks, ten times as fast
    """

    file: Positional[Path]
    """The distilled set."""
    networks: int | None = None
    """Only the first so many of the networks that the score was measured on; all of them when left out."""
    tolerance: float = 0.5
    """How far the mean may be off, in percentage points: other machines round otherwise."""
    data: str = ""
    """Name or folder of the real data, where it is not found under the name in the set."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Verify."""
        distilled = DistilledSet.load(self.file)
        found = verify(
            distilled,
            _data(distilled, self.data),
            networks=self.networks,
            tolerance=self.tolerance / 100,
            progress=True,
        )
        if self.json:
            _print_json(found)
        else:
            verdict = "holds" if found["holds"] else "DOES NOT HOLD"
            out.print(
                f"{self.file}: claimed {found['claimed']:.2%}, measured {found['measured']:.2%} on the same "
                f"{found['n']} networks: {verdict} (tolerance {self.tolerance} points)",
                highlight=False,
                soft_wrap=True,
            )
        return 0 if found["holds"] else 1


@dataclass(frozen=True, kw_only=True)
class Show:
    """Look at a distilled set: a summary in the terminal, or a PNG grid of its examples.

    Examples:
      datastill show runs/digits/distilled.safetensors
      datastill show set.safetensors --to grid.png
    """

    file: Positional[Path]
    """The distilled set."""
    to: Path | None = None
    """Write a PNG grid here: one row per step, one column per class."""
    json: bool = False
    """Print the summary as JSON."""

    def run(self) -> int:
        """Show."""
        distilled = DistilledSet.load(self.file)
        if self.to:
            image = grid(distilled)
            write_whole(self.to, lambda temporary: image.save(temporary, format="PNG"))
        if self.json:
            return _print_json(as_json(distilled))
        out.print(summary(distilled))
        if self.to:
            out.print(f"wrote {self.to}", highlight=False)
        return 0


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a distilled set in another form.

    Examples:
      datastill export set.safetensors --kind png --to folder        pictures, one folder per class (8 bits, lossy)
      datastill export set.safetensors --kind npz --to set.npz       all tensors, exactly
      datastill export set.safetensors --kind parquet --to folder    for datasets.load_dataset("folder")
    """

    file: Positional[Path]
    """The distilled set."""
    kind: Literal["png", "npz", "parquet"] = "png"
    """Which form."""
    to: Path
    """Where to; must not hold anything yet."""

    def run(self) -> int:
        """Export."""
        distilled = DistilledSet.load(self.file)
        out.print(f"wrote {export(distilled, self.to, self.kind)}", highlight=False, soft_wrap=True)
        if self.kind == "png":
            out.print(str(png_loss(distilled)), highlight=False)
        return 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write the HTML page of a run again.

    Examples:
      datastill report runs/digits
    """

    folder: Positional[Path]
    """The run's folder."""

    def run(self) -> int:
        """Report."""
        out.print(f"wrote {write_report(self.folder)}", highlight=False)
        return 0


Kind = Literal["all", "recipes", "networks", "initialisers", "data", "methods"]


@dataclass(frozen=True, kw_only=True)
class List:
    """Names that the other commands take.

    Examples:
      datastill list
      datastill list recipes --json
    """

    kind: Positional[Kind] = "all"
    """What to list."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """List."""
        tables: dict[str, dict[str, str]] = {
            "recipes": {name: first_line(make) for name, make in RECIPES.items()},
            "networks": {name: first_line(make) for name, make in NETWORKS.items()},
            "initialisers": {
                name: first_line(fill) if fill else "the module's own" for name, fill in INITIALISERS.items()
            },
            "data": {name: known.hub or "embedded" for name, known in KNOWN.items()},
            "methods": {name: first_line(method) for name, method in METHODS.items()},
        }
        chosen = tables if self.kind == "all" else {self.kind: tables[self.kind]}
        if self.json:
            return _print_json(chosen)
        for title, names in chosen.items():
            out.print(f"[bold]{title}[/bold]")
            for name, text in names.items():
                out.print(f"  {name:<22}{text}", highlight=False, markup=False, soft_wrap=True)
        return 0


COMMANDS: dict[str, type[Any]] = {
    "distill": Distill,
    "plan": Plan,
    "evaluate": Evaluate,
    "verify": Verify,
    "show": Show,
    "export": Export,
    "report": Report,
    "list": List,
}


def first_line(thing: Any) -> str:
    """The first line of a docstring."""
    return (thing.__doc__ or "").strip().splitlines()[0]


def _resumed(stored: Config, asked: Config, folder: Path) -> Config:
    """The stored configuration, unless the command line asks for something else by name."""
    wanted = differences(stored, asked)
    defaults = {line.partition(":")[0] for line in differences(recipe(asked.recipe), asked)}
    conflicts = [line for line in wanted if line.partition(":")[0] in defaults]
    if conflicts:
        raise UserError(f"the run in {folder} has other settings ({'; '.join(conflicts)}); resume without them")
    return stored


def _data(distilled: DistilledSet, name: str) -> RealData:
    """The real data that a set belongs to."""
    stored = distilled.header.config.get("data", {"name": distilled.header.data})
    settings = DataSettings(**stored)
    return load_data(replace(settings, name=name) if name else settings).to(pick_device("auto"))


def _say_next(folder: Path, score: Mapping[str, Any]) -> None:
    file = folder / "distilled.safetensors"
    out.print(
        f"[bold]{score['mean']:.2%} ± {score['sd'] * 100:.2f}[/bold] (n = {score['n']} unseen networks, "
        f"{score['images']} test images)",
        highlight=False,
    )
    if baseline := score.get("baseline"):
        out.print(
            f"random real sets of the same size: best {baseline['best']:.2%}, mean {baseline['mean']:.2%} "
            f"(of {baseline['sets']})",
            highlight=False,
        )
    out.print(
        f"report:  {folder / 'report.html'}\nlook:    datastill show {file}\ncheck:   datastill verify {file}\n"
        f'use:     datastill.DistilledSet.load("{file}").fit(model)',
        highlight=False,
        soft_wrap=True,
    )


def _print_json(value: Any) -> int:
    print(json.dumps(value, indent=2, ensure_ascii=False))
    return 0
