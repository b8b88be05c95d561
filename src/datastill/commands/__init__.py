"""The commands of the command line: one record for each, whose docstrings are the text of its ``--help``."""

from functools import reduce
from operator import or_
from typing import Annotated, Any

from tyro.conf import subcommand

from ..methods.selection import RandomReal
from .distilling import Distill, Plan, configuration
from .evaluating import Evaluate, Pack, Verify
from .importing import ImportSet
from .making_baselines import MakeBaseline, selection
from .output import first_line, out
from .pretraining import Pretrain
from .showing import Export, List, Report, Show
from .studying import MakeStudy
from .watching import Watch

COMMANDS: dict[str, type[Any]] = {
    "distill": Distill,
    "watch": Watch,
    "plan": Plan,
    "evaluate": Evaluate,
    "verify": Verify,
    "baseline": MakeBaseline,
    "pretrain": Pretrain,
    "study": MakeStudy,
    "show": Show,
    "pack": Pack,
    "export": Export,
    "import": ImportSet,
    "report": Report,
    "list": List,
}


def all_commands() -> Any:
    """Return one type for all commands, with the default method of those that have one, as tyro takes subcommands."""
    config, _ = configuration([])
    defaults: dict[str, Any] = {
        "distill": Distill(config=config),
        "plan": Plan(config=config),
        "baseline": MakeBaseline(method=RandomReal()),
    }
    given = {name: {"default": default} for name, default in defaults.items()}
    kinds: Any = (Annotated[kind, subcommand(name, **given.get(name, {}))] for name, kind in COMMANDS.items())
    return reduce(or_, kinds)


__all__ = ["COMMANDS", "Distill", "Plan", "all_commands", "configuration", "first_line", "out", "selection"]
