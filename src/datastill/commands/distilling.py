"""Making sets: distill and plan."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.text import Text

from .. import distributed
from ..artifact import DistilledSet
from ..errors import UserError
from ..evaluation import AttackScore, check_command
from ..methods import find_method
from ..planner import plan
from ..recipes import Config, recipe
from ..report import remarks
from ..run import distill, prepare
from .output import out, print_json
from .resuming import resumed


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Distil a dataset: learn synthetic examples, evaluate them on unseen networks, write a report.

    ``--method NAME`` takes another method (datastill list methods) or your own as module:Class; the options
    ``--method.SETTING`` are then those of that method.

    Examples:
      datastill distill                                        the embedded digits, about two minutes
      datastill distill mnist-random --out runs/mnist          a recipe by name (datastill list recipes)
      datastill distill mnist-random --network "convnet(depth=2)" --method.ipc 5 --method.steps 5
      datastill distill --data.name ./my-images --data.resize 28 --network lenet
      datastill distill --method my_methods:Mine --method.ipc 5     your own (docs/adding-a-method.md)
      datastill distill --resume --out runs/mnist              go on where it was stopped (Ctrl-C is safe)
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    """Settings; the recipe gives the defaults shown."""
    out: Path | None = None
    """Folder of the run; runs/RECIPE when left out."""
    resume: bool = False
    """Go on with the unfinished run in the folder, with its own settings."""
    trust: bool = False
    """With --resume: let the settings in the folder import modules and open files that the command does not name."""
    json: bool = False
    """Print the score as JSON."""
    command: tyro.conf.Suppress[str] = ""
    """What was typed, for the record."""

    def run(self) -> int:
        """Distil."""
        config, folder = self.config, self.out or Path("runs") / self.config.recipe
        if self.resume:
            config = distributed.on_first_rank(lambda: resumed(folder, self.config, trust=self.trust))
        distilled = distill(config, folder, resume=self.resume, command=self.command)
        if self.json:
            return print_json({"folder": str(folder), "score": distilled.header.score})
        _say_next(folder, distilled)
        return 0


def configuration(words: Sequence[str]) -> tuple[Config, list[str]]:
    """The settings to start from, by ``RECIPE`` and ``--method NAME``, and the other words of a command line.

    The method decides which options there are, so it is chosen before the options are read.

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
                    "--method names no method; write --method NAME (datastill list methods) or module:Class"
                )
            kind = find_method(name if equals else rest[i + 1])
            method = config.method if isinstance(config.method, kind) else kind()
            return replace(config, method=method), rest[:i] + rest[i + (1 if equals else 2) :]
    return config, rest


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Say what a run would cost here before it is begun: operations, memory by mode, seconds by way of computing.

    Takes some outer iterations, which is all that it does with the data.

    Examples:
      datastill plan mnist-random
      datastill plan cifar10-random --method.epochs 10 --engine.precision bfloat16
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    """Settings; the recipe gives the defaults shown."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Plan."""
        run = prepare(self.config)
        found = plan(run.config.method, run.problem, self.config.loop.iterations)
        if self.json:
            return print_json(asdict(found))
        for line in found.lines(self.config.loop.iterations):
            out.print(line)
        return 0


def _say_next(folder: Path, distilled: DistilledSet) -> None:
    score, file = distilled.header.score or {}, folder / "distilled.safetensors"
    typed, written = shlex.quote(str(file)), json.dumps(str(file), ensure_ascii=False)
    out.print(
        Text.assemble(
            (f"{score['mean']:.2%} ± {score['sd'] * 100:.2f}", "bold"),
            f" (n = {score['n']} unseen networks, {score['images']} test images)",
        )
    )
    if attack := score.get("attack"):
        out.print(str(AttackScore.from_dict(attack)))
    if baseline := score.get("baseline"):
        out.print(
            f"random real sets of the same size: best {baseline['best']:.2%}, mean {baseline['mean']:.2%} "
            f"(of {baseline['sets']})",
        )
    for remark in remarks(distilled):
        out.print(remark)
    out.print(
        f"report:  {folder / 'report.html'}\nlook:    datastill show {typed}\n"
        f"check:   {check_command(distilled, file)}\n"
        f"use:     datastill.load({written}).fit(model)"
    )
