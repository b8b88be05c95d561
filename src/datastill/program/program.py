"""The program: everything that a training on synthetic examples needs besides the examples and the initial weights."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from jaxtyping import Float, Shaped
from torch import Tensor

from ..rng import generator
from ..storage.records import number
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
        number(0, 1e9)(self.clip, "clip")

    @property
    def rule(self) -> Rule:
        """The optimiser with the limit on the norm of the gradient."""
        return Clipped(inside=self.optimiser, limit=self.clip) if self.clip else self.optimiser

    @property
    def words(self) -> str:
        """The program in words, e.g. for a list of programs."""
        parts = [self.order.words, self.optimiser.words, self.loss.words]
        parts += [self.augmentation.words] if self.augmentation else []
        return "; ".join([*parts, f"gradients of a norm of at most {self.clip:g}"] if self.clip else parts)

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
        self, inputs: Float[Tensor, "n *shape"], targets: Shaped[Tensor, "*epochs_n_classes"], step: Step
    ) -> tuple[Float[Tensor, "b *shape"], Shaped[Tensor, "b *classes"]]:
        """Return the examples of a step as the network takes them, augmented, and their targets.

        The examples are differentiable with respect to `inputs`. Without augmentation, those of `Ordered` are a view.

        Args:
            inputs: all examples, normalised.
            targets: integer classes (n,), one number per class (n, classes), or other ones in each epoch (epochs, n,
                classes), which begin again after the last of them.
            step: the step.
        """
        if targets.dim() == 3:
            targets = targets[step.epoch % len(targets)]
        examples = inputs[step.which]
        return (self.changed(examples, step) if self.augmentation else examples), targets[step.which]

    def changed(self, examples: Float[Tensor, "*some b c h w"], step: Step) -> Float[Tensor, "*some b c h w"]:
        """Return the examples of a step (or a stack of them), as its draw of the augmentation changes them.

        A batch of real images can be given too, if the augmentation is shared by all images of a batch.
        """
        if self.augmentation is None:
            return examples
        count, channels, height, width = examples.shape[-4:]
        draw = self.augmentation.draw(count, (channels, height, width), generator(step.seed, "draw"))
        return draw(examples)

    def to(self, like: Tensor) -> "Program":
        """Return the program with its tensors on the device and of the type of a tensor, without gradients."""
        return replace(self, order=self.order.to(like))
