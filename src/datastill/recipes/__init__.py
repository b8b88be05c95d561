"""Recipes: named full configurations, as functions that return a frozen `Config`."""

from collections.abc import Callable

from ..config import Config
from ..errors import unknown
from .convnets import (
    kernel_cifar10,
    kernel_cifar10_1,
    kernel_cifar10_1_decoded,
    kernel_cifar10_decoded,
    kernel_cifar10_decoded_wide,
    kernel_cifar10_whitened,
    kernel_fashion,
    kernel_mnist,
    kernel_mnist_1_decoded,
    kernel_mnist_decoded,
    matching_cifar10,
    matching_mnist,
    unrolled_cifar10,
    unrolled_mnist,
)
from .dataset_distillation import (
    cifar10_fixed,
    cifar10_fixed_long,
    cifar10_fixed_momentum,
    cifar10_random,
    cifar10_random_10,
    cifar10_random_decoded,
    cifar10_random_long,
    digits,
    fashion_random,
    imagenette_alexnet,
    mnist_fixed,
    mnist_random,
    mnist_random_10,
    mnist_random_decoded,
    mnist_random_long,
    usps_random,
    usps_random_10,
)
from .taught import taught_cifar10_1, taught_cifar10_10, taught_mnist_lenet

RECIPES: dict[str, Callable[[], Config]] = {each.__name__.replace("_", "-"): each for each in (
    cifar10_fixed, cifar10_fixed_long, cifar10_fixed_momentum, cifar10_random, cifar10_random_10,
    cifar10_random_decoded, cifar10_random_long, digits, fashion_random, imagenette_alexnet, kernel_cifar10,
    kernel_cifar10_1, kernel_cifar10_1_decoded, kernel_cifar10_decoded, kernel_cifar10_decoded_wide,
    kernel_cifar10_whitened, kernel_fashion, kernel_mnist, kernel_mnist_1_decoded, kernel_mnist_decoded,
    matching_cifar10, matching_mnist, mnist_fixed, mnist_random, mnist_random_10, mnist_random_decoded,
    mnist_random_long, taught_cifar10_1, taught_cifar10_10, taught_mnist_lenet, unrolled_cifar10, unrolled_mnist,
    usps_random, usps_random_10,
)}  # fmt: skip
"""The recipes by name, which is that of the function."""


def recipe(name: str) -> Config:
    """Return the configuration of a named recipe.

    Raises:
        UserError: there is no such recipe.
    """
    if name not in RECIPES:
        raise unknown("recipe", str(name), RECIPES)
    return RECIPES[name]()
