"""Differentiable inner training and its hypergradient."""

from .engine import PLAIN, Engine
from .hypergradient import Hypergradient, differentiated, hypergradient
from .inner import draw_window, mean_loss
from .steps import Batch, EagerSteps, ForwardSteps, InnerLoss, OnReal, RealLoss, Steps
from .traced import TracedSteps, Untraceable
from .unroll import Unroll

__all__ = [
    "PLAIN",
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
    "Unroll",
    "Untraceable",
    "differentiated",
    "draw_window",
    "hypergradient",
    "mean_loss",
]
