"""k-means in each class: cluster centres as examples."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ...rng import derive
from ..base import Task
from .base import Sized, of_class


@dataclass(frozen=True, kw_only=True)
class KMeans(Sized):
    """k-means in each class, with k = chosen images per class: the centroids, or the real images nearest to them."""

    name: ClassVar[str] = "k-means"

    nearest: bool = False
    """Use the real image nearest to each centroid instead of the centroid."""

    @property
    def varies(self) -> bool:
        """False for one image per class: the centroid is then the average."""
        return self.chosen_per_class > 1

    def images(self, task: Task) -> Float[Tensor, "classes each *shape"]:
        """Return centroids found by scikit-learn on normalised pixels, from one k-means++ start."""
        return torch.stack([self._of(task, label) for label in range(task.data.classes)])

    def _of(self, task: Task, label: int) -> Float[Tensor, "each *shape"]:
        import sklearn.cluster  # two seconds

        images = of_class(task.data, label)
        flat = images.flatten(1).cpu()
        seed = derive(task.seed, f"k-means {label}") % 2**32
        found = sklearn.cluster.KMeans(self.chosen_per_class, n_init=1, random_state=seed).fit(flat)
        centres = torch.from_numpy(found.cluster_centers_).to(flat)
        if self.nearest:
            centres = flat[torch.cdist(centres, flat).argmin(1)]
        return centres.view(-1, *task.data.shape).to(images.device)
