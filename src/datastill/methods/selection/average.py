"""The average image of each class."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import Task
from .base import Selection, of_class


@dataclass(frozen=True, kw_only=True)
class Average(Selection):
    """The average image of each class (Wang et al. 2018, section 4.1)."""

    name: ClassVar[str] = "average"

    @property
    def varies(self) -> bool:
        """False: nothing is random."""
        return False

    def images(self, task: Task) -> Float[Tensor, "classes each *shape"]:
        """Return one average image per class."""
        return torch.stack([of_class(task.data, label).mean(0, keepdim=True) for label in range(task.data.classes)])
