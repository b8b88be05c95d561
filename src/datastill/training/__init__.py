"""Differentiable inner training and its hypergradient."""

from .engine import Engine
from .hypergradient import Hypergradient, differentiated, hypergradient
from .inner import draw_window, inner_loss
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
    "RealLoss",
    "Steps",
    "TracedSteps",
    "Untraceable",
    "differentiated",
    "draw_window",
    "hypergradient",
    "inner_loss",
]
