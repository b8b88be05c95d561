"""What a distilled set is compared with: ordinary artifacts in which nothing was learned."""

from .random_real import random_real

__all__ = ["random_real"]
