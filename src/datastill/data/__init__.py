"""Real data: named sets, folders, tables, torch datasets and arrays, as uint8 tensors with their statistics."""

from .augment import Augmentation, augmented
from .real import RealData, Split, read_as
from .sources import KNOWN, DataSettings, KnownSet, load_data

__all__ = [
    "KNOWN",
    "Augmentation",
    "DataSettings",
    "KnownSet",
    "RealData",
    "Split",
    "augmented",
    "load_data",
    "read_as",
]
