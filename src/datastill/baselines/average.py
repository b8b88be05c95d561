"""The average image of each class."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from .base import Baseline, Setting, of_class


@dataclass(frozen=True, kw_only=True)
class Average(Baseline):
    """The average image of each class, used in every gradient step (Wang et al. 2018, section 4.1)."""

    name: ClassVar[str] = "average"
    varies: ClassVar[bool] = False

    def images(self, setting: Setting) -> Float[Tensor, "classes each *shape"]:
        """One average image per class, whatever `ipc` is."""
        return torch.stack(
            [of_class(setting.data, label).mean(0, keepdim=True) for label in range(setting.data.classes)]
        )
