"""What a set offers with code of layers above it, which is imported when it is first asked for.

A set opens, and is trained on, without any of it. The imports are named as exceptions in the rule of layers.
"""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import datasets


class Conveniences:
    """The methods of a distilled set that other tools and notebooks ask for."""

    def to_datasets(self) -> "datasets.Dataset":
        """Return the examples as a `datasets.Dataset`, one row each, in the order of the set.

        Columns: ``image`` (8-bit pictures, of images with 1 or 3 channels) or the columns of rows and the channels of
        signals, in their units, or the nearest ``words`` of sentences; ``label``, with the names of the classes;
        ``step``, ``index`` and ``step_sizes`` of ordered steps; ``label_values`` of soft labels, one number per class;
        ``example``, the exact values as networks take them. A column of rows whose name is one of these gets an
        underscore. Labels that a teacher gives are not in it: call it on `with_stored_labels`.
        """
        from ..exporting import to_datasets

        return to_datasets(cast(Any, self))

    def _repr_html_(self) -> str:
        """Return the set for a notebook: a picture of its examples, its program and its score."""
        from ..report import card

        return card(cast(Any, self))
