"""Selection: examples that are real images, or means of them, chosen by a rule; nothing is learned."""

from .average import Average
from .base import Selection, Sized
from .core_sets import Herding, KCenter
from .k_means import KMeans
from .random_real import RandomReal

__all__ = ["Average", "Herding", "KCenter", "KMeans", "RandomReal", "Selection", "Sized"]
