"""The commands that distil a set and that estimate what this costs: distill and plan."""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.text import Text

from .. import distributed
from ..artifact import NAME, DistilledSet, Teacher
from ..config import Config
from ..data.names import SUFFIXES
from ..errors import UserError
from ..evaluation import check_command
from ..methods import find_method
from ..planner import plan
from ..recipes import recipe
from ..report import USE_WITH_TEACHER, accuracy_text, measure_rows, measure_text, plural, remarks
from ..run import distill, prepare
from ..runlog import say
from ..tensorboard import event_files
from .output import out, print_json
from .resuming import resumed

PLAN_SECONDS = 50.0
"""Seconds after which `plan` begins no further measurement. One outer iteration is measured in any case."""


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Distil a dataset: learn synthetic examples, evaluate them on unseen networks, write a report.

    ``--method NAME`` chooses another method (datastill list methods), or your own class, written module:Class.
    ``--method.SETTING`` then changes a setting of that method. The defaults below are those of the recipe digits;
    ``datastill distill RECIPE --help`` shows those of another recipe.

    Examples:
      datastill distill                                        8x8 digits, no download: two minutes with evaluation
      datastill distill mnist-random --out runs/mnist          a recipe by name (datastill list recipes)
      datastill distill mnist-random --network "convnet(depth=2)" --method.ipc 5 --method.steps 5
      datastill distill --data.name ./my-images --data.resize 28 --network lenet
      datastill distill --method my_methods:Mine --method.ipc 5     your own method (docs/adding-a-method.md)
      datastill distill --resume --out runs/mnist              continue a run that was stopped (Ctrl-C is safe)
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    """The settings of the run. The defaults shown are the settings of the recipe."""
    out: Path | None = None
    """Folder of the run; if not given: runs/RECIPE, or runs/DATA if --data.name names other data."""
    resume: bool = False
    """Continue the unfinished run in the folder, with the settings that are stored there."""
    trust: bool = False
    """With --resume: let the settings in the folder import modules and open files that the command does not name."""
    tensorboard: bool = False
    """Write event files as well, into the folder tensorboard of the run: objective, accuracy, step sizes and examples.
    Look at them with: tensorboard --logdir FOLDER. Needs the package tensorboard."""
    json: bool = False
    """Print the score as JSON."""
    command: tyro.conf.Suppress[str] = ""
    """The command line as it was typed; stored with the run."""

    def run(self) -> int:
        """Distil, print the score, and return the exit code."""
        config, folder = self.config, self.out or Path("runs") / _run_name(self.config)
        if self.resume:
            words = shlex.split(self.command)
            config = distributed.on_first_rank(lambda: resumed(folder, self.config, trust=self.trust, words=words))
        with event_files(self.tensorboard):
            distilled = distill(config, folder, resume=self.resume, command=self.command)
        if self.json:
            return print_json({"folder": str(folder), "score": distilled.header.score})
        _say_next(folder, distilled)
        return 0


def configuration(words: Sequence[str]) -> tuple[Config, list[str]]:
    """Return the configuration that ``RECIPE`` and ``--method NAME`` choose, and the other words of a command line.

    The method decides which options exist, so it is chosen before the options are parsed.

    Raises:
        UserError: there is no such recipe or method.
    """
    rest, chosen = list(words), "digits"
    if rest and not rest[0].startswith("-"):
        chosen = rest.pop(0)
    config = recipe(chosen)
    for i, word in enumerate(rest):
        option, equals, name = word.partition("=")
        if option == "--method":
            if not equals and i + 1 == len(rest):
                raise UserError(
                    "--method has no value; write --method NAME (see datastill list methods) or --method module:Class"
                )
            kind = find_method(name if equals else rest[i + 1])
            method = config.method if isinstance(config.method, kind) else kind()
            return replace(config, method=method), rest[:i] + rest[i + (1 if equals else 2) :]
    return config, rest


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Estimate the cost of a run on this machine: operations, memory of each mode, seconds of each way to compute.

    Runs a few outer iterations to measure them, in about a minute, and saves nothing. ``--method NAME`` plans another
    method (datastill list methods), or your own class, written module:Class.

    Examples:
      datastill plan mnist-random
      datastill plan cifar10-random --method.epochs 10 --method.engine.precision bfloat16
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    """The settings of the run. The defaults shown are the settings of the recipe."""
    json: bool = False
    """Print the estimate as JSON."""

    def run(self) -> int:
        """Print the estimate, and return the exit code."""
        if not (method := self.config.method).rates():
            raise UserError(
                f"the method {method.name} learns nothing, so there are no iterations to plan; datastill distill makes "
                "its set at once"
            )
        until = time.perf_counter() + PLAN_SECONDS
        say(f"loading {self.config.data.name}")
        run, iterations = prepare(self.config), self.config.loop.iterations
        found = plan(run.method.trial(run.task), iterations, until=until)
        if self.json:
            return print_json(asdict(found))
        for line in found.lines(iterations):
            out.print(line)
        return 0


def _run_name(config: Config) -> str:
    """Return the name of the folder of a run: its recipe, or its data if that is not the data of the recipe."""
    if config.data.name == recipe(config.recipe).data.name:
        return config.recipe
    path = Path(config.data.name).resolve()
    return (path.stem if path.suffix.lower() in SUFFIXES else path.name) or config.recipe


def _say_next(folder: Path, distilled: DistilledSet) -> None:
    score, file = distilled.header.score or {}, folder / NAME
    typed, written = shlex.quote(str(file)), json.dumps(str(file), ensure_ascii=False)
    out.print(
        Text.assemble(
            (accuracy_text(score["mean"], score["sd"], score["n"]), "bold"),
            f" (n = {plural(score['n'], 'unseen network')}, {score['images']} test {distilled.header.space.nouns})",
        )
    )
    for row in measure_rows(distilled, score):
        out.print(measure_text(*row))
    if baseline := score.get("baseline"):
        out.print(
            f"random real sets of the same size: best {baseline['best']:.2%}, mean {baseline['mean']:.2%} "
            f"(of {baseline['sets']})",
        )
    for remark in remarks(distilled):
        out.print(remark)
    use = f"datastill.load({written}).fit(model)"
    if isinstance(distilled.header.labels, Teacher):
        use = USE_WITH_TEACHER
    out.print(
        f"report:  {folder / 'report.html'}\nlook:    datastill show {typed}\n"
        f"check:   {check_command(distilled, file)}\n"
        f"use:     {use}"
    )
