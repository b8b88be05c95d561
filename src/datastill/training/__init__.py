"""Differentiable inner training and its hypergradient."""

from .engine import Engine
from .hypergradient import Hypergradient, hypergradient
from .program import Program, unroll
from .steps import Batch, EagerSteps, ForwardSteps, InnerLoss, OnReal, RealLoss, Steps
from .traced import TracedSteps, Untraceable

__all__ = [
    "Batch",
    "EagerSteps",
    "Engine",
    "ForwardSteps",
    "Hypergradient",
    "InnerLoss",
    "OnReal",
    "Program",
    "RealLoss",
    "Steps",
    "TracedSteps",
    "Untraceable",
    "hypergradient",
    "unroll",
]
