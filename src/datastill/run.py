"""A whole run in one folder: load the data, learn the synthetic examples, write the set, its score and a report."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import __version__, distributed, migration
from .artifact import DistilledSet
from .baselines import Beside
from .config import Config, as_dict, method_as_dict, method_from_dict
from .data import RealData, load_data
from .effects import must_use_given_data
from .errors import UserError, must_be
from .evaluation import curve, score
from .evaluation.kept import FILE as EVALUATION
from .evaluation.kept import kept_for
from .identity import data_identity, files_identity
from .locks import alone
from .loop import Stopped, optimise
from .making import Run, artifact, begin, prepare, with_program
from .methods import Method, State
from .methods.selection import RandomReal
from .modes import usual_modes
from .report import write_report
from .report.reading import SCORE
from .report.snapshots import Keeper
from .resuming import CHECKPOINT, CONFIG, SET, begun, finished, must_be_possible, must_go_on, occupied
from .run_state import RunState, must_be_of, placed, unusable
from .runlog import Logger, ProgressLine, say, silent
from .signals import signal_of
from .space import Pixels
from .storage.files import as_path, as_read, is_free, read_json, remove_leftovers, write_json
from .storage.seal import sealed
from .tensorboard import open_events
from .user_modules import out_of_memory

VALIDATION_IMAGES = 2000
"""How many validation images, at most, a validation while distilling measures on."""


@usual_modes()
def distill(
    config: Config,
    folder: str | Path | None = None,
    *,
    data: RealData | None = None,
    resume: bool = False,
    command: str = "",
    log: Logger | None = None,
) -> DistilledSet:
    """Distil, evaluate the set and write a report, with the settings in `config`; all files are kept in `folder`.

    Without a folder, only distil: no file is kept, and the set has no score, so that the test split is never read.

    Args:
        config: the full configuration; `recipes.recipe` gives named ones.
        folder: made by the run; holds config.json, metrics.jsonl, checkpoint.pt (while unfinished),
            distilled.safetensors, score.json and report.html. None: nothing is kept.
        data: the real data, if it cannot be loaded by name, e.g. your own arrays passed to `load_data`. The run then
            stores how this data was loaded instead of `config.data`.
        resume: continue the unfinished run in `folder`; its configuration must equal `config`.
        command: the command that starts this run; stored with the run.
        log: for a logger of your own: it is called with each record that is written to metrics.jsonl, a dictionary with
            ``iteration``, ``seconds``, and either ``objective``, ``gradient_norm`` and ``skipped``, or ``validation``
            (``mean``, ``sd`` and ``n``). A resumed run does not call it again with records that the file has.
            For TensorBoard, distil in the block of `datastill.tensorboard.event_files`.

    Returns:
        The distilled set, with its score on the test split if there is a folder.

    Raises:
        UserError: wrong settings or data, a folder with other files, a diverged run, a full disk, or another process
            has ended. Finished iterations up to the last checkpoint are kept.
        Stopped: SIGINT or SIGTERM came; the run can be resumed. Without a folder: KeyboardInterrupt.
    """
    must_be("config", config, Config, "take a recipe: datastill.recipe(name)")
    if log is not None:
        must_be("log", log, Callable, "give a function of one record")  # type: ignore[arg-type]
    if data is not None:
        must_be("data", data, RealData, "load it: datastill.load_data(name)")
        if not resume:
            must_use_given_data(config, data)
        config = replace(config, data=data.settings)
    if folder is None:
        if resume:
            raise UserError("resume is True, but there is no folder; give the folder of the run")
        return learned(config, data or load_data(config.data), log=log)
    folder = as_path("folder", folder)
    if distributed.on_first_rank(lambda: must_be_possible(folder, resume)):
        say(f"the run in {folder} is finished")
        distributed.on_first_rank(lambda: remove_leftovers(folder))
        return distributed.on_first_rank(lambda: finished(folder, config))
    with alone(folder), _resumable(folder):
        return _distil(config, folder, data, resume, command, log)


@usual_modes()
def learned(config: Config, data: RealData, *, log: Logger | None = None) -> DistilledSet:
    """Distil in memory: no files are kept, and the set has no score, so that the test split is never read.

    Args:
        config: the full configuration.
        data: the real data.
        log: as for `distill`.

    Raises:
        UserError: as `distill`.
        KeyboardInterrupt: SIGINT or SIGTERM came; nothing is left that could be resumed.
    """
    run = prepare(config, data)
    run = replace(run, method=run.method.planned(run.task, run.config.loop.iterations))
    with TemporaryDirectory(prefix="datastill-") as folder, _advised(run.method):
        try:
            return _learned(run, begin(run), Path(folder), log)
        except Stopped as stop:
            raise KeyboardInterrupt from stop


def _distil(
    config: Config, folder: Path, data: RealData | None, resume: bool, command: str, log: Logger | None
) -> DistilledSet:
    state = distributed.on_first_rank(lambda: begun(folder)) if resume else None
    then = state.identity if state else None
    if resume and state is None:
        say(f"the run in {folder} was stopped before its first checkpoint; it starts again at the first iteration")
    real = distributed.on_every_rank(lambda: data or load_data(config.data))
    if state:  # its examples may be numbers along the principal directions of the data
        real = replace(real, principal_precision=(then or {}).get("principal_precision", "float32"))
    source = data_identity(real) | {"principal_precision": real.principal_precision}
    distributed.on_every_rank(lambda: must_go_on(folder, then, source))
    free = distributed.on_first_rank(lambda: resume or is_free(folder))
    with nullcontext() if free else silent():  # wrong settings are named before a folder in use
        run = distributed.on_every_rank(lambda: prepare(config, real, resume=resume))
    if not free:
        raise occupied(folder)
    config = run.config
    files = distributed.on_every_rank(lambda: files_identity(config.network, config.start))
    settings = {"config": as_read(as_dict(config)), **files}
    distributed.on_every_rank(lambda: must_go_on(folder, then, settings))
    with _advised(run.method):  # what is impossible is refused before anything is measured
        first = state or distributed.on_every_rank(lambda: begin(run))
    run = replace(run, method=_planned(run, folder))
    settings |= {"planned": as_read(method_as_dict(run.method))}
    distributed.on_every_rank(lambda: must_go_on(folder, then, settings))
    with _advised(run.method):
        state = distributed.on_every_rank(lambda: _go_on(run, first, folder)) if state else first
        state.identity = source | settings
        if not resume:
            distributed.on_first_rank(lambda: _begin(folder, config, run.method, command))
        keep = _keep_snapshots(run, state, folder)
        with open_events(folder) as events:
            if events:
                log = _each(log, events.record)
                keep = _each(keep, lambda found, iteration: events.examples(artifact(run, found), iteration))
            distilled = _learned(run, state, folder, log, keep=keep)
    distributed.on_first_rank(lambda: distilled.save(folder / SET))
    scored = distilled.with_score(final_score(run, distilled, folder))
    distributed.on_first_rank(lambda: _finish(folder, scored))
    return scored


def _each(first: Callable[..., object] | None, second: Callable[..., object]) -> Callable[..., None]:
    """Return a function that calls the two, or the second alone, with the arguments that it gets."""

    def call(*arguments: Any) -> None:
        for each in (first, second):
            if each:
                each(*arguments)

    return call


def _learned(
    run: Run, state: RunState, folder: Path, log: Logger | None, *, keep: Callable[[State, int], object] | None = None
) -> DistilledSet:
    """Run the outer iterations that are left, and return the set of the best iterate."""
    if not run.method.rates():
        run = with_program(run, state.latest)
    loop = run.config.loop
    state = optimise(
        run.method, run.task, state, loop, folder, validate=lambda found: validate(run, found), log=log, keep=keep
    )
    return artifact(with_program(run, state.kept), state.kept, state)


def _keep_snapshots(run: Run, state: RunState, folder: Path) -> Callable[[State, int], None] | None:
    """Return what keeps pictures of the examples while they are learned; None if this process keeps none.

    Examples that are no images have no pictures.
    """
    if distributed.rank() or not run.method.rates() or not isinstance(run.data.space, Pixels):
        return None
    keeper = Keeper(folder, run.config.loop.iterations, state.iteration)

    def keep(found: State, iteration: int) -> None:
        keeper.take(iteration, lambda: artifact(run, found))

    keep(state.averages, state.iteration)
    return keep


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Raise `Stopped` for a signal that comes outside the loop, e.g. while scoring, so that the run can be resumed."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not (folder / CONFIG).exists():
            raise
        raise Stopped(None, signal_of(stop), folder) from stop


@contextmanager
def _advised(method: Method) -> Iterator[None]:
    """Turn running out of memory into a `UserError` with the method's advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error) and "allocate memory" not in str(error):
            raise
        raise UserError(f"memory ran out; the last checkpoint is whole; {method.less_memory}") from error


def _finish(folder: Path, scored: DistilledSet) -> None:
    scored.save(folder / SET)
    write_json(folder / SCORE, scored.header.score)
    write_report(folder)
    for name in (EVALUATION, CHECKPOINT):
        (folder / name).unlink(missing_ok=True)


def _go_on(run: Run, state: RunState, folder: Path) -> RunState:
    """Return the state of a checkpoint on the device of the run, after a check that it is a state of its method."""
    must_be_of(run.method, state, folder / CHECKPOINT)
    state = placed(state, run.data.device)
    try:
        artifact(run, state.latest)
    except (UserError, RuntimeError, LookupError) as error:
        raise unusable(folder / CHECKPOINT, f"its state makes no set ({str(error).splitlines()[0]})") from error
    return state


def _begin(folder: Path, config: Config, planned: Method, command: str) -> None:
    about = {"recipe": config.recipe, "command": command, "version": __version__}
    settings = {"config": as_dict(config), "planned": method_as_dict(planned)}
    write_json(folder / CONFIG, sealed(as_read(about | settings)))


def _planned(run: Run, folder: Path) -> Method:
    """Return the method with every choice made; a resumed run computes as it began: another way rounds differently."""
    record = distributed.on_first_rank(lambda: read_json(folder / CONFIG) if (folder / CONFIG).exists() else {})
    if plain := migration.planned(record):
        return method_from_dict(plain, type(run.method))
    found = distributed.on_every_rank(lambda: run.method.planned(run.task, run.config.loop.iterations))
    return distributed.gathered([found])[0]


def validate(run: Run, state: State) -> dict[str, float]:
    """Measure a state of the method on a part of the validation split, with networks that are used for nothing else.

    Networks are trained by `Config.chosen_by`, and right is what the objective wants.

    Returns:
        ``mean`` and ``sd`` of the accuracies, as fractions of 1, and ``n``, the number of networks.
    """
    one, protocol = artifact(run, state), run.config.chosen_by
    found = score(one, run.wanted, protocol, split="validation", images=VALIDATION_IMAGES, measures=())
    return {"mean": found.mean, "sd": found.sd, "n": found.n}


def final_score(run: Run, distilled: DistilledSet, folder: Path) -> dict[str, Any]:
    """Measure the score on the test split, the accuracy after each gradient step, and the random real sets.

    Values that were measured before the run was stopped are read from its folder.
    """
    found = score(distilled, run.data, run.config.protocol, confusion=True, progress=True, folder=folder).as_dict()
    found["curve"] = curve(distilled, run.data, run.config.protocol, progress=True)
    if run.config.random_sets:
        found["baseline"] = compare(run, distilled, folder)
    return found


def compare(run: Run, distilled: DistilledSet, folder: Path) -> dict[str, Any]:
    """Measure sets of random real images that have the size of `distilled`, under the protocol of the run.

    If a teacher gives the labels of the set, it gives theirs, too.
    """
    count = run.config.random_sets
    shared, kept = Beside.of(distilled, run.data), kept_for(folder, "random real sets", distilled, count)
    means = [mean for (mean,) in kept.rows()]
    random = RandomReal() if shared.taught_like else RandomReal(teacher_labels=run.method.teacher_labels)
    with ProgressLine("random real sets", total=count, done=len(means), unit="set") as line:
        for seed in range(len(means), count):
            one = shared.made(random, seed=seed)
            means.append(score(one, run.data, run.config.protocol, measures=()).mean)
            kept.keep([[mean] for mean in means])
            line.update(seed + 1, f"best {max(means):.2%}")
    return {
        "kind": "random real",
        "sets": count,
        "best": max(means),
        "mean": statistics.fmean(means),
        "sd": statistics.stdev(means) if count > 1 else 0.0,
        "accuracies": means,
    }
