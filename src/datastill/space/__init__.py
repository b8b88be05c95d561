"""The space of examples: what an example is, and how real ones are normalised before a network takes them."""

from collections.abc import Mapping

from ..storage.records import kind_of
from .base import Space
from .pixels import Pixels
from .signals import Signals
from .tokens import Tokens
from .vectors import Vectors
from .whitened import Whitened

SPACES: Mapping[str, type[Space]] = {
    "pixels": Pixels,
    "whitened": Whitened,
    "vectors": Vectors,
    "signals": Signals,
    "tokens": Tokens,
}
"""The spaces by the name ``kind`` that a file has for them."""
SPACE = kind_of(SPACES)
"""The rule of a space."""

__all__ = ["SPACE", "SPACES", "Pixels", "Signals", "Space", "Tokens", "Vectors", "Whitened"]
