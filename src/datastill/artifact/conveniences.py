"""What a set offers with code of layers above it, which is imported when it is first asked for.

A set opens, and is trained on, without any of it. The imports are named as exceptions in the rule of layers.
"""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import datasets

    from .distilled_set import DistilledSet


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

    def push_to_hub(self, name: str, *, licence: str = "unknown", private: bool = False) -> str:
        """Upload the set to the Hugging Face hub, with a card that says what it is, how it was made and what it scores.

        The repository is made if it does not exist. It also holds a picture of the examples, and the table of
        `to_datasets`, which the hub shows. Log in first (``hf auth login``).

        Args:
            name: the repository, as ``owner/name``.
            licence: the licence of the real data as the hub names it, e.g. ``cc-by-4.0``.
            private: make a repository that only its owners see.

        Returns:
            The address of the repository.

        Raises:
            UserError: the hub cannot be reached, or refuses.
        """
        from ..hub import push_to_hub

        return push_to_hub(cast(Any, self), name, licence=licence, private=private)

    @classmethod
    def from_hub(cls, name: str, *, revision: str | None = None, trust: bool = False) -> "DistilledSet":
        """Download a set from the Hugging Face hub. It is as safe as `load`: one file is read, and nothing runs.

        Args:
            name: the repository, as ``owner/name``.
            revision: a branch, a tag, or the hash of a commit, which always gives this very set; None: the newest.
            trust: as for `load`.

        Raises:
            UserError: the hub cannot be reached, or has no set of this name; or the file is not a whole set.
        """
        from ..hub import from_hub

        return from_hub(name, revision=revision, trust=trust)

    def _repr_html_(self) -> str:
        """Return the set for a notebook: a picture of its examples, its program and its score."""
        from ..report import card

        return card(cast(Any, self))
