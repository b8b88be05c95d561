"""Names that the code of an augmentation needs besides torch, in an export."""

from __future__ import annotations


class UserError(ValueError):
    """A setting that is not possible."""


class Float:
    """Stands for a tensor in annotations."""

    def __class_getitem__(cls, item):
        return item[0]


Int64 = Bool = Float


def must_have_types(*_):
    """Check nothing: the settings were checked when the set was made."""
