"""Check that real data fits a distilled set in its space and its class names."""

from ..artifact import DistilledSet
from ..data import RealData
from ..errors import UserError, must_be

MOST_NAMES = 5
"""The largest number of names in a message."""


def matched(distilled: DistilledSet, data: RealData) -> RealData:
    """Return the data with its classes in the order of the set, so that equal labels mean equal class names.

    Raises:
        UserError: the data has examples of another kind or shape, or other classes than the set.
    """
    must_be("distilled", distilled, DistilledSet, "load one: datastill.load(name or file)")
    must_be("data", data, RealData, "load it: datastill.load_data(name)")
    space = distilled.header.space
    if distilled.shape != data.shape or distilled.classes != data.classes:
        raise UserError(
            f"the set has {space.nouns} of shape {distilled.shape} in {distilled.classes} classes, but data "
            f"{data.name!r} has {data.shape} in {data.classes}; give the data that the set was made from "
            f"({distilled.header.data!r})"
        )
    if not space.reads(data.space):
        raise UserError(
            f"the set has {space.nouns} of other {space.parts} than data {data.name!r}; give the data that the set was "
            f"made from ({distilled.header.data!r}), with its settings"
        )
    wanted = distilled.header.class_names
    if sorted(wanted) != sorted(data.class_names):
        raise UserError(
            f"the set has the classes {_only_in(wanted, data.class_names)}, but data {data.name!r} has "
            f"{_only_in(data.class_names, wanted)}; give the data the set was made from ({distilled.header.data!r}), "
            "or rename the classes of the data as in the set"
        )
    return data.with_classes(wanted)


def _only_in(names: tuple[str, ...], others: tuple[str, ...]) -> str:
    """List the names that are not in `others`."""
    found = [repr(name) for name in names if name not in others] or ["some of them twice"]
    return ", ".join(found[:MOST_NAMES]) + (f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else "")
