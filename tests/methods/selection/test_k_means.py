"""k-means in each class: a fixed point of Lloyd's iteration, and the real images nearest to it."""

import torch

from datastill.methods.selection import KMeans
from datastill.methods.selection.base import of_class

from ...toys import toy_data, toy_task
from .test_selection import is_real

DATA = toy_data()


def test_centroids_are_the_means_of_what_is_nearest_to_them() -> None:
    """A fixed point of Lloyd's iteration."""
    for label, centres in enumerate(KMeans(ipc=4).images(toy_task())):
        images = of_class(DATA, label).flatten(1)
        nearest = torch.cdist(images, centres.flatten(1)).argmin(1)
        for k, centre in enumerate(centres.flatten(1)):
            torch.testing.assert_close(images[nearest == k].mean(0), centre, rtol=1e-3, atol=1e-3)


def test_the_nearest_real_images_are_real_and_nearest() -> None:
    centres, nearest = (KMeans(ipc=4, nearest=choice).images(toy_task()) for choice in (False, True))
    for label in range(3):
        images = of_class(DATA, label).flatten(1)
        for centre, image in zip(centres[label], nearest[label], strict=True):
            assert is_real(image)
            least = (images - centre.flatten()).norm(dim=1).min()
            torch.testing.assert_close((image - centre).norm(), least)
