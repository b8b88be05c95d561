"""The teacher of a set whose labels come from one, read from a file."""

from ..artifact import DistilledSet, Teacher
from ..networks.teacher import read_teacher


def with_teacher(distilled: DistilledSet, name: str) -> DistilledSet:
    """Return the set with its teacher; a set that needs none is unchanged.

    Args:
        distilled: the set; its header names the architecture and the SHA-256 of the weights.
        name: the file of the weights, or a network of a pool; see `read_teacher`.

    Raises:
        UserError: the file cannot be read, does not fit the architecture, or holds other weights; or the architecture
            needs trust.
    """
    labels = distilled.header.labels
    if not isinstance(labels, Teacher):
        return distilled
    found = read_teacher(
        name, network=labels.network, shape=distilled.shape, classes=distilled.classes, trust=distilled.trusted
    )
    return distilled.with_teacher(found)
