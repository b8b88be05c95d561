"""Snapshots of a pool: the weights along the training, kept in its file, read one by one, and started from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from datastill import UserError, distill, score
from datastill.cli import main
from datastill.networks import build
from datastill.networks.pool import TEST_NETWORKS, Pool
from datastill.networks.pool_header import Training
from datastill.networks.snapshots import places, sha256_of
from datastill.networks.start import FromPool, parse_start
from datastill.pretraining import PoolSettings, begin, pretrain, train_steps
from datastill.storage.files import digest, read_tensors

from .toys import toy_config, toy_data

DATA = toy_data()
NETWORK = "mlp(width=8,depth=1)"
SETTINGS = PoolSettings(network=NETWORK, count=3, held_out=2, epochs=2, batch=16, rate=0.01, snapshots=2)


def network() -> object:
    return build(NETWORK, shape=DATA.shape, classes=DATA.classes)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "toy.safetensors"
    pretrain(SETTINGS, DATA, path)
    return path


@pytest.fixture(scope="module")
def pool(path: Path) -> Pool:
    return Pool.load(path)


def rewritten(path: Path, to: Path, *, header: dict | None = None, tensors: dict | None = None) -> Path:
    """Write a pool with another header or other tensors, and the digest of these."""
    metadata, found = read_tensors(path)
    text = json.dumps(json.loads(metadata["header"]) | (header or {}), sort_keys=True)
    found |= tensors or {}
    kept = {name: value for name, value in found.items() if not name.endswith(".snapshots")}
    save_file(found, to, {**metadata, "header": text, "sha256": digest(text, kept)})
    return to


def test_they_are_the_weights_after_each_epoch(pool: Pool) -> None:
    per_epoch = len(DATA.train) // 16
    assert pool.steps == (0, per_epoch, 2 * per_epoch)
    begun = begin(SETTINGS, network(), DATA, [*range(5)])
    thetas = [state[0] for state in train_steps(SETTINGS, network(), DATA, [*range(5)], begun)]
    for snapshot, step in ((1, per_epoch), (2, 2 * per_epoch)):
        found = pool.at(snapshot)
        expected = thetas[step - 1].split([3, 2])
        torch.testing.assert_close(found.training, expected[0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.held_out, expected[1], rtol=1e-3, atol=1e-4)
    first = SETTINGS.start.first(network(), seed=0, which=range(5), counts={"training": 3, "held_out": 2})
    assert torch.equal(torch.cat([pool.at(0).training, pool.at(0).held_out]), first)


def test_the_last_one_is_the_trained_network(pool: Pool) -> None:
    assert pool.at(2) is pool.at(None) is pool
    assert torch.equal(pool.weights(1, 2), pool.training[1])
    assert torch.equal(pool.weights(1), pool.training[1])


def test_a_measurement_reads_held_out_networks_alone(pool: Pool) -> None:
    read = []

    def counted(split: str, network_number: int, snapshot: int) -> torch.Tensor:
        read.append((split, network_number, snapshot))
        return pool.snapshots.read(split, network_number, snapshot)

    watched = replace(pool, snapshots=replace(pool.snapshots, read=counted))
    assert len(watched.at(1).held_out) == len(watched.at(1).held_out) == 2
    assert read == [("held_out", 0, 1), ("held_out", 1, 1)]
    watched.weights(2, 0)
    assert read[2:] == [("training", 2, 0)]


def test_one_is_read_alone(pool: Pool) -> None:
    for network_number in range(3):
        assert torch.equal(pool.weights(network_number, 1), pool.at(1).training[network_number])


@pytest.mark.parametrize(("snapshots", "steps", "kept"), [(0, 7, [7]), (1, 7, [0, 7]), (3, 7, [0, 2, 4, 7])])
def test_they_are_spaced_evenly_from_the_start_to_the_end(snapshots: int, steps: int, kept: list[int]) -> None:
    assert places(snapshots, steps) == kept


def test_the_pool_says_how_it_was_trained_and_how_accurate_it_was_along_the_way(pool: Pool) -> None:
    assert pool.trained_by == Training(epochs=2, batch=16, rate=0.01)
    assert [pool.trained_by.rate_at(step, 18) for step in (0, 9)] == [0.01, 0.005]
    along, trained = pool.header["along"], pool.header["accuracies"]["training"]
    assert along[-1] == pytest.approx(sum(trained) / 3, abs=1e-5)
    assert along[0] < along[-1]


def test_keeping_them_does_not_change_the_training(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datastill.pretraining.faster", lambda *_: 2)
    without, kept = (
        pretrain(replace(SETTINGS, snapshots=count), DATA, tmp_path / f"{count}.safetensors") for count in (0, 2)
    )
    assert torch.equal(without.training, kept.training)
    assert (without.steps, without.snapshots) == ((), None)


def test_another_reader_finds_them_in_the_file(path: Path, pool: Pool) -> None:
    found = load_file(path)
    assert found["training.snapshots"].shape == (3, 2, network().size)
    for split in ("training", "held_out"):
        for snapshot in (0, 1):
            assert torch.equal(found[f"{split}.snapshots"][:, snapshot], getattr(pool.at(snapshot), split))


def test_a_pool_that_is_saved_again_is_that_pool(path: Path, pool: Pool, tmp_path: Path) -> None:
    pool.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    again = Pool.load(tmp_path / "again.safetensors")
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes(), "a pool is written over itself"


def test_weights_that_were_changed_are_refused_when_they_are_read(path: Path, tmp_path: Path) -> None:
    snapshots = load_file(path)["training.snapshots"]
    snapshots[1, 0, 0] += 1
    changed = Pool.load(rewritten(path, tmp_path / "changed", tensors={"training.snapshots": snapshots}))
    changed.weights(0, 0)
    changed.weights(1, 1)
    with pytest.raises(
        UserError, match="snapshot 0 of training network 1 of the pool was changed after it was written"
    ):
        changed.weights(1, 0)
    (tmp_path / "changed").unlink()
    with pytest.raises(UserError, match=r"cannot read training.snapshots in .*changed"):
        changed.weights(0, 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"header": {"snapshots": [0, 5, 5]}}, "must begin with 0 and rise"),
        ({"header": {"snapshots": [1, 5, 6]}}, "must begin with 0 and rise"),
        ({"header": {"snapshots": [0, 5]}}, r"training.snapshots is F32 \(3, 2, 163\), but must be"),
        ({"tensors": {"held_out.sha256": torch.zeros(2, 2, 31, dtype=torch.uint8)}}, "held_out.sha256 is"),
        ({"tensors": {"more": torch.zeros(2)}}, "it holds the tensors 'held_out', .* instead of training and held_out"),
        ({"tensors": {"training.snapshots": torch.zeros(3, 2, 163).double()}}, "training.snapshots is F64"),
    ],
)
def test_a_file_whose_snapshots_do_not_fit_is_refused(path: Path, tmp_path: Path, change: dict, why: str) -> None:
    with pytest.raises(UserError, match=why):
        Pool.load(rewritten(path, tmp_path / "other", **change))


def test_a_missing_one_is_refused_with_a_list(pool: Pool, tmp_path: Path) -> None:
    per_epoch = pool.steps[1]
    with pytest.raises(UserError, match=f"no snapshot 3; it has 0 to 2, after 0, {per_epoch}, {2 * per_epoch} g"):
        pool.weights(0, 3)
    with pytest.raises(UserError, match="has 3 networks to distil with, so 0 to 2 can be named, not 3"):
        pool.weights(3, 1)
    without = replace(pool, snapshots=None)
    with pytest.raises(UserError, match="holds trained networks only; leave @1 out, or pretrain a pool with --snap"):
        without.at(1)
    total = 2 * per_epoch
    with pytest.raises(UserError, match=f"snapshots is {total + 1}, but the training has {total} gradient steps"):
        pretrain(replace(SETTINGS, snapshots=total + 1), DATA, tmp_path / "more")


def test_networks_start_from_one(path: Path, pool: Pool) -> None:
    start, early = parse_start(f"pool:{path}@1"), pool.at(1)
    draws = start.bound(network(), seed=0, networks=3)
    assert draws.start == FromPool(str(path), None, pool.sha256, 1)
    assert torch.equal(draws(0, 0, range(3)).unique(dim=0), early.training.unique(dim=0))
    assert torch.equal(start.unseen(network(), seed=0, purpose=TEST_NETWORKS, networks=9), early.held_out)
    one = parse_start(f"pool:{path}#2@0")
    assert torch.equal(one.bound(network(), seed=0).one, pool.at(0).training[2])
    for each, words in ((start, "any network"), (one, "network 2")):
        assert each.made_for.startswith(f"{words} of the pool {path}, at snapshot {each.snapshot} of its training")
        names: dict = {"network": network()}
        exec(f"{each.imports}\n{each.code}", names)
    assert torch.equal(start.first(network(), seed=0, which=[0, 3], counts={"training": 3, "held_out": 2})[1],
                       early.held_out[0])  # fmt: skip


def test_later_snapshots_are_further_networks_to_distil_with_and_to_nothing_else(path: Path, pool: Pool) -> None:
    start = parse_start(f"pool:{path}@1+")
    drawn = start.bound(network(), seed=0, networks=6)(0, 0, range(6))
    both = torch.cat([pool.at(1).training, pool.training])
    assert torch.equal(drawn.unique(dim=0), both.unique(dim=0))
    with pytest.raises(UserError, match="networks is 7, but the pool has 6 to draw from"):
        start.bound(network(), seed=0, networks=7)
    for purpose, trained in ((TEST_NETWORKS, pool.held_out), ("validation", pool.validating)):
        assert torch.equal(start.unseen(network(), seed=0, purpose=purpose, networks=9), trained)
    assert "at snapshot 1 or a later one of its training" in start.made_for
    exec(f"{start.imports}\n{start.code}", {"network": network()})
    with pytest.raises(UserError, match="has no effect; leave it out"):
        start.first(network(), seed=0, which=[0], counts={"training": 3, "held_out": 2})
    assert torch.equal(pool.onward(2), pool.drawn)
    with pytest.raises(UserError, match="no snapshot 3"):
        pool.onward(3)


def test_a_training_that_validates_gives_no_snapshot_to_distil_with(pool: Pool) -> None:
    many = replace(pool, training=torch.arange(10.0).repeat_interleave(pool.training.shape[1]).view(10, -1))
    many = replace(many, snapshots=replace(pool.snapshots, read=lambda _, i, k: many.training[i] + k / 10,
                                           sha256=_sha256_of_all(many)))  # fmt: skip
    assert many.onward(0)[:, 0].tolist() == pytest.approx([i + k for i in range(9) for k in (0, 0.1, 0)])
    assert many.validating[:, 0].tolist() == [9]


def _sha256_of_all(pool: Pool) -> dict[str, torch.Tensor]:
    rows = [torch.stack([sha256_of(theta + k / 10) for k in (0, 1)]) for theta in pool.training]
    return {"training": torch.stack(rows)}


def test_a_set_is_distilled_and_measured_from_one(path: Path, pool: Pool, tmp_path: Path) -> None:
    distilled = distill(toy_config(start=f"pool:{path}#1@1"), tmp_path / "run", data=DATA)
    assert distilled.header.start == FromPool(str(path), 1, pool.sha256, 1)
    assert torch.equal(network().flat(dict(distilled.theta_0)), pool.weights(1, 1))
    assert score(distilled, DATA).accuracies == distilled.header.score["accuracies"]


def test_the_command_says_the_size_before_and_keeps_them(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "pool.safetensors"
    words = ["pretrain", "digits", "--network", "mlp(width=4,depth=1)", "--count", "2", "--held-out", "0"]
    assert main([*words, "--epochs", "1", "--snapshots", "3", "--out", str(file)]) == 0
    told = " ".join(capsys.readouterr().err.split())
    size = 2 * 4 * 4 * (64 * 4 + 4 + 4 * 10 + 10)
    assert f"the pool will have {size / 1000:.3g} kB (weights of 2 networks at 4 places)" in told
    assert size < file.stat().st_size < size + 4000
    assert len(Pool.load(file).steps) == 4
