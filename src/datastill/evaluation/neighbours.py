"""Classify real images by their nearest synthetic examples, without any network."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ..artifact import DistilledSet
from ..data import Split
from ..errors import UserError, at_least, unknown
from ..networks import parse
from ..program import augmentation_name, known_name
from .protocol import Protocol

NAME = "nearest-neighbours"
BATCH = 1000  # real images at a time: their distances to all examples are in memory


def asked(network: str) -> bool:
    """Whether a protocol asks for nearest neighbours instead of a network."""
    return parse(network)[0] == NAME


def must_use(protocol: Protocol, distilled: DistilledSet) -> None:
    """Raise a `UserError` if a protocol for nearest neighbours has a setting that only the training of networks uses.

    Args:
        protocol: the protocol as it was asked for. The settings of the set's own program are no error.
        distilled: the set.
    """
    default = Protocol()
    own = {
        "program": "own",
        "epochs": distilled.program.order.epochs,
        "optimiser": known_name(distilled.program.optimiser),
        "augmentation": augmentation_name(distilled.program.augmentation),
    }
    for name in ("start", "program", "step_size", "epochs", "optimiser", "augmentation", "clip", "seed"):
        value = getattr(protocol, name)
        if value not in (getattr(default, name), own.get(name)):
            raise UserError(
                f"{name} is {value}, but has no effect: {protocol.network} trains no network; leave {name} out, or "
                "measure nearest neighbours in another command"
            )


def must_train(protocol: Protocol, what: str) -> None:
    """Raise a `UserError` if a protocol asks for nearest neighbours; `what` needs networks that are trained."""
    if asked(protocol.network):
        raise UserError(f"{protocol.network} trains no network, so there is no {what}; name a network instead")


def answers(distilled: DistilledSet, real: Split, network: str) -> Int64[Tensor, " n"]:
    """Return the classes that the k-nearest-neighbours classifier (scikit-learn) answers, trained on the examples.

    Args:
        distilled: the examples and their labels; a soft label counts as its most probable class. Real images are
            normalised like the examples.
        real: the split to classify.
        network: ``nearest-neighbours(k=1,norm=2)``: k neighbours by the p-norm of the difference of two images, with
            p = norm, at least 1.

    Raises:
        UserError: an argument is unknown or out of range.
    """
    from sklearn.neighbors import KNeighborsClassifier  # two seconds to import

    k, norm = _arguments(network, distilled.size)
    classifier = KNeighborsClassifier(n_neighbors=k, p=norm, algorithm="brute")
    classifier.fit(distilled.inputs.float().flatten(1), distilled.class_of_each)
    parts = [classifier.predict(distilled.normalise(images).flatten(1)) for images in real.images.cpu().split(BATCH)]
    return torch.from_numpy(np.concatenate(parts)).to(real.labels)


def _arguments(network: str, size: int) -> tuple[int, float]:
    given: dict[str, Any] = {"k": 1, "norm": 2.0} | parse(network)[1]
    for name in given:
        if name not in ("k", "norm"):
            raise unknown(f"argument of {NAME}", name, ("k", "norm"))
    k, norm = given["k"], given["norm"]
    if not isinstance(k, int) or isinstance(k, bool) or not isinstance(norm, int | float):
        raise UserError(f"{NAME} takes whole numbers as k and numbers as norm, not k={k}, norm={norm}")
    at_least("norm", norm, 1)
    at_least("k", k, 1)
    if k > size:
        raise UserError(f"k is {k}, but the set has {size} examples; take k up to {size}")
    return k, float(norm)
