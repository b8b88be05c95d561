"""A whole run in one folder."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import datastill.planner
import datastill.run
from datastill import DataSettings, DistilledSet, Protocol, UserError, distill, load_data, load_rows, score, training
from datastill.commands.evaluating import real_data
from datastill.config import from_dict
from datastill.device import pick_device
from datastill.evaluation.fit import unseen
from datastill.loop import LoopSettings, Stopped
from datastill.methods import dataset_distillation as method
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.networks.start import Random
from datastill.program import OPTIMISERS
from datastill.recipes import recipe
from datastill.report.snapshots import Keeper
from datastill.resuming import stored_config
from datastill.run import artifact, learned, prepare
from datastill.runlog import read_lines
from datastill.training import Engine, Unroll

from .planning import costing
from .toys import toy_config, toy_data, unrolled

pytestmark = pytest.mark.usefixtures("operations_not_counted", "one_program_to_choose")
DATA = toy_data()
PLAIN = Engine(mode="recomputed", execution="eager", together=4)
"""A way to compute for which nothing is measured."""


@pytest.fixture(scope="module")
def logged() -> list[dict]:
    """What a logger of the user got from the finished run (a new list each time: a process may make the run twice)."""
    return []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, logged: list[dict]) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    distill(toy_config(random_sets=2), folder, data=DATA, command="datastill distill toy", log=logged.append)
    return folder


def test_a_finished_run_holds_what_it_should_and_no_checkpoint(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    files = {"config.json", "metrics.jsonl", "distilled.safetensors", "score.json", "report.html"}
    assert names == files | {"snapshots.safetensors"}
    assert json.loads((finished / "config.json").read_text())["command"] == "datastill distill toy"


def test_the_artifact_repeats_the_run_and_its_score(finished: Path, tmp_path: Path) -> None:
    first = DistilledSet.load(finished / "distilled.safetensors")
    config = from_dict(json.loads(json.dumps(first.header.config)))
    again = distill(config, tmp_path / "again", data=DATA)
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, again.tensors()[name])
    timeless = [{k: v for k, v in one.header.score.items() if k != "seconds"} for one in (first, again)]
    assert timeless[0] == timeless[1]
    assert score(first, DATA, config.protocol).accuracies == first.header.score["accuracies"]
    assert json.loads((finished / "score.json").read_text()) == first.header.score


def test_a_logger_of_the_user_gets_every_record_of_the_log(finished: Path, logged: list[dict]) -> None:
    assert json.loads(json.dumps(logged)) == read_lines(finished / "metrics.jsonl")


def test_a_set_is_learned_in_memory_as_in_a_folder(finished: Path) -> None:
    in_memory = distill(toy_config(random_sets=2), data=DATA)
    kept = DistilledSet.load(finished / "distilled.safetensors")
    assert in_memory.header.score is None
    for name, tensor in in_memory.tensors().items():
        assert torch.equal(tensor, kept.tensors()[name])


def test_a_run_without_a_folder_cannot_be_resumed() -> None:
    with pytest.raises(UserError, match="give the folder of the run"):
        distill(toy_config(), data=DATA, resume=True)


def test_pictures_are_kept_only_of_images_and_only_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in memory has nowhere to keep them, and rows have none: neither makes a set for nothing."""

    def refuse(*_: object) -> None:
        raise AssertionError("a snapshot")

    monkeypatch.setattr(Keeper, "take", refuse)
    learned(toy_config(), DATA)
    draw = np.random.default_rng(0)
    rows = load_rows((draw.normal(size=(90, 4)), draw.integers(0, 3, 90)))
    config = toy_config(data=rows.settings, network="mlp(width=8,depth=1)")
    distill(config, tmp_path / "rows", data=rows)
    assert not (tmp_path / "rows" / "snapshots.safetensors").exists()
    with pytest.raises(AssertionError, match="a snapshot"):
        distill(toy_config(), tmp_path / "images", data=DATA)


def test_the_random_sets_are_told_beside_the_score(finished: Path) -> None:
    baseline = DistilledSet.load(finished / "distilled.safetensors").header.score["baseline"]
    assert baseline["sets"] == len(baseline["accuracies"]) == 2
    assert baseline["best"] == max(baseline["accuracies"])


def test_the_random_sets_have_the_size_of_the_set(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, distilled = prepare(toy_config(random_sets=2), DATA), DistilledSet.load(finished)
    measured: list[DistilledSet] = []

    def scored(one: DistilledSet, *_: object, **__: object) -> object:
        measured.append(one)
        return SimpleNamespace(mean=0.5)

    monkeypatch.setattr(datastill.run, "score", scored)
    datastill.run.compare(run, distilled, finished)
    assert [one.inputs.shape for one in measured] == [distilled.inputs.shape] * 2
    assert [one.batches for one in measured] == [distilled.batches] * 2


@pytest.mark.parametrize("where", ["gradient", "final_score"])
def test_a_run_stopped_while_distilling_or_scoring_resumes_to_the_same_set(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    config = toy_config(random_sets=2)
    with monkeypatch.context() as patch:
        if where == "gradient":
            stopping(patch, 3)
        else:
            patch.setattr(datastill.run, "final_score", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises((Stopped, KeyboardInterrupt)):
            distill(config, tmp_path / "a", data=DATA)
    resumed = distill(stored_config(tmp_path / "a"), tmp_path / "a", data=DATA, resume=True)
    whole = DistilledSet.load(finished / "distilled.safetensors")
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[name])
    assert resumed.header.score["accuracies"] == whole.header.score["accuracies"]


def before_iteration(monkeypatch: pytest.MonkeyPatch, at: int, happens: Callable[[], object]) -> None:
    original = DatasetDistillation.step

    def step(*arguments: object) -> object:
        if arguments[-1] == at:
            happens()
        return original(*arguments)

    monkeypatch.setattr(DatasetDistillation, "step", step)


def stopping(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """As if somebody asked the process to end in that iteration."""
    before_iteration(monkeypatch, at, lambda: os.kill(os.getpid(), signal.SIGTERM))


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, at: int) -> None:
    """As if that iteration raised an error."""
    before_iteration(monkeypatch, at, lambda: (_ for _ in ()).throw(error).send(None))


def test_the_way_to_compute_is_chosen_once_and_stays_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config()
    chosen = Engine(mode="recomputed", execution="forward", together=1, keep_every=3)
    used = []
    with monkeypatch.context() as patch:
        patch.setattr(method, "choose", lambda trial, _: replace(trial.unroll, engine=chosen))
        stopping(patch, 3)
        with pytest.raises(Stopped):
            distill(config, tmp_path / "run", data=DATA)
    planned = json.loads((tmp_path / "run" / "config.json").read_text())["planned"]
    assert planned["unroll"] == asdict(Unroll(networks=2, engine=chosen))
    assert stored_config(tmp_path / "run") == config, "what was asked for is kept besides"
    with monkeypatch.context() as patch:
        patch.setattr(method, "choose", lambda *_: pytest.fail("it was chosen again"))
        original = datastill.run.optimise

        def optimise(method: DatasetDistillation, *arguments: object, **settings: object) -> object:
            used.append(method.unroll.engine)
            return original(method, *arguments, **settings)

        patch.setattr(datastill.run, "optimise", optimise)
        resumed = distill(stored_config(tmp_path / "run"), tmp_path / "run", data=DATA, resume=True)
    assert used == [chosen]
    assert resumed.header.provenance["planned"] == planned
    assert from_dict(resumed.header.config) == config


def test_a_set_says_how_it_was_computed(finished: Path) -> None:
    provenance = DistilledSet.load(finished / "distilled.safetensors").header.provenance
    assert Engine(**provenance["planned"]["unroll"]["engine"]) == replace(training.PLAIN, together=2)
    assert provenance["threads"] == torch.get_num_threads()
    assert json.loads((finished / "config.json").read_text())["planned"] == provenance["planned"]


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """So little is free that recomputed steps fit, and stored ones do not."""
    memory = {"stored": 6 * 2**30, "recomputed": 2**29}
    monkeypatch.setattr(datastill.planner, "costs", costing(memory))
    monkeypatch.setattr(datastill.planner, "free_bytes", lambda _: 2**30)


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("where", ["run", "other"])
def test_a_mode_that_does_not_fit_is_refused_and_another_can_be_taken_at_once(tmp_path: Path, where: str) -> None:
    with pytest.raises(UserError, match=r"'stored' needs about 6.0 GiB, but 1.0 GiB .*; take mode=recomputed"):
        distill(toy_config(engine=Engine(mode="stored")), tmp_path / "run", data=DATA)
    distilled = distill(toy_config(engine=Engine(mode="recomputed")), tmp_path / where, data=DATA)
    assert distilled.header.provenance["planned"]["unroll"]["engine"]["mode"] == "recomputed"


def test_a_run_stopped_while_measuring_can_be_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(method, "choose", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            distill(toy_config(), tmp_path / "run", data=DATA)
    with pytest.raises(UserError, match=r"there is no run in .* to resume"):
        stored_config(tmp_path / "run")
    assert distill(toy_config(engine=PLAIN), tmp_path / "run", data=DATA).header.score


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_gives_one_line_with_what_to_do_and_leaves_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, error, at=3)
    with pytest.raises(UserError, match=r"memory ran out; .*; take --method\.engine\.mode recomputed") as caught:
        distill(toy_config(engine=PLAIN), tmp_path / "run", data=DATA)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert distill(toy_config(engine=PLAIN), tmp_path / "run", data=DATA, resume=True).header.score


def test_other_errors_of_a_network_are_not_taken_for_a_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), at=0)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        distill(toy_config(engine=PLAIN), tmp_path / "run", data=DATA)


@pytest.mark.parametrize("optimiser", ["momentum", "adam"])
def test_a_set_for_another_optimiser_is_made_kept_and_trained_on_with_it(tmp_path: Path, optimiser: str) -> None:
    """What `fit` does to a plain module is what was distilled for and scored."""
    config = recipe("digits")
    config = replace(
        config,
        method=replace(unrolled(config.method, engine=PLAIN), optimiser=optimiser, step_size=0.02),
        loop=LoopSettings(iterations=3, validate_every=3),
        protocol=Protocol(networks=3),
        random_sets=0,
    )
    distill(config, tmp_path / "run")
    distilled = DistilledSet.load(tmp_path / "run" / "distilled.safetensors")
    assert distilled.program.optimiser == OPTIMISERS[optimiser]
    data = load_data("digits")
    network, thetas = unseen(distilled, config.protocol.resolved(distilled), "test networks", torch.device("cpu"))

    def right(one: DistilledSet, theta: torch.Tensor) -> float:
        model = network.factory()
        model.load_state_dict(network.named(theta))
        predicted = one.fit(model)(one.normalise(data.test.images)).argmax(1)
        return float((predicted == data.test.labels).float().mean())

    mine = [right(distilled, theta) for theta in thetas]
    two_images = 2 / len(data.test)  # which two ways to round may tell apart
    assert distilled.header.score["accuracies"] == pytest.approx(mine, abs=two_images)
    assert score(distilled, data, config.protocol).accuracies == distilled.header.score["accuracies"]
    assert distilled.header.score["mean"] > 0.4
    plain = distilled.with_program(replace(distilled.program, optimiser=OPTIMISERS["sgd"]))
    assert right(plain, thetas[0]) != pytest.approx(mine[0], abs=two_images)


def test_a_finished_run_is_not_run_again(finished: Path) -> None:
    before = (finished / "distilled.safetensors").stat().st_mtime_ns
    distill(toy_config(random_sets=2), finished, data=DATA, resume=True)
    with pytest.raises(UserError, match="setting random_sets was 2 and is 0; leave --resume out"):
        distill(toy_config(), finished, data=DATA, resume=True)
    assert (finished / "distilled.safetensors").stat().st_mtime_ns == before


def test_an_occupied_folder_is_refused_and_left_as_it_was(finished: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(UserError, match="already holds a run or other files; give another folder with --out"):
        distill(toy_config(), finished, data=DATA)
    assert {path: path.read_bytes() for path in finished.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file, not a folder; give another folder with --out"):
        distill(toy_config(), tmp_path / "file", data=DATA)
    with pytest.raises(UserError, match="cannot make the folder"):
        distill(toy_config(), tmp_path / "file" / "inside", data=DATA)


def test_the_iterate_that_is_kept_is_chosen_by_the_protocol_of_the_run() -> None:
    protocol = Protocol(network="mlp(width=4,depth=2)", start=Random("kaiming"), step_size=0.3, epochs=5, seed=1)
    run = prepare(toy_config(protocol=protocol, seed=3), DATA)
    state = run.config.method.init(run.task)
    found = datastill.run.validate(run, state)
    wanted = score(artifact(run, state), DATA, replace(protocol, networks=20, seed=3), split="validation")
    assert (found["mean"], found["n"]) == (wanted.mean, 20)
    standard = score(artifact(run, state), DATA, Protocol(networks=20, seed=3), split="validation")
    assert found["mean"] != standard.mean


def test_a_diverging_run_leaves_its_last_good_state(tmp_path: Path) -> None:
    method = DatasetDistillation(ipc=2, steps=2, epochs=2, step_size=1e8, real_batch=16)
    config = toy_config(method=method, loop=LoopSettings(iterations=50))
    for resume in (False, True):  # no iteration had a finite gradient, so there is no state of the outer optimiser
        with pytest.raises(
            UserError, match=r"the run diverged: .* start a new run with lower outer learning rates or a smaller first"
        ):
            distill(config, tmp_path / "run", data=DATA, resume=resume)
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_fixed_weights_are_kept_and_used(tmp_path: Path) -> None:
    distilled = distill(toy_config(start="fixed"), tmp_path / "fixed", data=DATA)
    assert distilled.header.score["n"] == 1
    again = DistilledSet.load(tmp_path / "fixed" / "distilled.safetensors")
    assert score(again, DATA).mean == distilled.header.score["mean"]


def test_distilling_beats_the_real_images_it_starts_from(tmp_path: Path) -> None:
    config = toy_config(loop=LoopSettings(iterations=50, validate_every=25), protocol=Protocol(networks=20))
    run = prepare(config, DATA)
    before = artifact(run, config.method.init(run.task))
    after = distill(config, tmp_path / "run", data=DATA)
    assert after.header.score["mean"] > score(before, DATA, config.protocol).mean + 0.05


def test_your_own_arrays_and_your_own_network(tmp_path: Path) -> None:
    """What `--network module:callable` names is trained, kept by name, and evaluated."""
    data = load_data((DATA.train.images, DATA.train.labels), validation=0.25)
    config = toy_config(network="tests.test_run:tiny(width=4)")
    distilled = distill(config, tmp_path / "own", data=data)
    assert distilled.header.network == "tests.test_run:tiny(width=4)"


def tiny(*, shape: tuple[int, int, int], classes: int, width: int) -> torch.nn.Module:
    inputs = shape[0] * shape[1] * shape[2]
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(inputs, width), torch.nn.Tanh(), torch.nn.Linear(width, classes)
    )


def test_the_device_is_checked() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="take auto or cpu"):
        pick_device("cuda:99")


def test_a_run_records_how_its_data_was_loaded(tmp_path: Path) -> None:
    distilled = distill(toy_config(data=DataSettings(name="digits")), tmp_path / "run", data=DATA)
    assert (distilled.header.data, distilled.header.config["data"]["in_memory"]) == ("toy", True)
    assert stored_config(tmp_path / "run").data == DATA.settings
    with pytest.raises(UserError, match=r"^the data 'toy' was given in Python .* data=, or name a folder"):
        real_data(distilled, tmp_path / "run")
