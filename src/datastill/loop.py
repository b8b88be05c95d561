"""The only outer loop: gradient, guard, Adam, average, validate, log, checkpoint, resume."""

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
from .checkpoint import must_be_state, must_continue
from .errors import UserError, at_least
from .files import write_whole
from .methods import LearnedTensors, Method, Problem
from .pickled import read_pickled
from .records import must_have_types
from .runlog import JsonLines, ProgressLine
from .signals import stop_signals

Validation = Callable[[LearnedTensors], dict[str, float]]
"""LearnedTensors tensors -> {"mean", "sd", "n"} on the validation split; a larger mean is better."""

RECENT = 100  # norms whose median is the unit of the clip
PATIENCE = 20  # outer iterations in a row that may be skipped before the run counts as diverged
MOTIONLESS = 5  # first outer iterations whose gradients are all exactly zero before the run is given up


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """The outer optimisation: Adam on whatever the method learns."""

    iterations: int = 1000
    """OuterRate iterations."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's (Wang et al. 2018: 0.5, 0.999)."""
    schedule: Literal["constant", "cosine", "exponential"] = "cosine"
    """Of the outer learning rates: constant, falling to zero along a half cosine, or exponentially to a thirtieth."""
    average: float = 0.99
    """Decay of the running average of the iterates, which is what is validated and kept; 0 for none."""
    validate_every: int = 100
    """OuterRate iterations between validations; the best validated average is what is kept."""
    checkpoint_every: int = 50
    """OuterRate iterations between checkpoints."""

    def __post_init__(self) -> None:
        must_have_types(self)
        for name in ("iterations", "validate_every", "checkpoint_every"):
            at_least(name, getattr(self, name), 1)
        if not 0 <= self.average < 1:
            raise UserError(f"average is {self.average}, but must be at least 0 and below 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"betas are {self.betas}, but must be two numbers of at least 0 and below 1")

    def factor(self, iteration: int) -> float:
        """The schedule's factor on the outer rates at an iteration counted from 0."""
        if self.schedule == "constant":
            return 1.0
        share = iteration / self.iterations
        return 30**-share if self.schedule == "exponential" else 0.5 * (1 + math.cos(math.pi * share))


@dataclass(kw_only=True)
class State:
    """All that an outer iteration depends on, besides settings; saved as a checkpoint."""

    learned: LearnedTensors
    averaged: LearnedTensors
    optimiser: dict[str, Any]
    norms: dict[str, list[float]]
    """The last norms of single networks' gradients, by name of what is learned."""
    iteration: int = 0
    best: LearnedTensors = field(default_factory=dict)
    best_mean: float = -1.0
    best_iteration: int = 0
    skipped: int = 0
    seconds: float = 0.0
    identity: dict[str, Any] = field(default_factory=dict)
    """What the run must find unchanged when it goes on; plain values, written once and never read by the loop."""


class Stopped(Exception):  # noqa: N818 (not an error: the user asked for it)
    """The run was asked to stop and can be resumed. The iteration is None where it was not distilling."""

    def __init__(self, iteration: int | None, signum: int, folder: Path) -> None:
        super().__init__("stopped" if iteration is None else f"stopped after iteration {iteration}")
        self.iteration, self.signum, self.folder = iteration, signum, folder


class DivergedError(UserError):
    """The outer optimisation has no finite gradients any more."""


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

    A resumed run goes through the same states as an uninterrupted one, bit for bit: nothing but the `State` decides.
    Several processes share the networks of an iteration, and go through the same states as well, up to rounding.

    Args:
        method: gives start, gradients and outer rates.
        problem: what the method is given.
        settings: of the loop.
        folder: where ``metrics.jsonl`` and ``checkpoint.pt`` are.
        validate: measures learned tensors on the validation split.
        resume: go on from the checkpoint.
        identity: plain values to keep in the checkpoint, for whoever resumes the run to compare.

    Returns:
        The final state; `State.best` is what validated best.

    Raises:
        DivergedError: too many iterations in a row without a finite gradient; the last good state is saved.
        Stopped: SIGINT or SIGTERM came; the state is saved.
        LostError: another process is gone; the state is saved, and may be resumed by another number of them.
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
        _must_be_finite(learned, "before the first iteration", "change the settings that it starts from")
        state = State(learned=learned, averaged=learned, optimiser=optimiser.state_dict(), norms=norms)
        state.identity = dict(identity or {})
        save(state, checkpoint)
    else:
        try:
            must_continue(state.learned, state.optimiser, start, optimiser)
        except UserError as error:
            raise _of_no_use(checkpoint, error) from error
        optimiser.load_state_dict(state.optimiser)
    mine = folder / "metrics.jsonl" if distributed.rank() == 0 else Path(os.devnull)
    log = JsonLines(mine, resume=resume)
    loop = _Loop(method, problem, settings, state, parameters, optimiser, log, checkpoint, validate)
    try:
        with stop_signals() as asked:  # torchrun asks this process to stop when another is gone, even while it saves
            _run(loop, folder, asked)
    finally:
        log.close()
    return state


def _run(loop: "_Loop", folder: Path, asked: list[int]) -> None:
    """The outer iterations that are left.

    Raises:
        Stopped: a signal was put into `asked`.
        LostError: another process is gone.
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
    """A state that is saved now would go on without the validation that is due."""

    def step(self) -> float:
        """One outer iteration, with what is due after it."""
        state, settings, began = self.state, self.settings, time.perf_counter()
        for group, outer in zip(self.optimiser.param_groups, self.method.rates().values(), strict=True):
            group["lr"] = outer.rate * settings.factor(state.iteration)
        update = self.method.gradient(self.problem, state.learned, state.iteration)
        mine = {name: each.flatten(1).norm(dim=1) for name, each in update.gradients.items()}
        objective, norms = _shared(update.objective, mine)
        if all(bool(norm.isfinite().any()) for norm in norms.values()):
            recent = {
                name: [*state.norms[name], *norm[norm.isfinite()].tolist()][-RECENT:] for name, norm in norms.items()
            }
            each = {
                name: limited(g, mine[name], self._limit(name, recent[name])) for name, g in update.gradients.items()
            }
            self._apply(distributed.mean(each))
            state.norms, state.skipped = recent, 0
            self._must_move()
        else:
            state.skipped += 1
        if state.skipped >= PATIENCE:
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
        """On the norm of each network's gradient, of which one that is not finite counts as zero."""
        clip = self.method.rates()[name].clip
        return clip * statistics.median(recent) if clip else math.inf

    def _apply(self, gradients: LearnedTensors) -> None:
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name]
        self.optimiser.step()
        state, keep = self.state, self._decay()
        learned = {name: value.detach().clone() for name, value in self.parameters.items()}
        # Not saved: the optimiser's moments may be damaged too, and the last checkpoint is good.
        advice = f"the last good state is in {self.checkpoint}; lower the outer learning rates"
        _must_be_finite(learned, f"after iteration {state.iteration + 1}", advice)
        state.learned = learned
        state.averaged = {name: state.averaged[name].lerp(value, 1 - keep) for name, value in state.learned.items()}
        state.optimiser = self.optimiser.state_dict()

    def _must_move(self) -> None:
        """Raise a `UserError` if something that is learned had only zero gradients in the first iterations."""
        state = self.state
        if state.iteration + 1 != min(MOTIONLESS, self.settings.iterations):
            return
        for name, norms in state.norms.items():
            if not any(norms):
                raise UserError(
                    f"the gradients of the {name.replace('_', ' ')} were exactly zero in the first "
                    f"{state.iteration + 1} iterations, so nothing would be learned: the network "
                    f"{self.problem.network.name!r} passes no derivative on to its input (rounding, sign, argmax or an "
                    "embedding at its entrance, or detach); give a network that is differentiable in its input"
                )

    def _decay(self) -> float:
        """The average's decay, smaller at the beginning so that the start is soon forgotten."""
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
        # The learned tensors are still those of the last finite iteration: nothing was applied since.
        save(self.state, self.checkpoint)
        raise DivergedError(
            f"the run diverged: the last {PATIENCE} iterations up to {self.state.iteration + 1} gave no finite "
            f"hypergradient (objective {objective}); the last good state is in {self.checkpoint}; lower the outer "
            "learning rates or the starting step size"
        )

    @property
    def best_text(self) -> str:
        """The best validation so far, for people."""
        return f"{self.state.best_mean:.1%}" if self.state.best else "none yet"


def _must_be_finite(learned: LearnedTensors, when: str, advice: str) -> None:
    """Raise a `DivergedError` if a learned tensor holds NaN or infinity."""
    for name, value in learned.items():
        if not bool(value.isfinite().all()):
            raise DivergedError(f"the {name.replace('_', ' ')} are not finite {when}; {advice}")


def _shared(objective: float, norms: LearnedTensors) -> tuple[float, LearnedTensors]:
    """The mean objective, and the norms of all networks, of all processes."""
    found = distributed.gathered([(objective, {name: norm.cpu() for name, norm in norms.items()})])
    finite = [value for value, _ in found if math.isfinite(value)]
    together = {name: torch.cat([each[name] for _, each in found]) for name in norms}
    return (statistics.fmean(finite) if finite else math.nan), together


def rounded(value: float) -> float | None:
    """Five digits for the log; None (JSON null) for what is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def limited(
    each: Float[Tensor, "networks *shape"], norms: Float[Tensor, " networks"], limit: float
) -> Float[Tensor, "networks *shape"]:
    """Scale each network's gradient down to a norm of at most `limit`; one that is not finite becomes zero."""
    scale = (limit / norms.clamp(min=1e-30)).clamp(max=1)
    wide = (slice(None), *(None,) * (each.dim() - 1))
    return torch.where(norms.isfinite()[wide], each * scale[wide], 0.0)


def save(state: State, path: Path) -> None:
    """Write a checkpoint, completely or not at all; the first process does."""
    if distributed.rank() == 0:
        content = io.BytesIO()
        torch.save(vars(state), content)
        write_whole(path, content.getvalue())


def load(path: Path) -> State:
    """Read a checkpoint; only tensors and plain values are accepted, nothing is executed.

    Raises:
        UserError: there is none, or it is broken or not that of a run.
    """
    if not path.exists():
        raise UserError(f"there is no checkpoint at {path} to resume from; leave --resume out to start anew")
    plain = read_pickled(path)
    try:
        must_be_state(plain)
        return State(**plain)
    except (UserError, TypeError) as error:  # the latter: fields of another version
        raise _of_no_use(path, error) from error


def _placed(state: State, start: LearnedTensors) -> State:
    """The state with its tensors where those of `start` are; a checkpoint is read to the CPU."""
    devices = {name: value.device for name, value in start.items()}
    for tensors in (state.learned, state.averaged, state.best):
        tensors.update({name: value.to(devices.get(name, "cpu")) for name, value in tensors.items()})
    return state


def _of_no_use(path: Path, error: Exception) -> UserError:
    return UserError(f"the checkpoint {path} cannot be gone on from: {error}; begin a new run in another folder")
