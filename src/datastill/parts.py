"""Images that hold several smaller ones, which are enlarged before use (IDC: Kim et al. 2022, arXiv 2205.14959).

A stored image of factor f holds f x f parts of 1 / f of its height and width, in rows. Decoding cuts it into its parts
and enlarges each to the size of the stored image (the paper's multi-formation), so that n stored images stand for
n f^2 examples.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from .errors import UserError, at_least

MOST_FACTOR = 16
"""The largest factor of a set: a stored image then holds 256 examples."""
MOST_NUMBERS = 2**30
"""The most values of all decoded examples of a set, which take 4 GiB in float32."""


def must_divide(shape: Sequence[int], factor: int) -> None:
    """Raise a `UserError` unless `shape` is that of images (channels, height, width) that divide into factor^2 parts.

    Every shape fits factor 1.
    """
    at_least("factor", factor, 1)
    if factor == 1:
        return
    if len(shape) != 3:
        raise UserError(f"factor is {factor}, which is for images, but the examples are no images; leave factor out")
    if factor > MOST_FACTOR:
        raise UserError(f"factor is {factor}, but must be at most {MOST_FACTOR}")
    if any(side % factor for side in shape[1:]):
        raise UserError(
            f"factor is {factor}, but images of {shape[1]}x{shape[2]} cannot be divided into equal parts by it; take a "
            "factor that divides both sides"
        )


def part_shape(shape: Sequence[int], factor: int) -> tuple[int, ...]:
    """Return the shape of a part of an example: with factor 1, that of the example.

    Raises:
        UserError: examples of this shape do not divide into such parts.
    """
    must_divide(shape, factor)
    return tuple(shape) if factor == 1 else (shape[0], shape[1] // factor, shape[2] // factor)


def together(parts: Float[Tensor, "n *shape"], factor: int) -> Float[Tensor, "m *whole"]:
    """Return images of factor x factor parts each, in rows; m = n / factor^2. With factor 1, parts are the images."""
    if factor == 1:
        return parts
    rows = parts.unflatten(0, (-1, factor, factor))  # images, rows, columns, c, h, w
    return rows.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3).contiguous()


def cut(images: Float[Tensor, "m *whole"], factor: int) -> Float[Tensor, "n *shape"]:
    """Return the parts of images, in the order of images and rows: the inverse of `together`."""
    if factor == 1:
        return images
    height, width = (side // factor for side in images.shape[2:])
    split = images.unflatten(3, (factor, width)).unflatten(2, (factor, height))  # images, c, rows, h, columns, w
    return split.permute(0, 2, 4, 1, 3, 5).flatten(0, 2).contiguous()


def enlarged(parts: Float[Tensor, "*parts"], factor: int) -> Float[Tensor, "*examples"]:
    """Return parts (..., c, h, w) with `factor` times the height and width, by bilinear interpolation.

    It is differentiable, and linear. Pixels are squares (``align_corners=False``), and values beyond the border are
    those of the border. With factor 1, examples of any kind are returned as they are.
    """
    if factor == 1:
        return parts
    size = tuple(factor * side for side in parts.shape[-2:])
    flat = interpolate(parts.reshape(-1, *parts.shape[-3:]), size, mode="bilinear", align_corners=False)
    return flat.view(*parts.shape[:-2], *size)


def enlarged_gradient(gradient: Float[Tensor, "*examples"], factor: int) -> Float[Tensor, "*parts"]:
    """Return the gradient with respect to parts, given that with respect to the `enlarged` ones."""
    if factor == 1:
        return gradient
    height, width = (side // factor for side in gradient.shape[-2:])
    parts = gradient.new_zeros((*gradient.shape[:-2], height, width))
    with torch.enable_grad():
        found = enlarged(parts.requires_grad_(), factor)
    return torch.autograd.grad(found, parts, gradient)[0]


def reduced(images: Float[Tensor, "n *whole"], factor: int) -> Float[Tensor, "n *shape"]:
    """Return images (n, c, h, w) of 1 / factor of the height and width: pixels are means of factor x factor pixels."""
    return images if factor == 1 else avg_pool2d(images, factor)


def decoded(stored: Float[Tensor, "m *whole"], factor: int) -> Float[Tensor, "n *whole"]:
    """Return the examples that stored images stand for: their parts, enlarged; n = m * factor^2.

    Raises:
        UserError: images of this shape do not divide into such parts, or the examples take too much memory.
    """
    must_divide(stored.shape[1:], factor)
    if factor > 1 and stored.numel() * factor**2 > MOST_NUMBERS:
        raise UserError(
            f"{len(stored)} stored images with factor {factor} are {len(stored) * factor**2} examples, of more than "
            f"{MOST_NUMBERS} values in all; take a smaller factor or fewer images"
        )
    return enlarged(cut(stored, factor), factor)


def in_words(examples: int, stored: int) -> str:
    """Say that this number of examples are parts of stored images; an empty text if examples are what is stored."""
    return "" if examples == stored else f"{examples} examples are parts of {stored} stored images, enlarged"
