"""A whole run in one folder."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

import datastill.run
from datastill import DistilledSet, Protocol, UserError, distill, load_data, score
from datastill.loop import LoopSettings, Stopped
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.recipes import from_dict
from datastill.run import artifact, pick_device, prepare, stored_config

from .toys import toy_config, toy_data

DATA = toy_data()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    distill(toy_config(random_sets=2), folder, data=DATA, command="datastill distill toy")
    return folder


def test_a_finished_run_holds_what_it_should_and_no_checkpoint(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"config.json", "metrics.jsonl", "distilled.safetensors", "score.json", "report.html"}
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


def test_the_random_sets_are_told_beside_the_score(finished: Path) -> None:
    baseline = DistilledSet.load(finished / "distilled.safetensors").header.score["baseline"]
    assert baseline["sets"] == len(baseline["accuracies"]) == 2
    assert baseline["best"] == max(baseline["accuracies"])


@pytest.mark.parametrize("where", ["gradient", "final_score"])
def test_a_run_stopped_while_distilling_or_scoring_resumes_to_the_same_set(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, finished: Path
) -> None:
    config = toy_config(random_sets=2)
    with monkeypatch.context() as patch:
        if where == "gradient":
            original = DatasetDistillation.gradient

            def gradient(*arguments: object) -> object:
                if arguments[-1] == 3:
                    os.kill(os.getpid(), signal.SIGTERM)
                return original(*arguments)

            patch.setattr(DatasetDistillation, "gradient", gradient)
        else:
            patch.setattr(datastill.run, "final_score", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises((Stopped, KeyboardInterrupt)):
            distill(config, tmp_path / "a", data=DATA)
    resumed = distill(stored_config(tmp_path / "a"), tmp_path / "a", data=DATA, resume=True)
    whole = DistilledSet.load(finished / "distilled.safetensors")
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[name])
    assert resumed.header.score["accuracies"] == whole.header.score["accuracies"]


def test_a_finished_run_is_not_run_again(finished: Path) -> None:
    before = (finished / "distilled.safetensors").stat().st_mtime_ns
    distill(toy_config(), finished, data=DATA, resume=True)
    assert (finished / "distilled.safetensors").stat().st_mtime_ns == before


def test_an_occupied_folder_is_refused_and_left_as_it_was(finished: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(UserError, match="already holds a run or other files; give another folder with --out"):
        distill(toy_config(), finished, data=DATA)
    assert {path: path.read_bytes() for path in finished.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="already holds"):
        distill(toy_config(), tmp_path / "file", data=DATA)
    with pytest.raises(UserError, match="cannot make the folder"):
        distill(toy_config(), tmp_path / "file" / "inside", data=DATA)


def test_nothing_is_made_when_the_settings_are_wrong(tmp_path: Path) -> None:
    for config, message in [
        (toy_config(network="lenet"), "lenet' takes images of 28x28 or 32x32, not 4x4"),
        (toy_config(network="nothing"), "unknown network"),
        (toy_config(initialiser="xaviar"), "unknown initialiser 'xaviar': did you mean 'xavier'"),
        (toy_config(device="abacus"), "device 'abacus' is not there"),
        (
            toy_config(method=DatasetDistillation(ipc=3, steps=2, real_batch=8)),
            "ipc 3 cannot be shared evenly by 2 steps",
        ),
        (toy_config(method=DatasetDistillation(ipc=1000, steps=2, real_batch=8)), "1000 images per class wanted"),
        (toy_config(method=DatasetDistillation(real_batch=10**6)), "real_batch is 1000000, but there are"),
    ]:
        with pytest.raises(UserError, match=message):
            distill(config, tmp_path / "run", data=DATA)
        assert not (tmp_path / "run").exists(), message


def test_a_diverging_run_leaves_its_last_good_state(tmp_path: Path) -> None:
    method = DatasetDistillation(ipc=2, steps=2, epochs=2, step_size=1e30, real_batch=16)
    config = toy_config(method=method, loop=LoopSettings(iterations=50))
    with pytest.raises(
        UserError, match=r"the run diverged: .* lower the outer learning rates or the starting step size"
    ):
        distill(config, tmp_path / "run", data=DATA)
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_fixed_weights_are_kept_and_used(tmp_path: Path) -> None:
    distilled = distill(toy_config(initial="fixed"), tmp_path / "fixed", data=DATA)
    assert distilled.header.score["n"] == 1
    again = DistilledSet.load(tmp_path / "fixed" / "distilled.safetensors")
    assert score(again, DATA).mean == distilled.header.score["mean"]


def test_distilling_beats_the_real_images_it_starts_from(tmp_path: Path) -> None:
    config = toy_config(loop=LoopSettings(iterations=100, validate_every=50), protocol=Protocol(networks=20))
    run = prepare(config, DATA)
    before = artifact(run, config.method.start(run.problem))
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
