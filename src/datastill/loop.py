"""The outer loop of every method: gradient, clipping, Adam, running average, validation, log, checkpoint, resume."""

import io
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from . import distributed
from .errors import UserError, at_least
from .methods import LearnedTensors, Method, Problem
from .runlog import JsonLines, ProgressLine
from .signals import stop_signals
from .storage.checkpoint import must_be_state, must_continue
from .storage.files import write_whole
from .storage.pickled import read_pickled
from .storage.records import must_have_types

Validation = Callable[[LearnedTensors], dict[str, float]]
"""Measures learned tensors: returns {"mean", "sd", "n"} on the validation split; a larger mean is better."""

NORMS_KEPT = 100  # the clip is a multiple of the median of the last gradient norms, of which this many are kept
MOST_SKIPPED = 20  # outer iterations in a row without a finite gradient, after which the run has diverged
MOST_MOTIONLESS = 5  # first outer iterations with gradients that are exactly zero, after which the run is given up


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """The settings of the outer optimisation: Adam on the tensors that the method learns."""

    iterations: int = 1000
    """How many outer iterations."""
    betas: tuple[float, float] = (0.9, 0.99)
    """The two betas of Adam (Wang et al. 2018: 0.5, 0.999)."""
    schedule: Literal["constant", "cosine", "exponential"] = "cosine"
    """How the outer learning rates fall: not at all, along half a cosine to 0, or exponentially to 1/30."""
    average: float = 0.99
    """Decay of the running average of the learned tensors, in [0, 1); 0: no average.
    The average is validated, not the latest values; the average with the best accuracy becomes the set."""
    validate_every: int = 100
    """Outer iterations between validations; the learned tensors with the best validation accuracy become the set."""
    checkpoint_every: int = 50
    """Outer iterations between checkpoints."""

    def __post_init__(self) -> None:
        must_have_types(self)
        for name in ("iterations", "validate_every", "checkpoint_every"):
            at_least(name, getattr(self, name), 1)
        if not 0 <= self.average < 1:
            raise UserError(f"average is {self.average}, but must be at least 0 and below 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"betas are {self.betas}, but must be two numbers of at least 0 and below 1")

    def factor(self, iteration: int) -> float:
        """Return the factor of the schedule on the outer learning rates, in [0, 1], at an iteration counted from 0."""
        if self.schedule == "constant":
            return 1.0
        share = iteration / self.iterations
        return 30**-share if self.schedule == "exponential" else 0.5 * (1 + math.cos(math.pi * share))


@dataclass(kw_only=True)
class State:
    """The state of a run, on which each outer iteration depends besides the settings; saved as a checkpoint."""

    learned: LearnedTensors
    averaged: LearnedTensors
    optimiser: dict[str, Any]
    norms: dict[str, list[float]]
    """The last norms of the gradients of single networks, by the name of the learned tensor."""
    iteration: int = 0
    best: LearnedTensors = field(default_factory=dict)
    best_mean: float = -1.0
    best_iteration: int = 0
    skipped: int = 0
    seconds: float = 0.0
    identity: dict[str, Any] = field(default_factory=dict)
    """Plain values that must be unchanged when the run is resumed; the loop only stores them."""


class Stopped(Exception):  # noqa: N818 (not an error: the user asked for it)
    """The run was stopped by a signal and can be resumed. The iteration is None if the outer loop was not running."""

    def __init__(self, iteration: int | None, signum: int, folder: Path) -> None:
        super().__init__("stopped" if iteration is None else f"stopped after iteration {iteration}")
        self.iteration, self.signum, self.folder = iteration, signum, folder


class DivergedError(UserError):
    """The outer optimisation diverged: gradients or learned tensors are not finite."""


def optimise(
    method: Method,
    problem: Problem,
    settings: LoopSettings,
    folder: Path,
    *,
    validate: Validation,
    resume: bool = False,
    identity: Mapping[str, Any] | None = None,
) -> State:
    """Run the outer iterations from the start or from the checkpoint in `folder`.

    A resumed run computes exactly what an uninterrupted run computes, because an iteration depends only on the `State`
    and the settings. If several processes share the networks of an iteration, results differ only by rounding.

    Args:
        method: gives the first learned tensors, their gradients and their outer learning rates.
        problem: the data, network and initial weights for the method.
        settings: the settings of the loop.
        folder: the folder of ``metrics.jsonl`` and ``checkpoint.pt``.
        validate: measures learned tensors on the validation split.
        resume: continue from the checkpoint.
        identity: plain values to keep in the checkpoint, which are compared when the run is resumed.

    Returns:
        The final state; `State.best` holds the learned tensors with the best validation accuracy.

    Raises:
        DivergedError: too many iterations in a row without a finite gradient; the last good state is saved.
        Stopped: SIGINT or SIGTERM came; the state is saved.
        LostError: another process has ended; the state is saved, and any number of processes can resume it.
    """
    checkpoint = folder / "checkpoint.pt"
    state = distributed.on_first_rank(lambda: load(checkpoint)) if resume else None
    start = method.start(problem)
    learned = _placed(state, start).learned if state else start
    parameters = {name: value.clone().requires_grad_() for name, value in learned.items()}
    optimiser = torch.optim.Adam(
        [{"params": [parameters[name]], "lr": outer.rate} for name, outer in method.rates().items()],
        betas=settings.betas,
    )
    if state is None:
        norms: dict[str, list[float]] = {name: [] for name in learned}
        _must_be_finite(learned, "before the first iteration", "change the settings of the start")
        state = State(learned=learned, averaged=learned, optimiser=optimiser.state_dict(), norms=norms)
        state.identity = dict(identity or {})
        save(state, checkpoint)
    else:
        try:
            must_continue(state.learned, state.optimiser, start, optimiser)
        except UserError as error:
            raise _unusable(checkpoint, error) from error
        optimiser.load_state_dict(state.optimiser)
    mine = folder / "metrics.jsonl" if distributed.rank() == 0 else Path(os.devnull)
    log = JsonLines(mine, resume=resume)
    loop = _Loop(method, problem, settings, state, parameters, optimiser, log, checkpoint, validate)
    try:
        with stop_signals() as asked:  # when another process ends, torchrun stops this one too, even while it saves
            _run(loop, folder, asked)
    finally:
        log.close()
    return state


def _run(loop: "_Loop", folder: Path, asked: list[int]) -> None:
    """Run the outer iterations that are left.

    Raises:
        Stopped: a signal was put into `asked`.
        LostError: another process has ended.
    """
    state, total = loop.state, loop.settings.iterations
    try:
        with ProgressLine("distil", total=total, done=state.iteration) as progress:
            while state.iteration < total:
                objective = loop.step()
                progress.update(state.iteration, f"objective {objective:.3f}, validation {loop.best_text}")
                if stops := distributed.gathered(asked):
                    save(state, loop.checkpoint)
                    raise Stopped(state.iteration, stops[0], folder)
        save(state, loop.checkpoint)
    except distributed.LostError as error:
        if not loop.validating:
            save(state, loop.checkpoint)
        raise distributed.LostError(
            f"{error}; go on with: datastill distill --resume --out {folder} (by any number of processes)"
        ) from error


@dataclass
class _Loop:
    method: Method
    problem: Problem
    settings: LoopSettings
    state: State
    parameters: LearnedTensors
    optimiser: torch.optim.Adam
    log: JsonLines
    checkpoint: Path
    validate: Validation
    validating: bool = False
    """True while validating. A checkpoint written now would skip this validation on resume, so none is written."""

    def step(self) -> float:
        """Run one outer iteration, with the log, validation and checkpoint after it, and return the objective."""
        state, settings, began = self.state, self.settings, time.perf_counter()
        for group, outer in zip(self.optimiser.param_groups, self.method.rates().values(), strict=True):
            group["lr"] = outer.rate * settings.factor(state.iteration)
        update = self.method.gradient(self.problem, state.learned, state.iteration)
        mine = {name: each.flatten(1).norm(dim=1) for name, each in update.gradients.items()}
        objective, norms = _shared(update.objective, mine)
        if all(bool(norm.isfinite().any()) for norm in norms.values()):
            recent = {
                name: [*state.norms[name], *norm[norm.isfinite()].tolist()][-NORMS_KEPT:]
                for name, norm in norms.items()
            }
            each = {
                name: limited(g, mine[name], self._limit(name, recent[name])) for name, g in update.gradients.items()
            }
            self._apply(distributed.mean(each))
            state.norms, state.skipped = recent, 0
            self._must_move()
        else:
            state.skipped += 1
        if state.skipped in (MOST_SKIPPED, settings.iterations):
            self._diverged(objective)
        state.iteration += 1
        state.seconds += time.perf_counter() - began
        self.log.write(
            iteration=state.iteration,
            objective=rounded(objective),
            gradient_norm={name: rounded(float(norm.mean())) for name, norm in norms.items()},
            seconds=round(state.seconds, 3),
            skipped=state.skipped,
        )
        if state.iteration % settings.validate_every == 0 or state.iteration == settings.iterations:
            self._validate()
        if state.iteration % settings.checkpoint_every == 0:
            save(state, self.checkpoint)
        return objective

    def _limit(self, name: str, recent: list[float]) -> float:
        """Return the limit on the norm of each network's gradient: a multiple of the median of the recent norms."""
        clip = self.method.rates()[name].clip
        return clip * statistics.median(recent) if clip else math.inf

    def _apply(self, gradients: LearnedTensors) -> None:
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name]
        self.optimiser.step()
        state, keep = self.state, self._decay()
        learned = {name: value.detach().clone() for name, value in self.parameters.items()}
        # The state is not saved: the optimiser's moments may be damaged too, and the last checkpoint is good.
        advice = f"the last good state is in {self.checkpoint}; lower the outer learning rates"
        _must_be_finite(learned, f"after iteration {state.iteration + 1}", advice)
        state.learned = learned
        state.averaged = {name: state.averaged[name].lerp(value, 1 - keep) for name, value in state.learned.items()}
        state.optimiser = self.optimiser.state_dict()

    def _must_move(self) -> None:
        """Raise a `UserError` if a learned tensor had only zero gradients in the first iterations."""
        state = self.state
        if state.iteration + 1 != min(MOST_MOTIONLESS, self.settings.iterations):
            return
        for name, norms in state.norms.items():
            if not any(norms):
                raise UserError(
                    f"the gradients of the {name.replace('_', ' ')} were exactly zero in the first "
                    f"{state.iteration + 1} iterations, so nothing would be learned: the network "
                    f"{self.problem.network.name!r} has no derivative with respect to its input (rounding, sign, "
                    "argmax, detach, or an embedding as first layer); use a network that is differentiable in its input"
                )

    def _decay(self) -> float:
        """Return the decay of the average; it is smaller in early iterations, so that the start is soon forgotten."""
        seen = self.state.iteration
        return min(self.settings.average, (1 + seen) / (10 + seen))

    def _validate(self) -> None:
        state, began, self.validating = self.state, time.perf_counter(), True
        measured = self.validate(state.averaged)
        self.validating = False
        state.seconds += time.perf_counter() - began
        if measured["mean"] > state.best_mean:
            state.best, state.best_mean, state.best_iteration = state.averaged, measured["mean"], state.iteration
        self.log.write(iteration=state.iteration, validation=measured, seconds=round(state.seconds, 3))

    def _diverged(self, objective: float) -> None:
        # The learned tensors are still finite: a gradient that is not finite is never applied.
        save(self.state, self.checkpoint)
        raise DivergedError(
            f"the run diverged: the last {self.state.skipped} iterations up to {self.state.iteration + 1} gave no "
            f"finite hypergradient (objective {objective}); the last good state is in {self.checkpoint}; lower the "
            "outer learning rates or the starting step size"
        )

    @property
    def best_text(self) -> str:
        """The best validation accuracy so far, as text."""
        return f"{self.state.best_mean:.1%}" if self.state.best else "none yet"


def _must_be_finite(learned: LearnedTensors, when: str, advice: str) -> None:
    """Raise a `DivergedError` if a learned tensor holds NaN or infinity."""
    for name, value in learned.items():
        if not bool(value.isfinite().all()):
            raise DivergedError(f"the {name.replace('_', ' ')} are not finite {when}; {advice}")


def _shared(objective: float, norms: LearnedTensors) -> tuple[float, LearnedTensors]:
    """Return the mean objective over all processes, and the gradient norms of the networks of all processes."""
    found = distributed.gathered([(objective, {name: norm.cpu() for name, norm in norms.items()})])
    finite = [value for value, _ in found if math.isfinite(value)]
    together = {name: torch.cat([each[name] for _, each in found]) for name in norms}
    return (statistics.fmean(finite) if finite else math.nan), together


def rounded(value: float) -> float | None:
    """Round to five digits for the log; return None (JSON null) if the value is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def limited(
    each: Float[Tensor, "networks *shape"], norms: Float[Tensor, " networks"], limit: float
) -> Float[Tensor, "networks *shape"]:
    """Scale each network's gradient down to a norm of at most `limit`; a gradient that is not finite becomes zero."""
    scale = (limit / norms.clamp(min=1e-30)).clamp(max=1)
    per_network = (slice(None), *(None,) * (each.dim() - 1))
    return torch.where(norms.isfinite()[per_network], each * scale[per_network], 0.0)


def save(state: State, path: Path) -> None:
    """Write a checkpoint, completely or not at all; with several processes only the first one writes."""
    if distributed.rank() == 0:
        content = io.BytesIO()
        torch.save(vars(state), content)
        write_whole(path, content.getvalue())


def load(path: Path) -> State:
    """Read a checkpoint; only tensors and plain values are accepted, nothing is executed.

    Raises:
        UserError: there is no checkpoint, or it is broken, or it is not the checkpoint of a run.
    """
    if not path.exists():
        raise UserError(f"there is no checkpoint at {path} to resume from; leave --resume out to start anew")
    plain = read_pickled(path)
    try:
        must_be_state(plain)
        return State(**plain)
    except (UserError, TypeError) as error:  # a TypeError: the fields of another version
        raise _unusable(path, error) from error


def _placed(state: State, start: LearnedTensors) -> State:
    """Move the tensors of a state to the devices of `start`; a checkpoint is read to the CPU."""
    devices = {name: value.device for name, value in start.items()}
    for tensors in (state.learned, state.averaged, state.best):
        tensors.update({name: value.to(devices.get(name, "cpu")) for name, value in tensors.items()})
    return state


def _unusable(path: Path, error: Exception) -> UserError:
    return UserError(f"cannot resume from the checkpoint {path}: {error}; begin a new run in another folder")
