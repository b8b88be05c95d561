"""Real data: named sets, folders, tables, torch datasets and arrays, as tensors with their statistics."""

from .names import KNOWN, KnownSet, is_known, require_known
from .real import RealData, Split
from .rows import load_rows
from .settings import DataSettings, TextSettings
from .sources import load_data

__all__ = [
    "KNOWN",
    "DataSettings",
    "KnownSet",
    "RealData",
    "Split",
    "TextSettings",
    "is_known",
    "load_data",
    "load_rows",
    "require_known",
]
