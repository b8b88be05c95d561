"""The outer loop of every method: gradient, clipping, outer optimiser, running average, validation, log, checkpoint."""

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from . import distributed
from .errors import UserError, at_least
from .methods import Carried, LearnedTensors, Method, State, Task, Update, name_of
from .outer import Outer
from .run_state import RunState, placed, save, unusable
from .runlog import METRICS, JsonLines, Logger, ProgressLine
from .signals import stop_signals
from .storage.checkpoint import must_be_carried
from .storage.records import LARGEST_VALUE, must_have_types

Validation = Callable[[State], dict[str, float]]
"""Measures a state of a method: returns {"mean", "sd", "n"} on the validation split; a larger mean is better."""

NORMS_KEPT = 100  # the clip is a multiple of the median of the last gradient norms, of which this many are kept
MOST_SKIPPED = 20  # outer iterations in a row without a finite gradient, after which the run has diverged
MOST_MOTIONLESS = 5  # first outer iterations with gradients that are exactly zero, after which the run is given up


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """The settings of the outer optimisation of the tensors that the method learns."""

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


class Stopped(Exception):  # noqa: N818 (not an error: the user asked for it)
    """The run was stopped by a signal and can be resumed. The iteration is None if the outer loop was not running."""

    def __init__(self, iteration: int | None, signum: int, folder: Path) -> None:
        super().__init__("stopped" if iteration is None else f"stopped after iteration {iteration}")
        self.iteration, self.signum, self.folder = iteration, signum, folder


class DivergedError(UserError):
    """The outer optimisation diverged: gradients or learned tensors are not finite."""


def optimise(
    method: Method,
    task: Task,
    state: RunState,
    settings: LoopSettings,
    folder: Path,
    *,
    validate: Validation,
    log: Logger | None = None,
    keep: Callable[[State, int], object] | None = None,
) -> RunState:
    """Run the outer iterations from a state, which is that of a checkpoint in `folder` or new (see `first_state`).

    A resumed run computes exactly what an uninterrupted run computes, because an iteration depends only on the state
    and the settings. If several processes share the networks of an iteration, results differ only by rounding. A method
    without rates has no iterations: its first state is validated, and becomes the set.

    Args:
        method: gives the gradients of the learned tensors and their outer learning rates.
        task: the data, network and initial weights for the method.
        state: where to go on.
        settings: the settings of the loop.
        folder: the folder of ``metrics.jsonl`` and ``checkpoint.pt``.
        validate: measures a state of the method on the validation split.
        log: is called, in the first process, with each record that is written to ``metrics.jsonl``.
        keep: is called with each state that was validated, and the number of its iteration.

    Returns:
        The final state; `RunState.kept` is the state of the method with the best validation accuracy.

    Raises:
        DivergedError: too many iterations in a row without a finite gradient; the last good state is saved.
        Stopped: SIGINT or SIGTERM came; the state is saved.
        LostError: another process has ended; the state is saved, and any number of processes can resume it.
    """
    checkpoint, fresh = folder / "checkpoint.pt", not state.iteration and state.best_mean < 0
    state = placed(state, task.data.device)
    outer = Outer(state.learned, method.rates(), settings.betas)
    if fresh:
        save(state, checkpoint)
    elif state.optimiser:  # there is none before the first iteration with a finite gradient
        try:
            outer.load(state.optimiser)
        except UserError as error:
            raise unusable(checkpoint, error) from error
    if distributed.rank() == 0:
        lines = JsonLines(folder / METRICS, resume=not fresh, iterations=state.iteration, follower=log)
    else:
        lines = JsonLines(Path(os.devnull))
    loop = _Loop(method, task, settings, state, outer, lines, checkpoint, validate, keep)
    try:
        with stop_signals() as asked:  # when another process ends, torchrun stops this one too, even while it saves
            _run(loop, folder, asked)
    finally:
        lines.close()
    return state


def first_state(method: Method, state: State) -> RunState:
    """Return the state of a run before its first iteration, given the first state of the method.

    Raises:
        DivergedError: a tensor of the state is not finite.
        UserError: the method has a rate for a tensor that it does not learn, or carries something that cannot be saved.
    """
    _must_be_finite(state.learned, "before the first iteration", "change the settings of the start")
    if missing := method.rates().keys() - state.learned.keys():
        raise UserError(f"the method {method.name} has rates for {', '.join(sorted(missing))}, but does not learn them")
    _must_be_carried(method, state.carried)
    learned, carried = state.learned, state.carried
    return RunState(method=name_of(method), version=method.version, learned=learned, averaged=learned, carried=carried)


def _run(loop: "_Loop", folder: Path, asked: list[int]) -> None:
    """Run the outer iterations that are left.

    Raises:
        Stopped: a signal was put into `asked`.
        LostError: another process has ended.
    """
    state, total = loop.state, loop.settings.iterations if loop.outer.rates else 0
    try:
        with ProgressLine("distil", total=total, done=state.iteration) as progress:
            while state.iteration < total:
                objective = loop.step()
                progress.update(state.iteration, f"objective {objective:.3f}, validation {loop.best_text}")
                if stops := distributed.gathered(asked):
                    save(state, loop.checkpoint)
                    raise Stopped(state.iteration, stops[0], folder)
        if not total and state.best_mean < 0:
            with ProgressLine("validate", total=1, unit="set") as progress:
                loop.validate()
                progress.update(1, loop.best_text)
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
    task: Task
    settings: LoopSettings
    state: RunState
    outer: Outer
    log: JsonLines
    checkpoint: Path
    measure: Validation
    keep: Callable[[State, int], object] | None = None
    validating: bool = False
    """True while validating. A checkpoint written now would skip this validation on resume, so none is written."""

    def step(self) -> float:
        """Run one outer iteration, with the log, validation and checkpoint after it, and return the objective."""
        state, settings, began = self.state, self.settings, time.perf_counter()
        update = self.method.step(self.task, state.latest, state.iteration)
        self._must_fit(update)
        mine = {name: each.flatten(1).norm(dim=1) for name, each in update.gradients.items()}
        objective, norms = _shared(update.objective, mine)
        if all(bool(norm.isfinite().any()) for norm in norms.values()):
            self._apply(update, mine, norms)
        else:
            state.skipped += 1
        if state.skipped >= min(MOST_SKIPPED, settings.iterations):
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
            self.validate()
        if state.iteration % settings.checkpoint_every == 0:
            save(state, self.checkpoint)
        return objective

    def _must_fit(self, update: Update) -> None:
        """Raise a `UserError` unless the gradients have the names and shapes of the tensors with a rate."""
        found = {name: tuple(each.shape[1:]) for name, each in update.gradients.items()}
        wanted = {name: tuple(each.shape) for name, each in self.outer.parameters.items()}
        if found != wanted:
            raise UserError(
                f"the method {self.method.name} gives gradients of {found}, but has rates for tensors of {wanted}; a "
                "gradient has the name of its tensor and the shape (networks, *shape)"
            )

    def _apply(self, update: Update, mine: LearnedTensors, norms: LearnedTensors) -> None:
        """Let the outer optimiser change the learned tensors; take over what the method carries.

        Args:
            update: what the iteration gave in this process.
            mine: the norm of each gradient in `update`.
            norms: the norms of the gradients of all processes.
        """
        state = self.state
        recent = {name: [*state.norms.get(name, []), *norm[norm.isfinite()].tolist()][-NORMS_KEPT:]
                  for name, norm in norms.items()}  # fmt: skip
        each = {name: limited(g, mine[name], self._limit(name, recent[name])) for name, g in update.gradients.items()}
        means = {name: mean * _finite_share(norms[name]) for name, mean in distributed.mean(each).items()}
        moved = self.outer.step(means, self.settings.factor(state.iteration))
        # The state is not saved: the optimiser's moments may be damaged too, and the last checkpoint is good.
        advice = f"start a new run with lower outer learning rates; the last good state is in {self.checkpoint}"
        _must_be_finite(moved, f"after iteration {state.iteration + 1}", advice)
        _must_be_carried(self.method, update.carried)
        state.averaged = state.averaged | {name: self._averaged(name, value) for name, value in moved.items()}
        state.learned, state.carried = state.learned | moved, update.carried
        state.optimiser, state.norms, state.skipped = self.outer.state(), recent, 0
        self._must_move()

    def _limit(self, name: str, recent: list[float]) -> float:
        """Return the limit on the norm of each network's gradient: a multiple of the median of the recent norms."""
        clip = self.outer.rates[name].clip
        return clip * statistics.median(recent) if clip else math.inf

    def _averaged(self, name: str, value: Tensor) -> Tensor:
        """Return the running average of a learned tensor, given its new value.

        The decay is smaller in early iterations, so that the start is soon forgotten.
        """
        if not self.outer.rates[name].average:
            return value
        seen = self.state.iteration
        return self.state.averaged[name].lerp(value, 1 - min(self.settings.average, (1 + seen) / (10 + seen)))

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
                    f"{self.task.network.name!r} has no derivative with respect to its input (rounding, sign, "
                    "argmax, detach, or an embedding as first layer); use a network that is differentiable in its input"
                )

    def validate(self) -> None:
        """Measure the averages; keep them if they are better than those before."""
        state, began, self.validating = self.state, time.perf_counter(), True
        measured = self.measure(state.averages)
        self.validating = False
        state.seconds += time.perf_counter() - began
        if measured["mean"] > state.best_mean:
            state.best, state.best_carried = state.averaged, state.carried
            state.best_mean, state.best_iteration = measured["mean"], state.iteration
        if self.keep:
            self.keep(state.averages, state.iteration)
        self.log.write(iteration=state.iteration, validation=measured, seconds=round(state.seconds, 3))

    def _diverged(self, objective: float) -> None:
        # The learned tensors are still finite: a gradient that is not finite is never applied.
        save(self.state, self.checkpoint)
        raise DivergedError(
            f"the run diverged: the last {self.state.skipped} iterations up to {self.state.iteration + 1} gave no "
            f"finite gradient (objective {objective:.3g}); start a new run with lower outer learning rates or a "
            f"smaller first step size; the last good state is in {self.checkpoint}"
        )

    @property
    def best_text(self) -> str:
        """The best validation accuracy so far, as text."""
        return f"{self.state.best_mean:.1%}" if self.state.best_mean >= 0 else "none yet"


def _must_be_finite(learned: LearnedTensors, when: str, advice: str) -> None:
    """Raise a `DivergedError` if a learned tensor holds NaN or infinity, or a value that no set may hold."""
    for name, value in learned.items():
        largest = float(value.abs().max()) if value.numel() else 0.0
        if not largest <= LARGEST_VALUE:  # NaN fails, too
            why = f"reach {largest:.3g}" if math.isfinite(largest) else "are not finite"
            raise DivergedError(f"the {name.replace('_', ' ')} {why} {when}; {advice}")


def _must_be_carried(method: Method, carried: Carried) -> None:
    """Raise a `UserError` if a method carries something that cannot be saved or is not finite."""
    must_be_carried(carried, f"what the method {method.name} carries to the next iteration")


def _shared(objective: float, norms: LearnedTensors) -> tuple[float, LearnedTensors]:
    """Return the mean objective over all processes, and the gradient norms of the networks of all processes."""
    found = distributed.gathered([(objective, {name: norm.cpu() for name, norm in norms.items()})])
    finite = [value for value, _ in found if math.isfinite(value)]
    together = {name: torch.cat([each[name] for _, each in found]) for name in norms}
    return (statistics.fmean(finite) if finite else math.nan), together


def _finite_share(norms: Float[Tensor, " networks"]) -> float:
    """Return by how much the mean over all networks is too small, in which gradients that are not finite are zeros."""
    return len(norms) / int(norms.isfinite().sum())


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
