"""The classifier in the manner of scikit-learn, by scikit-learn's own checks."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.utils.estimator_checks import parametrize_with_checks

from datastill import DistilledClassifier, DistilledSet, UserError
from datastill.methods import Method, OuterRate, State, SyntheticData, Task, Update
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.training import Engine, Unroll

from .methods.toy_methods import Wandering
from .sets import ordered

NETWORK = "mlp(width=16,depth=1)"
PLAIN = Engine(mode="stored", execution="eager", together=1, precision="float32")
SMALL = DatasetDistillation(epochs=2, real_batch=64, step_size=0.2, unroll=Unroll(networks=1, engine=PLAIN))


@dataclass(frozen=True, kw_only=True)
class Means(Method):
    """The mean of each class, trained on for a few steps; a fit takes a fraction of a second."""

    name: ClassVar[str] = "means"
    ipc: int = 1

    def check(self, task: Task) -> None:
        pass

    def init(self, task: Task) -> State:
        train = task.data.train
        each = task.data.normalise(train.images)
        means = [each[train.labels == k].mean(0) for k in range(task.data.classes)]
        return State(learned={}, carried={"means": torch.stack(means)})

    def rates(self) -> Mapping[str, OuterRate]:
        return {}

    def step(self, task: Task, state: State, iteration: int) -> Update:
        raise NotImplementedError

    def result(self, task: Task, state: State) -> SyntheticData:
        means = state.carried["means"]
        return SyntheticData(inputs=means, targets=torch.arange(len(means)), program=ordered(torch.full((15, 1), 0.3)))


@parametrize_with_checks([DistilledClassifier(method=Means(), network=NETWORK)])
def test_it_passes_the_checks_of_scikit_learn(estimator: DistilledClassifier, check: Callable, as_a_user: None) -> None:
    check(estimator)


def wine() -> tuple[np.ndarray, np.ndarray]:
    rows, labels = load_wine(return_X_y=True)
    return rows, np.array(["Barolo", "Grignolino", "Barbera"])[labels]


def test_a_learning_method_gives_a_set_that_others_can_use(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows, names = wine()
    records: list[Mapping[str, Any]] = []
    classifier = DistilledClassifier(method=SMALL, network=NETWORK, ipc=2, iterations=5, log=records.append)
    assert classifier.fit(rows, names).score(rows, names) > 0.8
    assert [each["iteration"] for each in records] == [1, 2, 3, 4, 5, 5]
    assert capsys.readouterr() == ("", "")
    classifier.distilled_.save(tmp_path / "wine.safetensors")
    distilled = DistilledSet.load(tmp_path / "wine.safetensors")
    assert (distilled.size, distilled.batches, distilled.header.class_names) == (6, 2, tuple(sorted(set(names))))
    assert torch.allclose(distilled.normalise(rows).mean(0), torch.zeros(13), atol=0.2)


def test_probabilities_are_those_of_the_network_on_normalised_rows() -> None:
    rows, names = wine()
    classifier = DistilledClassifier(method=Means(), network=NETWORK).fit(rows, names)
    with torch.no_grad():
        wanted = classifier.model_(classifier.distilled_.normalise(rows)).double().softmax(1)
    assert np.allclose(classifier.predict_proba(rows), wanted.numpy())
    assert list(classifier.classes_) == ["Barbera", "Barolo", "Grignolino"]


def test_equal_seeds_give_equal_networks_and_the_global_generator_is_left_alone() -> None:
    rows, names = wine()
    before = torch.get_rng_state()
    first, again, other = (
        DistilledClassifier(method=Means(), network=NETWORK, seed=seed).fit(rows, names).predict_proba(rows)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_columns_of_a_data_frame_keep_their_names() -> None:
    frame = load_wine(as_frame=True)
    classifier = DistilledClassifier(method=Means(), network=NETWORK).fit(frame.data, frame.target)
    assert classifier.distilled_.header.space.columns == tuple(frame.data.columns)
    shown = classifier.distilled_.to_datasets().to_pandas()
    means = frame.data.groupby(frame.target).mean()
    assert np.allclose(shown[list(frame.data.columns)], means, rtol=0.2)  # a tenth of the rows is set apart


@pytest.mark.parametrize("ipc", [1.5, 0])
def test_rows_per_class_are_a_whole_number(ipc: Any) -> None:
    with pytest.raises(UserError, match=f"ipc is {ipc}, but must be a whole number"):
        DistilledClassifier().set_params(ipc=ipc)._method()


@pytest.mark.parametrize(
    ("method", "ipc", "steps"), [("dataset-distillation", 6, 1), (DatasetDistillation(), 6, 2), ("k-means", 5, 1)]
)
def test_rows_per_class_are_those_of_the_estimator(method: str | Method, ipc: int, steps: int) -> None:
    found = DistilledClassifier(method=method, ipc=ipc)._method()
    assert (found.ipc, found.steps) == (ipc, steps)


def test_a_fit_that_is_stopped_is_stopped_as_anything_else_is() -> None:
    rows, names = wine()
    before = signal.getsignal(signal.SIGINT)
    stopping = DistilledClassifier(method=SMALL, network=NETWORK, log=lambda record: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        stopping.fit(rows, names)
    assert signal.getsignal(signal.SIGINT) is before


def test_wrong_settings_are_one_line() -> None:
    rows, names = wine()
    with pytest.raises(UserError, match="unknown method 'k-mean': did you mean 'k-means'"):
        DistilledClassifier(method="k-mean").fit(rows, names)
    with pytest.raises(UserError, match=r"1e\+300, but at most 3.4e\+38 is possible; scale them"):
        DistilledClassifier(method=Means(), network=NETWORK).fit(np.full((20, 2), 1e300), np.arange(20) % 2)
    with pytest.raises(UserError, match="ipc is 3, but the method wandering has no such setting; leave ipc out"):
        DistilledClassifier(method=Wandering(), network=NETWORK, ipc=3).fit(rows, names)


def test_a_column_of_texts_is_named_in_one_line() -> None:
    rows, classes = [["red", 1.0], ["blue", 2.0]] * 10, ["a", "b"] * 10
    with pytest.raises(UserError, match=r"^the rows hold the text 'red', but must be numbers; .*get_dummies") as told:
        DistilledClassifier(iterations=2).fit(np.array(rows, dtype=object), classes)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("method", [SMALL, "kernel-ridge"])
def test_one_column_is_enough_for_a_method_that_learns(method: object, as_a_user: None) -> None:
    rows, names = wine()
    classifier = DistilledClassifier(method=method, network=NETWORK, ipc=1, iterations=3)
    proline = rows[:, 12:]
    assert set(classifier.fit(proline, names).predict(proline)) <= set(names)
    assert classifier.distilled_.shape == (1,)
