"""One gradient step of a stack of networks, and the way back through it. All modes of the hypergradient use it."""

import abc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import grad, jvp

from ..errors import UserError
from ..networks.forward import ForwardDifferentiable

InnerLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(weights (networks, size), examples (networks, b, c, h, w), labels (b,) or (b, classes)) -> losses (networks,)."""

Back = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The way back through a step: u (networks, size) -> (H u, d<g, u>/dx), with its gradient g and Hessian H."""

RealLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(weights (networks, size), real images (networks, b, c, h, w), labels (networks, b)) -> means over b (networks,)."""

Weights = Float[Tensor, "networks size"]
Images = Float[Tensor, "networks b c h w"]
Labels = Shaped[Tensor, "b *classes"]


@dataclass(frozen=True, eq=False)
class OnReal:
    """An objective: a loss on one batch of real images for each network."""

    loss: RealLoss
    images: Float[Tensor, "networks b c h w"]
    labels: Shaped[Tensor, "networks b"]

    def __call__(self, thetas: Float[Tensor, "networks size"]) -> Float[Tensor, " networks"]:
        """Return the objective of each network."""
        return self.loss(thetas, self.images, self.labels)

    def pieces(self, size: int) -> list["OnReal"]:
        """Split the batch into objectives of nearly equal size, with at most `size` images of each network."""
        count = -(-self.images.shape[1] // size)
        images, labels = self.images.tensor_split(count, 1), self.labels.tensor_split(count, 1)
        return [OnReal(self.loss, *piece) for piece in zip(images, labels, strict=True)]


class Steps(abc.ABC):
    """Computes the gradients of an inner loss. All subclasses return equal numbers, up to rounding."""

    @abc.abstractmethod
    def gradient(self, thetas: Weights, x: Images, y: Labels) -> Weights:
        """Return dl/dtheta of each network."""

    @abc.abstractmethod
    def linearise(self, thetas: Weights, x: Images, y: Labels) -> tuple[Weights, Back]:
        """Return the gradient and the way back through this step."""

    @abc.abstractmethod
    def differentiate(
        self, objective: Callable[[Tensor], Tensor], thetas: Weights
    ) -> tuple[Float[Tensor, " networks"], Weights]:
        """Return the objective of each network and its gradient, computed in one pass."""

    def evaluate(
        self, objective: Callable[[Tensor], Tensor], thetas: Weights, piece: int = 128
    ) -> tuple[Float[Tensor, " networks"], Weights]:
        """Return the objective of each network and its gradient; at most `piece` real images are in memory at once."""
        if not isinstance(objective, OnReal) or objective.images.shape[1] <= piece:
            return self.differentiate(objective, thetas)
        total, values, gradient = objective.images.shape[1], thetas.new_zeros(len(thetas)), torch.zeros_like(thetas)
        for part in objective.pieces(piece):
            value, slope = self.differentiate(part, thetas)
            share = part.images.shape[1] / total
            values, gradient = values + share * value, gradient.add(slope, alpha=share)
        return values, gradient


NO_DERIVATIVE = re.compile(
    r"derivative for '?([\w:]+)'? is not implemented|forward AD with '?([\w:]+)'? that does not support it|"
    r"must override the setup_context|must implement the jvp function|saved tensor hooks|"
    r"view size is not compatible"  # a forward derivative that fails for channels-last images only
)


@contextmanager
def explain_missing_derivative(kind: str, advice: str) -> Iterator[None]:
    """Turn PyTorch's error about a missing derivative into one that names the operation and the fix.

    Raises:
        UserError: an operation has no second derivative, or no forward derivative.
    """
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        found = NO_DERIVATIVE.search(str(error))
        if not found:
            raise
        name = found[1] or found[2] or "an operation"
        if "scaled_dot_product" in name:  # a `Network` replaces it; here a user's loss calls it
            advice = "call this inside: with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)"
        raise UserError(f"the network uses {name}, which has no {kind} derivative; {advice}") from error


class EagerSteps(Steps):
    """Steps by PyTorch's autograd, reverse over reverse: the graph of the gradient is kept for the way back."""

    def __init__(self, loss: InnerLoss) -> None:
        self.loss = loss
        self._checked = False

    def gradient(self, thetas: Weights, x: Images, y: Labels) -> Weights:
        """Return dl/dtheta of each network."""
        thetas = thetas.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.loss(thetas, x, y).sum(), thetas)[0]

    def linearise(self, thetas: Weights, x: Images, y: Labels) -> tuple[Weights, Back]:
        """Return the gradient and the way back, which holds the graph of the gradient in memory."""
        thetas, x = thetas.detach().requires_grad_(), x.detach().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.loss(thetas, x, y).sum(), thetas, create_graph=True)
        if not self._checked:
            _differentiable_twice(gradient)
            self._checked = True

        def back(u: Tensor) -> tuple[Tensor, Tensor]:
            with explain_missing_derivative("second", "no mode can do without it: take another layer in its place"):
                hessian_u, mixed_u = torch.autograd.grad(gradient, (thetas, x), u, materialize_grads=True)
            return hessian_u, mixed_u

        return gradient.detach(), back

    def differentiate(
        self, objective: Callable[[Tensor], Tensor], thetas: Weights
    ) -> tuple[Float[Tensor, " networks"], Weights]:
        """Return the objective of each network and its gradient."""
        thetas = thetas.detach().requires_grad_()
        with torch.enable_grad():
            values = objective(thetas)
            (gradient,) = torch.autograd.grad(values.sum(), thetas)
        return values.detach(), gradient


def _differentiable_twice(gradient: Tensor) -> None:
    """Raise a `UserError` for a function that is marked as differentiable once: autograd would ignore its part."""
    pending, seen = [gradient.grad_fn], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "torch::autograd::Error":
            raise UserError(
                "the network uses a function that can be differentiated once only, which has no second derivative; "
                "no mode can do without it: take another layer in its place"
            )
        pending += [following for following, _ in node.next_functions]


class ForwardSteps(EagerSteps):
    """Steps by forward over reverse derivatives: the gradient is differentiated along u, and has no graph.

    They are wrong for networks that use `torch.no_grad`, which forward derivatives ignore; `detach` is fine.

    H u and d<g, u>/dx are the tangents of (dl/dtheta, dl/dx) as theta moves along u: second derivatives commute.
    """

    def linearise(self, thetas: Weights, x: Images, y: Labels) -> tuple[Weights, Back]:
        """Return the gradient and the way back, which keeps only the arguments in memory."""

        def total(weights: Tensor, images: Tensor) -> Tensor:
            with ForwardDifferentiable():
                return self.loss(weights, images, y).sum()

        gradients = grad(total, argnums=(0, 1))
        thetas, x = thetas.detach(), x.detach()

        def back(u: Tensor) -> tuple[Tensor, Tensor]:
            with explain_missing_derivative("forward", "take execution=eager"):
                hessian_u, mixed_u = jvp(lambda weights: gradients(weights, x), (thetas,), (u,))[1]
            return hessian_u, mixed_u

        return self.gradient(thetas, x, y), back
