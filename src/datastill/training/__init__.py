"""Differentiable inner training and its hypergradient."""

from .engine import Engine
from .hypergradient import Hypergradient, hypergradient
from .optim import OPTIMISERS, Clipped, Optimiser, optimiser
from .program import Program, unroll
from .steps import EagerSteps, ForwardSteps, InnerLoss, OnReal, RealLoss, Steps
from .traced import TracedSteps, Untraceable

__all__ = [
    "OPTIMISERS",
    "Clipped",
    "EagerSteps",
    "Engine",
    "ForwardSteps",
    "Hypergradient",
    "InnerLoss",
    "OnReal",
    "Optimiser",
    "Program",
    "RealLoss",
    "Steps",
    "TracedSteps",
    "Untraceable",
    "hypergradient",
    "optimiser",
    "unroll",
]
