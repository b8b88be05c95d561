"""How a configuration becomes a set: data, network and weights are loaded, the method is asked, its answer is a set."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from . import __version__, distributed
from .artifact import DistilledSet, Header, examples_of, source_of
from .config import Config, as_dict, differences, method_as_dict
from .data import RealData, load_data
from .device import pick_device
from .effects import must_use_candidates, must_use_settings, must_use_warm_start
from .errors import UserError
from .evaluation import Grid, chosen_program, hardware, must_be_measurable, must_leave_open, score
from .initial_weights import as_start, class_order, earlier_set, initial_weights
from .loop import first_state
from .methods import Method, State, SyntheticData, Task, must_take
from .modes import usual_modes
from .networks import build, weights_file
from .networks.weights import sha256
from .program import Program
from .rng import derive
from .run_state import RunState
from .runlog import say

JUDGES = 4
"""How many networks judge each of several candidates."""
JUDGED_IMAGES = 1000
"""How many train images, at most, a candidate is judged on."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A configuration with the data, the network and the initial weights that it names, loaded."""

    config: Config
    method: Method
    """The method of the configuration; in a run with every choice made that the configuration leaves open."""
    task: Task
    data: RealData
    """The real data in float32, on the device; sets are measured on it."""
    earlier: DistilledSet | None = None
    """The distilled set of the warm start; None without one."""
    program: Program | None = None
    """How networks are trained on the set, if it is chosen for the set; None: as the method says."""
    taught_like: DistilledSet | None = None
    """A set with a teacher, whose labels the set of the run gets, too; None: labels are those of the method."""

    @property
    def wanted(self) -> RealData:
        """The real data with the labels that the objective wants, of train and validation images.

        A validation image is there as often as it counts.
        """
        objective = self.config.objective
        return self.data.relabelled(objective.wanted, objective.counts)

    @property
    def grid(self) -> Grid | None:
        """What the program is chosen from; None if nothing is to be chosen."""
        grid = self.config.tune
        if self.program:
            return None
        if self.method.has_open_program:
            return grid.filled()
        return None if grid.is_empty else grid


def prepare(config: Config, data: RealData | None = None, *, resume: bool = False) -> Run:
    """Load and check the data, the network and the initial weights that a configuration names.

    Args:
        config: the full configuration.
        data: the real data, if it is loaded already.
        resume: the settings are of a run that began earlier, so that those without effect are not refused.

    Raises:
        UserError: a setting is impossible, has no effect, does not fit the data, or names something that cannot be
            loaded.
    """
    device = pick_device(config.device)
    _must_be_shared(config.method)
    data = (data or load_data(config.data)).to(device)
    asked, config = config, replace(config, method=config.method.fitted(data))
    network = build(config.network, shape=data.shape, classes=data.classes).to(device)
    if network.drops:
        say(f"the network {config.network} has dropout, which is off here and in every use of the set")
    config.objective.check(data.class_names)
    earlier = earlier_set(config, data)
    if not resume:
        must_use_warm_start(asked, earlier)
        must_use_settings(config)
        must_use_candidates(asked)
    data = data.with_classes(class_order(config, data, earlier))
    exact = data.in_precision(config.method.dtype)
    task = Task(
        data=exact,
        network=network,
        draws=initial_weights(config, network, earlier),
        seed=config.seed,
        objective=config.objective,
        warm_start=as_start(earlier, exact) if earlier else None,
    )
    run = Run(config=config, method=config.method, task=task, data=data, earlier=earlier)
    must_take(config.method, task)
    if changes := differences(asked, config):
        say("fitted to the data: " + ", ".join(changes).replace(":", "").replace("!=", "->"))
    return run


def begin(run: Run) -> RunState:
    """Return the state of a run before its first iteration, after a check that its set can be scored."""
    states = _candidates(run)
    state = first_state(run.method, states[0])
    # Settings that are impossible, or do not fit the data, are refused before anything is written.
    asked = {"validation": run.config.chosen_by, "protocol": run.config.protocol}
    for each, name in {replace(each, networks=1, seed=0): name for name, each in asked.items()}.items():
        must_be_measurable(artifact(run, state.latest), each, run.data.device, name)
    _must_leave_open(run)
    return state if len(states) == 1 else first_state(run.method, _best(run, states))


def _must_leave_open(run: Run) -> None:
    """Raise a `UserError` if a program is to be chosen, but the protocols of the run name what would be chosen."""
    if not run.grid:
        return
    if (name := run.config.chosen_by.program) not in ("", "own") and run.method.has_open_program:
        raise UserError(
            f"protocol.program is {name}, but the program of the method {run.method.name} is open and would be chosen "
            f"on validation images; give the set itself this program with --method.program {name}"
        )
    must_leave_open(run.config.chosen_by)


def _candidates(run: Run) -> list[State]:
    """Return the first state that the method makes, or one for each of several candidates, from different seeds."""
    if run.config.candidates == 1:
        return [run.method.init(run.task)]
    seeds = [derive(run.config.seed, "candidate", i) for i in range(run.config.candidates)]
    return [run.method.init(replace(run.task, seed=seed)) for seed in seeds]


def _best(run: Run, states: Sequence[State]) -> State:
    """Return the state whose set teaches train images best.

    All of them are judged under one program: if it is to be chosen, the one that is best for the first of them.
    """
    judged = with_program(run, states[0])
    on_train = replace(run, data=replace(run.data, validation=run.data.train)).wanted
    protocol = replace(run.config.chosen_by, networks=JUDGES)

    def accuracy(state: State) -> float:
        one = artifact(judged, state)
        return score(one, on_train, protocol, split="validation", images=JUDGED_IMAGES, measures=()).mean

    return max(states, key=accuracy)


def with_program(run: Run, state: State) -> Run:
    """Return the run with the program that is best for the set of a state, if one is to be chosen.

    It is chosen on validation images, by networks that are trained by `Config.chosen_by`.
    """
    if not run.grid:
        return run
    plain = artifact(run, state)
    return replace(run, program=chosen_program(plain, run.data, run.config.chosen_by, run.grid))


@usual_modes()
def make(
    config: Config,
    data: RealData | None = None,
    *,
    program: Program | None = None,
    tune: bool = True,
    taught_like: DistilledSet | None = None,
) -> DistilledSet:
    """Make the set of a method without outer iterations; no folder is written, and no score is measured.

    Args:
        config: the full configuration.
        data: the real data, if it is loaded already.
        program: how networks are trained on the set, e.g. as it was chosen for another seed; None: as the method says,
            or chosen from `Config.tune`.
        tune: False leaves a program as the method gives it, for a comparison that chooses step sizes itself.
        taught_like: a set with a teacher, whose labels this set gets, too; None: labels are those of the method.

    Raises:
        UserError: a setting is impossible, or does not fit the data; or the method has outer iterations.
    """
    began = time.perf_counter()
    run = replace(prepare(config, data), program=program, taught_like=taught_like)
    if run.method.rates():
        raise UserError(f"the method {run.method.name} has outer iterations, which need a folder; take distill")
    state = begin(run)
    run = with_program(run, state.latest) if tune else run
    state.seconds = time.perf_counter() - began
    return artifact(run, state.latest, state)


def _must_be_shared(method: Method) -> None:
    """Raise a `UserError` if the processes cannot share the networks of an outer iteration evenly."""
    if not method.rates():
        return
    if method.networks == 1 < distributed.ranks():
        raise UserError(
            f"the method {method.name} computes one network in an outer iteration, which {distributed.ranks()} "
            "processes cannot share; start one process, or take more networks if the method has --method.networks"
        )
    distributed.require_divisible("networks per iteration", method.networks)


def artifact(run: Run, state: State, end: RunState | None = None) -> DistilledSet:
    """Return what a state of the method stands for as a distilled set with a header.

    Args:
        run: the run.
        state: the state of the method.
        end: the state at the end of the run; the header then has the provenance of the set.
    """
    config, task = run.config, run.task
    synthetic, draws, taught = run.method.result(task, state), task.draws, run.taught_like
    header = Header(
        data=config.data.name,
        class_names=run.data.class_names,
        space=run.data.space,
        network=config.network,
        start=draws.start,
        frozen=task.network.sha256(),
        enlarged=synthetic.factor,
        labels=taught.header.labels if taught else synthetic.labels or source_of(synthetic.targets),
        objective=config.objective,
        method=config.method.name,
        config=as_dict(config),
        provenance=provenance(run, end) if end else {},
    )
    stored = synthetic.inputs if synthetic.stored is None else synthetic.stored
    return DistilledSet(
        **examples_of(stored.float().cpu(), synthetic.factor),
        targets=synthetic.targets.cpu(),
        program=_program(run, synthetic).to(torch.zeros(0)),
        header=header,
        theta_0=task.network.named(draws.one.float()) if draws.start.is_stored and draws.one is not None else None,
        teacher=taught.teacher if taught else synthetic.teacher,
    )


def _program(run: Run, synthetic: SyntheticData) -> Program:
    """Return how networks are trained on a set; the loss is that of labels which a teacher or the method gives."""
    found = run.program or synthetic.program
    if run.taught_like:
        return replace(found, loss=run.taught_like.program.loss)
    return replace(found, loss=synthetic.program.loss) if synthetic.labels else found


def provenance(run: Run, state: RunState) -> dict[str, Any]:
    """Return how a set was made: versions, hardware, data, iterations and seconds, as plain values."""
    config, more = run.config, {}
    if run.earlier:
        more["warm_start"] = dict(run.earlier.header.provenance)
    more |= config.start.about()
    if file := weights_file(config.network):
        more["weights"] = {"file": file, "sha256": sha256(file)}
    return {
        "datastill": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "real_images": len(run.data.train),
        "data_sha256": run.data.sha256,
        "hardware": hardware(run.data.device),
        "threads": torch.get_num_threads(),
        "processes": distributed.ranks(),
        "planned": method_as_dict(run.method),
        "iterations": state.iteration,
        "kept_iteration": state.best_iteration,
        "validation": state.best_mean if state.best_mean >= 0 else None,
        "seconds": round(state.seconds, 1),
    } | more
