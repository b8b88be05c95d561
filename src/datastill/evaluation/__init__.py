"""Fair evaluation: a score depends on the artifact alone."""

from .protocol import Protocol
from .score import Score, curve, hardware, score
from .verify import verify

__all__ = ["Protocol", "Score", "curve", "hardware", "score", "verify"]
