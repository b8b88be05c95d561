"""The option --teacher, of every command that uses sets whose labels come from a trained network."""

from collections.abc import Sequence
from typing import Annotated

import tyro

from ..artifact import DistilledSet, Teacher
from ..errors import UserError
from ..evaluation import with_teacher

TeacherName = Annotated[
    str,
    tyro.conf.arg(
        metavar="FILE",
        help="The teacher, for sets whose labels come from one: a file of weights (.safetensors or a PyTorch state), "
        "or a pool (datastill pretrain) of one network; FILE#3 is network 3 of a pool, and FILE@5 or FILE#3@5 is "
        "snapshot 5 of its training.",
    ),
]
"""The type of the option."""


def taught(sets: Sequence[DistilledSet], name: str) -> list[DistilledSet]:
    """Return the sets with the teacher that the option names; unchanged if it is empty.

    Raises:
        UserError: no set has labels of a teacher; or the teacher cannot be read, or is another one.
    """
    if name and not any(isinstance(each.header.labels, Teacher) for each in sets):
        raise UserError(f"teacher is {name}, but has no effect: the labels are stored in the set; leave --teacher out")
    return [with_teacher(each, name) if name else each for each in sets]
