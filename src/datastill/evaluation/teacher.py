"""The teacher of a set whose labels come from one, loaded from the file of its weights."""

from pathlib import Path

from ..artifact import DistilledSet, Teacher
from ..errors import UserError
from ..networks import build
from ..networks.weights import read
from ..user_modules import one_line


def with_teacher(distilled: DistilledSet, weights: Path) -> DistilledSet:
    """Return the set with its teacher, whose weights and statistics are in a file; a set that needs none is unchanged.

    Args:
        distilled: the set; its header names the architecture and the SHA-256 of the weights.
        weights: a ``.safetensors`` file, or a state dictionary saved by PyTorch.

    Raises:
        UserError: the file cannot be read, does not fit the architecture, or holds other weights; or the architecture
            needs trust.
    """
    labels = distilled.header.labels
    if not isinstance(labels, Teacher):
        return distilled
    network = build(labels.network, shape=distilled.shape, classes=distilled.classes, trust=distilled.trusted)
    teacher = network.factory()
    try:
        teacher.load_state_dict(read(weights))
    except RuntimeError as error:
        raise UserError(
            f"the weights in {weights} do not fit the teacher {labels.network!r}: {one_line(error)}"
        ) from error
    return distilled.with_teacher(teacher)
