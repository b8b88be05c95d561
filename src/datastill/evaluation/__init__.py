"""Evaluation of distilled sets: a score depends only on what the set's file holds, never on how it was made."""

from .answerers import answerer
from .checking import must_be_measurable
from .claims import other_data
from .clean import with_clean
from .compare import Difference, comparable, difference
from .matching import matched
from .protocol import Protocol, start_words
from .score import Score, curve, hardware, score
from .table import Row, compare
from .teacher import with_teacher
from .tune import NOTHING, Grid, chosen_program, must_leave_open, tuned
from .verify import check_command, packed, verify

__all__ = [
    "NOTHING",
    "Difference",
    "Grid",
    "Protocol",
    "Row",
    "Score",
    "answerer",
    "check_command",
    "chosen_program",
    "comparable",
    "compare",
    "curve",
    "difference",
    "hardware",
    "matched",
    "must_be_measurable",
    "must_leave_open",
    "other_data",
    "packed",
    "score",
    "start_words",
    "tuned",
    "verify",
    "with_clean",
    "with_teacher",
]
