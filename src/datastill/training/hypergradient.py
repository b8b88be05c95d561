"""Exact hypergradients of an objective at the end of inner training, through all of its steps.

With theta_{t+1} = theta_t - eta_t g_t, g_t = dl(x_t; theta_t)/dtheta and v = dL/dtheta_{t+1}, going back one step gives
(Wang et al. 2018, section 3; Maclaurin et al. 2015)

    dL/dtheta_t = v - eta_t H_t v,      dL/dx_t += -eta_t d<g_t, v>/dx,      dL/deta_t = -<g_t, v>.

Other inner optimisers put the gradient to other uses: u = dL/dg_t in the place of -eta_t v (see `optim`). H_t u and
d<g_t, u>/dx are one linear map of u, a step's `Back`. The modes differ in when they make it: on the way forward, and
keep it (``stored``), or on the way back, from weights kept on the way forward (``recomputed``).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..errors import UserError, at_least, unknown
from .optim import GradientDescent, Optimiser, State
from .program import Program
from .steps import Back, EagerSteps, InnerLoss, Steps

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
    loss: InnerLoss | Steps,
    objective: Callable[[Tensor], Tensor],
    thetas: Float[Tensor, "networks size"],
    examples: Float[Tensor, "steps b c h w"],
    labels: Shaped[Tensor, "steps b *classes"],
    step_sizes: Float[Tensor, "epochs steps"],
    *,
    optimiser: Optimiser | None = None,
    mode: str = "stored",
    keep_every: int = 1,
    window: range | None = None,
) -> Hypergradient:
    """Train every network on the examples, evaluate the objective, and differentiate it through the training.

    Args:
        loss: inner loss of each network, twice differentiable, or the `Steps` that compute it.
        objective: final weights (networks, size) to the objective of each (networks,).
        thetas: initial weights.
        examples: synthetic examples of each step, shared by networks and epochs.
        labels: integer classes (steps, b) or probabilities (steps, b, classes).
        step_sizes: one positive number per epoch and step.
        optimiser: of the inner training; gradient descent when left out.
        mode: ``stored`` does least work, and its memory grows with the activations of all T steps; ``recomputed``
            does each step's gradient twice, and keeps T copies of the weights and the activations of one step.
            Both are exact.
        keep_every: ``recomputed`` keeps the weights of every k-th step only, on the host, and trains through the k
            steps again on the way back: T / k + k copies, for one more gradient per step. 1 keeps all.
        window: differentiate through these gradient steps only, counted from 0; the earlier ones are trained through
            as they are, and the objective is taken after the last one. All T steps when left out. The result is
            the exact gradient for the weights that the window starts from (Feng et al. 2023, arXiv 2311.07025).

    Raises:
        UserError: unknown `mode`, or a window that is not within the program.
    """
    if mode not in MODES:
        raise unknown("hypergradient mode", mode, MODES)
    at_least("keep_every", keep_every, 1)
    epochs, steps = step_sizes.shape
    order = list(enumerate(Program(steps=steps, epochs=epochs)))
    window = range(len(order)) if window is None else window
    if not 0 <= window.start < window.stop <= len(order) or window.step != 1:
        raise UserError(f"window {window.start}..{window.stop} is not within the {len(order)} steps of the program")
    tape = _Tape(
        steps=loss if isinstance(loss, Steps) else EagerSteps(loss),
        optimiser=optimiser or GradientDescent(),
        examples=examples.detach().expand(len(thetas), *examples.shape),
        labels=labels,
        step_sizes=step_sizes.detach(),
    )
    state = tape.optimiser.start(thetas.detach())
    for t, at in order[: window.start]:
        state = tape.forward(state, t, at)
    inside = order[window.start : window.stop]
    state, back = (tape.stored if mode == "stored" else tape.recomputed(keep_every))(state, inside)

    values, v = tape.steps.evaluate(objective, state[0])
    cotangents = (v, *(torch.zeros_like(v) for _ in state[1:]))
    d_examples = torch.zeros_like(tape.examples, memory_format=torch.contiguous_format)
    d_sizes = thetas.new_zeros(len(thetas), epochs, steps)
    for t, (epoch, step), before, gradient, through in back:
        eta = tape.step_sizes[epoch, step]
        cotangents, u, d_sizes[:, epoch, step] = tape.optimiser.pull(before, gradient, eta, t, cotangents)
        hessian_u, mixed_u = through(u)
        d_examples[:, step] += mixed_u
        cotangents = (cotangents[0] + hessian_u, *cotangents[1:])
    return Hypergradient(
        objective=values, examples=d_examples, step_sizes=d_sizes, initial=cotangents[0], final=state[0]
    )


Place = tuple[int, tuple[int, int]]
"""t and its (epoch, step)."""

Reverse = Iterator[tuple[int, tuple[int, int], State, Tensor, Back]]
"""From the last step to the first: its place, the state before it, its gradient and the way back."""


@dataclass(frozen=True, kw_only=True)
class _Tape:
    steps: Steps
    optimiser: Optimiser
    examples: Float[Tensor, "networks steps b c h w"]
    labels: Shaped[Tensor, "steps b *classes"]
    step_sizes: Float[Tensor, "epochs steps"]

    def _linear(self, state: State, at: tuple[int, int]) -> tuple[Tensor, Back]:
        return self.steps.linearise(state[0], self.examples[:, at[1]], self.labels[at[1]])

    def _update(self, state: State, gradient: Tensor, t: int, at: tuple[int, int]) -> State:
        return self.optimiser.update(state, gradient, self.step_sizes[at], t)

    def forward(self, state: State, t: int, at: tuple[int, int]) -> State:
        """The state after step t, without a way back."""
        gradient = self.steps.gradient(state[0], self.examples[:, at[1]], self.labels[at[1]])
        return self._update(state, gradient, t, at)

    def stored(self, state: State, places: list[Place]) -> tuple[State, Reverse]:
        """The state after `places`, and the way back that was made on the way."""
        kept = []
        for t, at in places:
            gradient, back = self._linear(state, at)
            kept.append((t, at, state, gradient, back))
            state = self._update(state, gradient, t, at)

        def reverse() -> Reverse:
            while kept:
                yield kept.pop()  # so that memory is freed on the way

        return state, reverse()

    def recomputed(self, every: int) -> Callable[[State, list[Place]], tuple[State, Reverse]]:
        """The same, made from states that are kept, every so many steps."""

        def run(state: State, places: list[Place]) -> tuple[State, Reverse]:
            kept: list[tuple[State, list[Place]]] = []
            for i, (t, at) in enumerate(places):
                if i % every == 0:
                    kept.append((_host(state) if every > 1 else state, places[i : i + every]))
                state = self.forward(state, t, at)

            def reverse() -> Reverse:
                while kept:
                    first, segment = kept.pop()
                    states = [tuple(each.to(self.examples.device) for each in first)]
                    for t, at in segment[:-1]:
                        states.append(self.forward(states[-1], t, at))
                    for t, at in reversed(segment):
                        before = states.pop()
                        yield t, at, before, *self._linear(before, at)

            return state, reverse()

        return run


def _host(state: State) -> State:
    return tuple(each.to("cpu") for each in state)
