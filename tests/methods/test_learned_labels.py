"""Labels that are learned with the examples: a probability for every class, stored, verified and used like others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datastill import DistilledSet, UserError, distill
from datastill.cli import main
from datastill.evaluation import score
from datastill.exporting import export
from datastill.loop import Stopped
from datastill.networks import build
from datastill.run import prepare
from datastill.synthetic import probabilities, raw_labels, start_labels, through_softmax
from datastill.training import PLAIN

from ..test_run import stopping
from ..toys import toy_config, toy_data, toy_task, unrolled

DATA = toy_data()
METHOD = replace(toy_config(engine=PLAIN).method, labels_rate=0.05)
CONFIG = toy_config(method=METHOD)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "whole"
    distill(CONFIG, folder, data=DATA)
    return folder


def test_they_start_certain_of_the_class_of_each_example() -> None:
    hard = start_labels(DATA, ipc=2, steps=2)
    soft = probabilities(raw_labels(hard, 3, torch.float64))
    torch.testing.assert_close(soft.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    assert torch.equal(soft.argmax(-1), hard)
    assert float(soft.amax()) == pytest.approx(0.99 + 0.01 / 3)
    torch.testing.assert_close(probabilities(raw_labels(soft, 3, torch.float64)), soft)
    certain = torch.eye(3, dtype=torch.float64)[None]
    torch.testing.assert_close(probabilities(raw_labels(certain, 3, torch.float64)), certain, rtol=0, atol=3e-4)


def test_the_gradient_through_softmax_is_that_of_autograd() -> None:
    draw = torch.Generator().manual_seed(0)
    raw = torch.randn(2, 4, 3, generator=draw, dtype=torch.float64).requires_grad_()
    gradient = torch.randn(5, 2, 4, 3, generator=draw, dtype=torch.float64)
    expected = torch.stack([torch.autograd.grad(probabilities(raw), raw, each)[0] for each in gradient])
    torch.testing.assert_close(through_softmax(probabilities(raw.detach()), gradient), expected)


def test_the_objective_falls_further_than_with_hard_labels_alone() -> None:
    """With the examples held still, only the labels (and step sizes) can lower it."""
    method = replace(unrolled(METHOD, networks=4), examples_rate=0.0, step_sizes_rate=0.0, real_batch=144)
    task = toy_task()
    state = method.init(task)
    state.learned["labels"] = (0.9 * probabilities(state.learned["labels"]) + 0.1 / 3).log()  # there is room for more
    first = method.step(task, state, 0).objective
    for _ in range(30):
        state.learned["labels"] -= 20 * method.step(task, state, 0).gradients["labels"].mean(0)
    assert method.step(task, state, 0).objective < first - 0.02


def test_a_set_with_learned_labels_is_stored_loads_and_verifies(finished: Path, capsys: pytest.CaptureFixture) -> None:
    distilled = DistilledSet.load(finished)
    assert (distilled.hard, distilled.targets.shape) == (False, (6, 3))
    torch.testing.assert_close(distilled.targets.sum(-1), torch.ones(6))
    assert not torch.allclose(distilled.targets.amax(-1), torch.tensor(0.99 + 0.01 / 3), atol=1e-4)  # they have moved
    assert score(distilled, DATA, CONFIG.protocol).accuracies == distilled.header.score["accuracies"]
    assert distilled.header.score["protocol"]["labels"] == "soft"
    assert main(["show", str(finished)]) == 0
    assert "soft" in capsys.readouterr().out
    model = build("mlp(width=8,depth=1)", shape=DATA.shape, classes=3).factory()
    assert distilled.fit(model)(distilled.inputs[:3]).shape == (3, 3)


def test_a_set_with_learned_labels_is_exported_with_them(finished: Path, tmp_path: Path) -> None:
    distilled = DistilledSet.load(finished)
    export(distilled, tmp_path / "set.npz", "npz")
    import numpy as np

    with np.load(tmp_path / "set.npz") as file:
        stored = [file[name] for name in file.files if file[name].shape == distilled.targets.shape]
    assert any(np.array_equal(each, distilled.targets.numpy()) for each in stored)


def test_a_run_resumes_to_the_last_bit(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stopping(patch, 3)
        with pytest.raises(Stopped):
            distill(CONFIG, tmp_path / "parts", data=DATA)
    distill(CONFIG, tmp_path / "parts", data=DATA, resume=True)
    whole, resumed = DistilledSet.load(finished), DistilledSet.load(tmp_path / "parts")
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[name]), name
    last = json.loads((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()[0])
    assert set(last["gradient_norm"]) == {"examples", "step_sizes", "labels"}


def test_a_warm_start_with_soft_labels_goes_on_from_them_and_needs_a_rate(finished: Path) -> None:
    file = str(finished / "distilled.safetensors")
    run = prepare(toy_config(method=METHOD, warm_start=file), DATA)
    labels = METHOD.result(run.task, METHOD.init(run.task)).targets
    torch.testing.assert_close(labels, DistilledSet.load(finished).targets, rtol=1e-4, atol=1e-5)
    hard = toy_config(method=replace(METHOD, labels_rate=0.0), warm_start=file)
    with pytest.raises(UserError, match=r"or learn its soft labels on with --method.labels-rate"):
        prepare(hard, DATA)
