"""Evaluation of distilled sets: a score depends only on what the set's file holds, never on how it was made."""

from .attack import AttackScore, attacked, with_clean
from .checking import must_be_measurable
from .claims import other_data
from .compare import Difference, comparable, difference
from .fit import stored_weights, user_weights_sha256
from .matching import matched
from .protocol import Protocol
from .score import Score, curve, hardware, score
from .table import Row, compare
from .tune import Grid, tuned
from .verify import check_command, packed, verify

__all__ = [
    "AttackScore",
    "Difference",
    "Grid",
    "Protocol",
    "Row",
    "Score",
    "attacked",
    "check_command",
    "comparable",
    "compare",
    "curve",
    "difference",
    "hardware",
    "matched",
    "must_be_measurable",
    "other_data",
    "packed",
    "score",
    "stored_weights",
    "tuned",
    "user_weights_sha256",
    "verify",
    "with_clean",
]
