"""How networks are trained on synthetic examples."""

from .optimisers import (
    OPTIMISERS,
    Adam,
    AdamW,
    Clipped,
    GradientDescent,
    Momentum,
    Optimiser,
    OptimiserName,
    Rule,
    State,
    name_of,
    optimiser,
)
from .torch_form import limit_gradient, optimiser_code, optimiser_numbers, optimiser_words, torch_form

__all__ = [
    "OPTIMISERS",
    "Adam",
    "AdamW",
    "Clipped",
    "GradientDescent",
    "Momentum",
    "Optimiser",
    "OptimiserName",
    "Rule",
    "State",
    "limit_gradient",
    "name_of",
    "optimiser",
    "optimiser_code",
    "optimiser_numbers",
    "optimiser_words",
    "torch_form",
]
