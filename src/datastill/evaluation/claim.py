"""A claim of a distilled set, with the result of checking it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["holds", "does not hold", "not checked"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of a set, with the result of checking it."""

    name: str
    verdict: Verdict
    text: str
    """The claimed and the measured value, or the reason why the claim was not checked."""

    def as_dict(self) -> dict[str, Any]:
        """Return the claim as plain JSON values."""
        return asdict(self)
