"""Exact hypergradients of an objective at the end of inner training, through all of its steps.

With theta_{t+1} = theta_t - eta_t g_t, g_t = dl(x_t; theta_t)/dtheta and v = dL/dtheta_{t+1}, going back one step gives
(Wang et al. 2018, section 3; Maclaurin et al. 2015)

    dL/dtheta_t = v - eta_t H_t v,      dL/dx_t += -eta_t d<g_t, v>/dx,      dL/deta_t = -<g_t, v>.

H_t v and d<g_t, v>/dx are both needed for one direction v, and there are two exact ways to have them: keep the graph
of each g_t and go back through it (``stored``), or keep theta_t alone and differentiate the gradient along v
(``recomputed``, forward over reverse: the Hessian is symmetric).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.func import grad, jvp

from ..errors import UserError, unknown
from .program import InnerLoss, Program, unroll

MODES = ("stored", "recomputed")


@dataclass(frozen=True, kw_only=True)
class Hypergradient:
    """What one pass gives, separately for each network."""

    objective: Float[Tensor, " networks"]
    examples: Float[Tensor, "networks steps b c h w"]
    """dL/dx, summed over epochs."""
    step_sizes: Float[Tensor, "networks epochs steps"]
    """dL/deta."""
    initial: Float[Tensor, "networks size"]
    """dL/dtheta_0."""
    final: Float[Tensor, "networks size"]
    """theta_T, the trained weights."""


def hypergradient(
    loss: InnerLoss,
    objective: Callable[[Tensor], Tensor],
    thetas: Float[Tensor, "networks size"],
    examples: Float[Tensor, "steps b c h w"],
    labels: Shaped[Tensor, "steps b *classes"],
    step_sizes: Float[Tensor, "epochs steps"],
    *,
    mode: str = "stored",
    window: range | None = None,
) -> Hypergradient:
    """Train every network on the examples, evaluate the objective, and differentiate it through the training.

    Args:
        loss: inner loss of each network (see `program.InnerLoss`), twice differentiable.
        objective: final weights (networks, size) to the objective of each (networks,).
        thetas: initial weights.
        examples: synthetic examples of each step, shared by networks and epochs.
        labels: integer classes (steps, b) or probabilities (steps, b, classes).
        step_sizes: one positive number per epoch and step.
        mode: ``stored`` is fastest and its memory grows with the activations of all T steps; ``recomputed`` keeps T
            copies of the weights and the activations of one step. Both are exact.
        window: differentiate through these gradient steps only, counted from 0; the earlier ones are trained through
            as they are, and the objective is taken after the last one. All T steps when left out. The result is
            the exact gradient for the weights that the window starts from (Feng et al. 2023, arXiv 2311.07025).

    Raises:
        UserError: unknown `mode`, or a window that is not within the program.
    """
    if mode not in MODES:
        raise unknown("hypergradient mode", mode, MODES)
    take = _stored if mode == "stored" else _recomputed
    epochs, steps = step_sizes.shape
    order = list(Program(steps=steps, epochs=epochs))
    window = range(len(order)) if window is None else window
    if not 0 <= window.start < window.stop <= len(order) or window.step != 1:
        raise UserError(f"window {window.start}..{window.stop} is not within the {len(order)} steps of the program")
    networks = thetas.shape[0]
    many = examples.detach().expand(networks, *examples.shape)
    sizes = step_sizes.detach()

    backward = []
    theta = thetas.detach()
    if window.start:
        *_, theta = itertools.islice(unroll(loss, theta, examples.detach(), labels, sizes), window.start)
    order = order[window.start : window.stop]
    for epoch, step in order:
        gradient, back = take(loss, theta, many[:, step], labels[step])
        backward.append(back)
        theta = theta - sizes[epoch, step] * gradient

    final = theta.requires_grad_()
    with torch.enable_grad():
        values = objective(final)
        (v,) = torch.autograd.grad(values.sum(), final)

    d_examples = torch.zeros_like(many, memory_format=torch.contiguous_format)
    d_sizes = thetas.new_zeros(networks, epochs, steps)
    for epoch, step in reversed(order):
        gradient, hessian_v, mixed_v = backward.pop()(v)  # popped, so that memory is freed on the way
        eta = sizes[epoch, step]
        d_sizes[:, epoch, step] = -(gradient * v).sum(1)
        d_examples[:, step] -= eta * mixed_v
        v = v - eta * hessian_v
    return Hypergradient(
        objective=values.detach(), examples=d_examples, step_sizes=d_sizes, initial=v, final=final.detach()
    )


Back = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""v -> (g, H v, d<g, v>/dx) of one step."""


def _stored(loss: InnerLoss, theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Back]:
    theta, x = theta.detach().requires_grad_(), x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(theta, x, y).sum(), theta, create_graph=True)

    def back(v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hessian_v, mixed_v = torch.autograd.grad(gradient, (theta, x), v, materialize_grads=True)
        return gradient.detach(), hessian_v, mixed_v

    return gradient.detach(), back


def _recomputed(loss: InnerLoss, theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Back]:
    gradients = grad(lambda weights, images: loss(weights, images, y).sum(), argnums=(0, 1))
    theta = theta.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(theta, x, y).sum(), theta)
    theta = theta.detach()

    def back(v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        primal, tangent = jvp(lambda weights: gradients(weights, x), (theta,), (v,))[:2]
        return primal[0], *tangent

    return gradient, back
