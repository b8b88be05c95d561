"""Exact hypergradients of an objective at the end of inner training, through all of its steps.

Let theta_{t+1} = theta_t - eta_t g_t, g_t = dl(x_t; theta_t)/dtheta and v = dL/dtheta_{t+1}. Going back one step gives
(Wang et al. 2018, section 3; Maclaurin et al. 2015)

    dL/dtheta_t = v - eta_t H_t v,      dL/dx_t += -eta_t d<g_t, v>/dx,      dL/deta_t = -<g_t, v>.

For another inner optimiser, u = dL/dg_t replaces -eta_t v (see `Rule.pull`). For soft labels y, the mixed
derivative is d<g_t, u>/dy. H_t u and the mixed derivatives are a linear map of u, the `Back` of a step. Mode ``stored``
makes this map during training and keeps it; mode ``recomputed`` keeps only weights during training, and makes the map
on the way back.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import UserError, at_least, unknown
from ..modes import trainable, usual_modes
from ..program import GradientDescent, Ordered, Program, Rule, State
from .inner import Training
from .steps import INPUTS, Back, Batch, EagerSteps, InnerLoss, Steps

MODES = ("stored", "recomputed")
Reverse = Iterator[tuple[int, State, Tensor, Back]]
"""For each step, from last to first: t, the state before step t, its gradient and its `Back`."""


@dataclass(frozen=True, kw_only=True)
class Hypergradient:
    """The result of `hypergradient`, separately for each network."""

    objective: Float[Tensor, " networks"]
    """L, the objective at the trained weights."""
    batches: dict[str, Float[Tensor, "networks *shape"]]
    """The gradient for each tensor of the batches that was asked for, by its name, summed over epochs."""
    step_sizes: Float[Tensor, "networks *steps"]
    """dL/deta, the gradient for the step sizes."""
    initial: Float[Tensor, "networks size"]
    """dL/dtheta_0, the gradient for the initial weights."""
    final: Float[Tensor, "networks size"]
    """theta_T, the trained weights."""

    @property
    def examples(self) -> Float[Tensor, "networks *some"]:
        """dL/dx, the gradient for the examples."""
        return self.batches["inputs"]

    @property
    def labels(self) -> Float[Tensor, "networks *some classes"]:
        """dL/dy, the gradient for soft labels."""
        return self.batches["targets"]


@usual_modes()
def hypergradient(
    loss: InnerLoss | Steps,
    objective: Callable[[Tensor], Tensor],
    thetas: Float[Tensor, "networks size"],
    examples: Float[Tensor, "steps b *shape"],
    labels: Shaped[Tensor, "steps b *classes"],
    step_sizes: Float[Tensor, "epochs steps"],
    *,
    optimiser: Rule | None = None,
    mode: str = "stored",
    keep_every: int = 1,
    window: range | None = None,
    wanted: Sequence[str] = INPUTS,
) -> Hypergradient:
    """Train every network on the examples, evaluate the objective, and differentiate it through the training.

    Args:
        loss: inner loss of each network, twice differentiable, or the `Steps` that compute it.
        objective: a function from final weights (networks, size) to the objective of each network (networks,).
        thetas: initial weights.
        examples: synthetic examples of each step, shared by networks and epochs.
        labels: integer classes (steps, b) or probabilities (steps, b, classes).
        step_sizes: one positive number per epoch and step.
        optimiser: the optimiser of the inner training; None for gradient descent.
        mode: ``stored`` is fastest, but keeps the activations of all T steps; ``recomputed`` computes each gradient
            twice, and keeps T copies of the weights and the activations of one step. Both are exact.
        keep_every: with k > 1, ``recomputed`` keeps the weights of every k-th step only, in main memory, and repeats
            the k steps on the way back: T / k + k copies, for one more gradient per step. 1 keeps every step.
        window: the gradient steps to differentiate, counted from 0; None for all T steps. Earlier steps are trained but
            not differentiated, and training ends with the window. The result is the exact gradient for the weights
            at the start of the window (Feng et al. 2023, arXiv 2311.07025).
        wanted: the names of the tensors of a batch to differentiate for: ``inputs`` (examples), ``targets`` (soft
            labels). Gradients for others are not computed.

    Raises:
        UserError: `mode` is unknown, `window` is not within the T steps, a tensor in `wanted` is unknown or has no
            derivative, as hard labels, or a tensor has too few or too many dimensions.
    """
    for name, each, shape in (("thetas", thetas, "networks, size"), ("step_sizes", step_sizes, "epochs, steps")):
        if each.dim() != 2:
            raise UserError(f"{name} has the shape {tuple(each.shape)}, but must be ({shape})")
    flat = differentiated(
        loss,
        objective,
        thetas,
        examples.flatten(0, 1),
        labels.flatten(0, 1),
        Program(order=Ordered(step_sizes=step_sizes)),
        rule=optimiser or GradientDescent(),
        mode=mode,
        keep_every=keep_every,
        window=window,
        wanted=wanted,
    )
    batches = {name: each.unflatten(1, labels.shape[:2]) for name, each in flat.batches.items()}
    return replace(flat, batches=batches, step_sizes=flat.step_sizes.unflatten(1, step_sizes.shape))


def differentiated(
    loss: InnerLoss | Steps,
    objective: Callable[[Tensor], Tensor],
    thetas: Float[Tensor, "networks size"],
    inputs: Float[Tensor, "n *shape"],
    targets: Shaped[Tensor, "n *classes"],
    program: Program,
    *,
    seed: int = 0,
    rule: Rule | None = None,
    mode: str = "stored",
    keep_every: int = 1,
    window: range | None = None,
    wanted: Sequence[str] = INPUTS,
) -> Hypergradient:
    """Return the hypergradient through the training by a program; `hypergradient` says what arguments mean.

    The gradients are for all inputs (networks, n, *shape) and targets (networks, n, classes), through the augmentation
    of each step, and for the step size of each of the T gradient steps (networks, T).

    Args:
        loss: inner loss of each network; the loss of the program is not used.
        objective: a function of the final weights.
        thetas: initial weights.
        inputs: synthetic examples.
        targets: their labels.
        program: how networks are trained on them.
        seed: the seed of all that is random in the program.
        rule: the optimiser of the program in another form, e.g. a fused one; None: as the program has it.
        mode: ``stored`` or ``recomputed``.
        keep_every: how often ``recomputed`` keeps weights.
        window: the gradient steps to differentiate; None for all.
        wanted: the names of the tensors of a batch to differentiate for.
    """
    if mode not in MODES:
        raise unknown("hypergradient mode", mode, MODES)
    at_least("keep_every", keep_every, 1)
    length = program.length(len(inputs))
    window = _within(window, length)
    run = Training(
        steps=loss if isinstance(loss, Steps) else EagerSteps(loss),
        rule=rule or program.rule,
        program=program.to(thetas),
        inputs=trainable(inputs.detach()),
        targets=trainable(targets.detach()),
        networks=len(thetas),
        stop=window.stop,
        seed=seed,
    )
    _must_have_derivatives(Batch(run.inputs, run.targets), wanted)
    state = run.rule.start(trainable(thetas.detach()))
    for t in range(window.start):
        state = run.forward(state, t)
    kept = _stored if mode == "stored" else functools.partial(_recomputed, every=keep_every)
    state, back = kept(run, state, window, wanted)

    values, v = run.steps.evaluate(objective, state[0])
    batches, d_sizes, initial = _gone_back(run, back, (v, *(torch.zeros_like(v) for _ in state[1:])), length)
    return Hypergradient(objective=values, batches=batches, step_sizes=d_sizes, initial=initial, final=state[0])


def _within(window: range | None, length: int) -> range:
    """Return the window, or all steps for None; raise a `UserError` if it is not within the steps of the program."""
    window = range(length) if window is None else window
    if not 0 <= window.start < window.stop <= length or window.step != 1:
        raise UserError(
            f"window {window.start}..{window.stop} is not within the {length} steps of the program; change it"
        )
    return window


def _gone_back(
    run: Training, back: Reverse, cotangents: State, length: int
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Return the gradients for inputs and targets, for all step sizes and for the weights before the first step."""
    batches: dict[str, Tensor] = {}
    d_sizes = cotangents[0].new_zeros(run.networks, length)
    for t, before, gradient, through in back:
        cotangents, u, d_sizes[:, t] = run.rule.pull(before, gradient, run.order[t].size, t, cotangents)
        hessian_u, mixed = through(u)
        run.add(batches, mixed, t)
        cotangents = (cotangents[0] + hessian_u, *cotangents[1:])
    return batches, d_sizes, cotangents[0]


def _must_have_derivatives(batch: Batch, wanted: Sequence[str]) -> None:
    """Raise a `UserError` if a name in `wanted` is no tensor of a batch, or one of integers."""
    for name in wanted:
        if name not in batch._fields:
            raise unknown("tensor of a batch", name, batch._fields)
        if not getattr(batch, name).is_floating_point():
            raise UserError(f"{name} are integers, which have no derivative; give numbers, such as soft labels")


def _stored(run: Training, state: State, window: range, wanted: Sequence[str]) -> tuple[State, Reverse]:
    """Return the state after the window, and the way back, with the `Back` of each step kept during training."""
    kept = []
    for t in window:
        gradient, back = run.steps.linearise(state[0], run.batch(t), wanted)
        kept.append((t, state, gradient, back))
        state = run.update(state, gradient, t)

    def reverse() -> Reverse:
        while kept:
            yield kept.pop()  # each step frees its memory

    return state, reverse()


def _recomputed(run: Training, state: State, window: range, wanted: Sequence[str], every: int) -> tuple[State, Reverse]:
    """Return the state after the window, and the way back, computed from the kept state of every `every`-th step."""
    kept: list[tuple[State, range]] = []
    for t in window:
        if (t - window.start) % every == 0:
            kept.append((_on(state, "cpu") if every > 1 else state, range(t, min(t + every, window.stop))))
        state = run.forward(state, t)

    def reverse() -> Reverse:
        while kept:
            first, segment = kept.pop()
            states = [_on(first, run.inputs.device)]
            for t in segment[:-1]:
                states.append(run.forward(states[-1], t))
            for t in reversed(segment):
                before = states.pop()
                yield t, before, *run.steps.linearise(before[0], run.batch(t), wanted)

    return state, reverse()


def _on(state: State, device: torch.device | str) -> State:
    return tuple(each.to(device) for each in state)
