"""k-means in each class: cluster centres as examples."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .base import Baseline, Setting, of_class, seeded


@dataclass(frozen=True, kw_only=True)
class KMeans(Baseline):
    """k-means in each class, with k = images per class: the centroids, or the real images nearest to them."""

    name: ClassVar[str] = "k-means"

    nearest: bool = False
    """Use the real image nearest to each centroid instead of the centroid."""

    def images(self, setting: Setting) -> Float[Tensor, "classes each *shape"]:
        """Centroids found by scikit-learn on normalised pixels, from one k-means++ start."""
        return torch.stack([self._of(setting, label) for label in range(setting.data.classes)])

    def _of(self, setting: Setting, label: int) -> Float[Tensor, "each *shape"]:
        import sklearn.cluster  # two seconds

        images = of_class(setting.data, label)
        enough(setting, label, len(images))
        flat = images.flatten(1).cpu()
        found = sklearn.cluster.KMeans(setting.ipc, n_init=1, random_state=seeded(setting, f"k-means {label}")).fit(
            flat
        )
        centres = torch.from_numpy(found.cluster_centers_).to(flat)
        if self.nearest:
            centres = flat[torch.cdist(centres, flat).argmin(1)]
        return centres.view(setting.ipc, *setting.data.shape).to(images.device)


def enough(setting: Setting, label: int, there: int) -> None:
    """Raise a `UserError` if a class has fewer train images than the images per class asked for."""
    if there < setting.ipc:
        name = setting.data.class_names[label]
        raise UserError(f"{setting.ipc} images per class wanted, but class {name!r} has {there} train images")
