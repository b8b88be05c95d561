"""How networks are trained on synthetic examples: the only place that knows what a gradient step on them is.

A `Program` holds all that such a training needs besides the examples and the initial weights: the order of its steps
(`Ordered` or `Shuffled`), the loss, the optimiser and the augmentation. ``program.steps(n, seed)`` yields each gradient
step (which examples, step size, seed of the augmentation), and ``program.batch(inputs, targets, step)`` gives its
examples. Whoever trains on a set reads these two: `train_stack` (evaluation), `train_module` (`DistilledSet.fit`) and
the inner training of unrolling. Nothing is copied per epoch.
"""

from .augmentation import Augmentation, Draw, ShiftFlip, mirrored
from .losses import CrossEntropy, Divergence, Loss, SquaredError, centred
from .named import (
    AUGMENTATIONS,
    PROGRAMS,
    AugmentationName,
    ProgramName,
    ShuffledName,
    alike,
    augmentation_name,
    suited,
)
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
    known_name,
    optimiser,
)
from .orders import Ordered, Shuffled, Step
from .plain import as_plain, from_plain
from .program import Program
from .siamese import Siamese
from .torch_form import limit_gradient, optimiser_code, optimiser_numbers, torch_form
from .train import gradient_of, labels_from, pieces, train_module, train_stack

__all__ = [
    "AUGMENTATIONS",
    "OPTIMISERS",
    "PROGRAMS",
    "Adam",
    "AdamW",
    "Augmentation",
    "AugmentationName",
    "Clipped",
    "CrossEntropy",
    "Divergence",
    "Draw",
    "GradientDescent",
    "Loss",
    "Momentum",
    "Optimiser",
    "OptimiserName",
    "Ordered",
    "Program",
    "ProgramName",
    "Rule",
    "ShiftFlip",
    "Shuffled",
    "ShuffledName",
    "Siamese",
    "SquaredError",
    "State",
    "Step",
    "alike",
    "as_plain",
    "augmentation_name",
    "centred",
    "from_plain",
    "gradient_of",
    "known_name",
    "labels_from",
    "limit_gradient",
    "mirrored",
    "optimiser",
    "optimiser_code",
    "optimiser_numbers",
    "pieces",
    "suited",
    "torch_form",
    "train_module",
    "train_stack",
]
