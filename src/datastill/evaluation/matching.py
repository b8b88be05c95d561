"""Whether real data belongs to a distilled set: by image shape, and by the names of its classes."""

from ..artifact import DistilledSet
from ..data import RealData
from ..errors import UserError

SHOWN = 5
"""At most this many names are listed in a message."""


def matched(distilled: DistilledSet, data: RealData) -> RealData:
    """The data with its classes in the order of the set, so that equal labels mean equal class names.

    Raises:
        UserError: the data has other image shapes or other classes than the set.
    """
    if distilled.shape != data.shape or distilled.classes != data.classes:
        raise UserError(
            f"the set has images of shape {distilled.shape} in {distilled.classes} classes, but data {data.name!r} has "
            f"{data.shape} in {data.classes}; give the data that it was made from ({distilled.header.data!r})"
        )
    wanted = distilled.header.class_names
    if sorted(wanted) != sorted(data.class_names):
        raise UserError(
            f"the set has the classes {_only_in(wanted, data.class_names)}, where data {data.name!r} has "
            f"{_only_in(data.class_names, wanted)}; give the data that it was made from ({distilled.header.data!r}), "
            "or rename the classes of the data as in the set"
        )
    return data.with_classes(wanted)


def _only_in(names: tuple[str, ...], others: tuple[str, ...]) -> str:
    """The names that the others do not have."""
    found = [repr(name) for name in names if name not in others] or ["some of them twice"]
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
