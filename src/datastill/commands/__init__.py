"""The commands of the command line: one record for each, whose docstrings are the text of its ``--help``."""

from typing import Any

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

__all__ = ["COMMANDS", "Distill", "Plan", "configuration", "first_line", "out", "selection"]
