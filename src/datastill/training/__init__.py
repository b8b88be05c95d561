"""Differentiable inner training and its hypergradient."""

from .engine import PLAIN, Engine
from .hypergradient import Hypergradient, differentiated, hypergradient
from .inner import draw_window, mean_loss
from .on_data import images_of_statistics, shuffled, trained_on
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
    "images_of_statistics",
    "mean_loss",
    "shuffled",
    "trained_on",
]
