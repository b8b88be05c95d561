"""One gradient step of a stack of networks, and the way back through it. All modes of the hypergradient use it."""

import abc
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import grad, jvp

from ..errors import UserError
from ..networks.forward import ForwardDifferentiable
from ..program import pieces


class Batch(NamedTuple):
    """The tensors of a gradient step. A loss that takes more than these gets them from another named tuple."""

    inputs: Float[Tensor, "networks b *shape"]
    """The synthetic examples, for each network."""
    targets: Shaped[Tensor, "networks b *classes"]
    """Their labels: integer classes (hard), or probabilities (soft)."""


INPUTS = ("inputs",)
"""The name of the tensor of a `Batch` that is learned by default."""

InnerLoss = Callable[..., Tensor]
"""(weights (networks, size), *batch) -> losses (networks,). The tensors of a batch are given in their order: inputs
(networks, b, c, h, w), targets (networks, b) or (networks, b, classes)."""

Mixed = dict[str, Tensor]
"""d<g, u>/d(tensor of a batch), by the name of the tensor; each has the shape of its tensor."""

Back = Callable[[Tensor], tuple[Tensor, Mixed]]
"""The way back through a step: u (networks, size) -> H u and the mixed derivatives of <g, u>, where g is the gradient
of the step and H its Hessian."""

RealLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(weights (networks, size), real images (networks, b, c, h, w), labels (networks, b)) -> means over b (networks,)."""

Weights = Float[Tensor, "networks size"]


@dataclass(frozen=True, eq=False)
class OnReal:
    """An objective: a loss on one batch of real images for each network."""

    loss: RealLoss
    images: Float[Tensor, "networks b *shape"]
    labels: Shaped[Tensor, "networks b"]
    most: int = 0
    """Images of each network in one pass; 0: all of them, as networks need whose outputs depend on the whole batch."""

    def __call__(self, thetas: Float[Tensor, "networks size"]) -> Float[Tensor, " networks"]:
        """Return the objective of each network."""
        return self.loss(thetas, self.images, self.labels)

    def pieces(self) -> Iterator[tuple[float, "OnReal"]]:
        """Yield objectives of at most `most` images of each network, each after its share of the batch."""
        for share, images, labels in pieces(self.images, self.labels, self.most):
            yield share, OnReal(self.loss, images, labels)


class Steps(abc.ABC):
    """Computes the gradients of an inner loss. All subclasses return equal numbers, up to rounding."""

    @abc.abstractmethod
    def gradient(self, thetas: Weights, batch: Any) -> Weights:
        """Return dl/dtheta of each network. `batch` is a `Batch` or another named tuple of tensors."""

    @abc.abstractmethod
    def linearise(self, thetas: Weights, batch: Any, wanted: Sequence[str] = INPUTS) -> tuple[Weights, Back]:
        """Return the gradient and the way back through this step.

        Args:
            thetas: the weights of each network.
            batch: a `Batch` or another named tuple of tensors.
            wanted: the names of the tensors of the batch whose mixed derivatives the way back gives; no others are
                computed. These tensors must be floating-point numbers.
        """

    @abc.abstractmethod
    def differentiate(
        self, objective: Callable[[Tensor], Tensor], thetas: Weights
    ) -> tuple[Float[Tensor, " networks"], Weights]:
        """Return the objective of each network and its gradient, computed in one pass."""

    def evaluate(
        self, objective: Callable[[Tensor], Tensor], thetas: Weights
    ) -> tuple[Float[Tensor, " networks"], Weights]:
        """Return the objective of each network and its gradient, for as many real images at once as it says."""
        if not isinstance(objective, OnReal):
            return self.differentiate(objective, thetas)
        values, gradient = thetas.new_zeros(len(thetas)), torch.zeros_like(thetas)
        for share, part in objective.pieces():
            value, slope = self.differentiate(part, thetas)
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

    def gradient(self, thetas: Weights, batch: Any) -> Weights:
        """Return dl/dtheta of each network."""
        thetas = thetas.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.loss(thetas, *batch).sum(), thetas)[0]

    def linearise(self, thetas: Weights, batch: Any, wanted: Sequence[str] = INPUTS) -> tuple[Weights, Back]:
        """Return the gradient and the way back, which holds the graph of the gradient in memory."""
        thetas = thetas.detach().requires_grad_()
        learned = {name: getattr(batch, name).detach().requires_grad_() for name in wanted}
        with torch.enable_grad():
            loss = self.loss(thetas, *batch._replace(**learned)).sum()
            (gradient,) = torch.autograd.grad(loss, thetas, create_graph=True)
        if not self._checked:
            _differentiable_twice(gradient)
            self._checked = True

        def back(u: Tensor) -> tuple[Tensor, Mixed]:
            with explain_missing_derivative("second", "no mode can do without it: take another layer in its place"):
                hessian_u, *mixed = torch.autograd.grad(
                    gradient, (thetas, *learned.values()), u, materialize_grads=True
                )
            return hessian_u, dict(zip(learned, mixed, strict=True))

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

    H u and d<g, u>/dx are the tangents of (dl/dtheta, dl/dx) as theta moves along u: second derivatives commute. This
    holds for each tensor x of the batch.
    """

    def linearise(self, thetas: Weights, batch: Any, wanted: Sequence[str] = INPUTS) -> tuple[Weights, Back]:
        """Return the gradient and the way back, which keeps only the arguments in memory."""

        def total(weights: Tensor, learned: Mixed) -> Tensor:
            with ForwardDifferentiable():
                return self.loss(weights, *batch._replace(**learned)).sum()

        gradients = grad(total, argnums=(0, 1))
        thetas, learned = thetas.detach(), {name: getattr(batch, name).detach() for name in wanted}

        def back(u: Tensor) -> tuple[Tensor, Mixed]:
            with explain_missing_derivative("forward", "take execution=eager"):
                hessian_u, mixed = jvp(lambda weights: gradients(weights, learned), (thetas,), (u,))[1]
            return hessian_u, mixed

        return self.gradient(thetas, batch), back
