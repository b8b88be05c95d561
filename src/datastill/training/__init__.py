"""Differentiable inner training and its hypergradient."""

from .hypergradient import Hypergradient, InnerLoss, hypergradient
from .program import Program, unroll

__all__ = ["Hypergradient", "InnerLoss", "Program", "hypergradient", "unroll"]
