"""Distilled sets: what a set holds, its file, and the checks of both."""

from ..label_source import PerEpoch, Signed, Stored, Teacher, TeacherOnce, source_of
from ..space import Pixels, Vectors
from .decode import EightBits, PixelBytes, Plain, examples_of
from .distilled_set import NAME, DistilledSet, file_of
from .formats import FORMAT, INITIAL
from .header import Header

__all__ = [
    "FORMAT",
    "INITIAL",
    "NAME",
    "DistilledSet",
    "EightBits",
    "Header",
    "PerEpoch",
    "PixelBytes",
    "Pixels",
    "Plain",
    "Signed",
    "Stored",
    "Teacher",
    "TeacherOnce",
    "Vectors",
    "examples_of",
    "file_of",
    "source_of",
]
