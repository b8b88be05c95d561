"""The program: everything that a training on synthetic examples needs besides the examples and the initial weights."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import at_least
from ..rng import generator
from .augmentation import Augmentation
from .losses import CrossEntropy, Loss
from .optimisers import Clipped, GradientDescent, Optimiser, Rule
from .orders import Ordered, Shuffled, Step


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """How networks are trained on synthetic examples.

    The defaults are those of Wang et al. 2018: cross-entropy and gradient descent, without augmentation. A program is
    pure data. All that is random in it follows from the seed that is given to `steps`.
    """

    order: Ordered | Shuffled
    """Which examples each gradient step trains on, and its step size."""
    optimiser: Optimiser = field(default_factory=GradientDescent)
    """The rule by which a gradient changes the weights."""
    loss: Loss = field(default_factory=CrossEntropy)
    """The loss of an example; a step follows the gradient of its mean over the batch."""
    augmentation: Augmentation | None = None
    """The augmentation, drawn anew for each step; None: the examples are used as they are."""
    clip: float = 0.0
    """Largest norm of the gradient; a longer one is scaled to it. 0: no limit."""

    def __post_init__(self) -> None:
        at_least("clip", self.clip, 0)

    @property
    def rule(self) -> Rule:
        """The optimiser with the limit on the norm of the gradient."""
        return Clipped(inside=self.optimiser, limit=self.clip) if self.clip else self.optimiser

    def length(self, count: int) -> int:
        """Return the number of gradient steps on `count` examples.

        Raises:
            UserError: the program does not fit this number of examples.
        """
        return self.order.length(count)

    def steps(self, count: int, seed: int = 0) -> Iterator[Step]:
        """Yield every gradient step on `count` examples, in order; equal seeds give equal steps.

        Raises:
            UserError: the program does not fit this number of examples.
        """
        return self.order.steps(count, seed)

    def batch(
        self, inputs: Float[Tensor, "n *shape"], targets: Shaped[Tensor, "n *classes"], step: Step
    ) -> tuple[Float[Tensor, "b *shape"], Shaped[Tensor, "b *classes"]]:
        """Return the examples of a step as the network takes them, augmented, and their targets.

        The examples are differentiable with respect to `inputs`. Without augmentation, those of `Ordered` are a view.
        """
        examples, wanted = inputs[step.which], targets[step.which]
        if self.augmentation is None:
            return examples, wanted
        channels, height, width = examples.shape[1:]
        draw = self.augmentation.draw(len(examples), (channels, height, width), generator(step.seed, "draw"))
        return draw(examples), wanted

    def to(self, like: Tensor) -> "Program":
        """Return the program with its tensors on the device and of the type of a tensor."""
        return replace(self, order=self.order.to(like))
