"""How often networks answer each class for the real examples of each class."""

import torch
from jaxtyping import Int64
from torch import Tensor

from .. import distributed
from ..artifact.scores import MOST_COUNTED_CLASSES

Counts = Int64[Tensor, "classes classes"]
"""In row i and column j: how many answers were class j for real examples of class i."""


def none_yet(classes: int) -> Counts | None:
    """Return the counts before the first network; None if there are too many classes to count pairs of them."""
    return torch.zeros(classes, classes, dtype=torch.int64) if classes <= MOST_COUNTED_CLASSES else None


def counted(answers: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], classes: int) -> Counts:
    """Return the counts of one network, from the classes that it answers for n examples and their true classes.

    An example without an answer (`NO_ANSWER`) is not counted.
    """
    given = answers >= 0
    pairs = torch.bincount(labels[given] * classes + answers[given], minlength=classes**2)
    return pairs.view(classes, classes).cpu()


def together(counts: Counts | None) -> Counts | None:
    """Return the sum of the counts of all processes."""
    return None if counts is None else torch.tensor(distributed.gathered([counts.tolist()])).sum(0)
