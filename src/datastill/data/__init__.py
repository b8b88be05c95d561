"""Real data: named sets, folders, tables, torch datasets and arrays, as uint8 tensors with their statistics."""

from .real import RealData, Split
from .sources import KNOWN, DataSettings, KnownSet, load_data

__all__ = ["KNOWN", "DataSettings", "KnownSet", "RealData", "Split", "load_data"]
