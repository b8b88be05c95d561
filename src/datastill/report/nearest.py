"""The real train image nearest to each synthetic image, so that one sees whether an example copies a real one."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from ..artifact import DistilledSet
from ..data import RealData, Split
from ..errors import UserError
from ..evaluation import matched
from ..space import Pixels
from .figures import data_uri, tiles_of

MOST_SHOWN = 100
"""The largest number of examples whose nearest image is shown."""
TEST_IMAGES = 100
"""Test images, at most, whose distance to their nearest train image is the measure of what is near."""
TOGETHER = 2000
"""Real images that are compared at a time."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A synthetic example and the real train image that is nearest to it."""

    synthetic: str
    """The example as the address of a picture."""
    real: str
    """The real image as the address of a picture."""
    label: str
    """The class of the example, the most probable one if its label is soft."""
    real_label: str
    distance: float
    """The root of the mean squared difference of their pixels, which are 0 to 1 in real images."""


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """What the page says about the nearest real images."""

    pairs: list[Pair]
    usual: float
    """The median distance of real test images to their nearest train image."""
    tests: int
    """The number of these test images."""


def nearest(distilled: DistilledSet, data: RealData) -> Nearest:
    """Find the train image that is nearest to each of the first `MOST_SHOWN` examples.

    Raises:
        UserError: the examples are no images, or the data does not fit the set.
    """
    data, space = matched(distilled, data), distilled.header.space
    if not isinstance(space, Pixels):
        raise UserError(
            f"the set has {space.nouns}, but the nearest real image is shown only for images; leave --data out"
        )
    count = min(MOST_SHOWN, distilled.size)
    tests = data.test.spaced(TEST_IMAGES)
    index, distance = nearest_in(data.train, space.pictures(distilled.inputs[:count]))
    _, usual = nearest_in(data.train, _pixels(tests.tensor))
    tiles = tiles_of(distilled)
    names, classes = distilled.header.class_names, distilled.class_of_each
    pairs = [
        Pair(
            synthetic=_address(tiles[i]),
            real=_address(_tile(data.train.images[at])),
            label=names[int(classes[i])],
            real_label=names[int(data.train.labels[at])],
            distance=float(distance[i]),
        )
        for i, at in enumerate(index.tolist())
    ]
    return Nearest(pairs=pairs, usual=float(usual.median()), tests=len(tests))


def nearest_in(real: Split, pixels: Float[Tensor, "n c h w"]) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the index of the image of a split that is nearest to each of n images, and its distance.

    Args:
        real: the split, of bytes.
        pixels: the images; 0 is black and 1 is white.

    Returns:
        The indices, and the roots of the mean squared differences of pixels.
    """
    wanted = pixels.detach().float().cpu().flatten(1)
    best, index = torch.full((len(wanted),), torch.inf), torch.zeros(len(wanted), dtype=torch.int64)
    for start in range(0, len(real), TOGETHER):
        found, at = torch.cdist(wanted, _pixels(real.images[start : start + TOGETHER]).flatten(1)).min(1)
        nearer = found < best
        best, index = torch.where(nearer, found, best), torch.where(nearer, at + start, index)
    # The fast distances have rounding errors that hide an exact copy
    exact = wanted.double() - _pixels(real.images[index.to(real.images.device)]).flatten(1)
    return index, exact.square().mean(1).sqrt().float()


def _pixels(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    return images.cpu().float() / 255


def _tile(image: UInt8[Tensor, "c h w"]) -> UInt8[np.ndarray, "h w 3"]:
    pixels = image.cpu().float()
    pixels = pixels if len(pixels) == 3 else pixels.mean(0, keepdim=True).expand(3, -1, -1)
    return pixels.round().byte().permute(1, 2, 0).numpy()


def _address(tile: UInt8[np.ndarray, "h w 3"]) -> str:
    return data_uri(Image.fromarray(np.ascontiguousarray(tile)).convert("RGBA"))
