"""Poisoning: what is counted, that it works, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datastill import DistilledSet, Protocol, UserError, distill, score
from datastill.baselines import BASELINES, RandomReal, Setting
from datastill.cli import main
from datastill.data import DataSettings
from datastill.evaluation import attacked, with_clean
from datastill.evaluation.attack import AttackScore
from datastill.evaluation.fit import trained, unseen
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.objectives import Attack, classification
from datastill.pretraining import PoolSettings, pretrain
from datastill.report import spread_of
from datastill.run import prepare, validate
from datastill.storage.records import read as read_record
from datastill.training import Unroll

from ..toys import toy_config, toy_data, toy_set

DATA = toy_data()
NETWORK = "mlp(width=8,depth=1)"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "toy.safetensors"
    settings = PoolSettings(
        data=DataSettings(name="toy"), network=NETWORK, count=8, held_out=6, epochs=30, batch=16, rate=0.01
    )
    pretrain(settings, DATA, path)
    return path


def test_shares_are_those_of_the_confusion_matrix() -> None:
    distilled = toy_set(DATA, attack=(2, 0))
    found = attacked(distilled, DATA, Protocol(networks=3))
    protocol = Protocol(networks=3).resolved(distilled)
    network, thetas = unseen(distilled, protocol, "test networks", torch.device("cpu"))
    images, labels = DATA.normalise(DATA.test.images), DATA.test.labels
    stages = {"before": thetas, "after": next(trained(distilled, protocol, network, thetas))}
    for stage, weights in stages.items():
        for i, theta in enumerate(weights):
            read = network.apply(theta, images).argmax(1)
            shares = getattr(found, stage)
            assert shares.misread[i] == pytest.approx(float((read[labels == 2] == 0).float().mean()))
            assert shares.overall[i] == pytest.approx(float((read == labels).float().mean()))
            assert shares.others[i] == pytest.approx(float((read == labels)[labels != 2].float().mean()))
    assert found.after.overall == pytest.approx(score(distilled, DATA, Protocol(networks=3)).accuracies)
    assert read_record(AttackScore, found.as_dict(), "attack") == found
    assert str(found).startswith("class '2' classified as '0': ")


def test_one_step_on_a_learned_set_makes_trained_networks_misread_a_class(pool: Path, tmp_path: Path) -> None:
    method = DatasetDistillation(
        ipc=1,
        steps=1,
        epochs=1,
        real_batch=64,
        step_size=0.1,
        examples_rate=0.1,
        step_sizes_rate=0.05,
        unroll=Unroll(networks=4),
    )
    config = toy_config(start=f"pool:{pool}", objective="attack", attack_class=1, target_class=2, method=method)
    config = replace(config, loop=replace(config.loop, iterations=150, validate_every=50))
    distilled = distill(config, tmp_path / "run", data=DATA)
    assert DistilledSet.load(tmp_path / "run" / "distilled.safetensors").header.attack == (1, 2)
    found = read_record(AttackScore, distilled.header.score["attack"], "attack")
    before, after = (sum(shares.misread) / found.n for shares in (found.before, found.after))
    assert (found.n, found.attack_class, found.target_class) == (3, "1", "2")
    assert before < 0.2
    assert after > before + 0.5
    assert min(found.before.overall) > 0.8, "they were good"
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"<strong>{spread_of(found.after.misread)} %</strong>" in page
    assert "are classified as &#39;2&#39;, by 3 networks trained from networks that the pool holds out" in page
    assert f"before training on the set: {spread_of(found.before.others)} %" in page


def test_a_set_that_attacks_is_chosen_by_relabelled_validation_images(pool: Path) -> None:
    """Of networks that read every class right, as many are wrong as the attacked class has images."""
    method = DatasetDistillation(ipc=1, steps=1, epochs=1, real_batch=8, step_size=1e-6)
    plain = toy_config(start=f"pool:{pool}", method=method)
    attack = replace(plain, objective="attack", attack_class=0, target_class=1)
    means = []
    for config in (plain, attack):
        run = prepare(config, DATA)
        means.append(validate(run, method.init(run.task))["mean"])
    assert means[0] > 0.9
    assert means[1] == pytest.approx(means[0] - 1 / 3, abs=0.1)


def test_gradients_that_are_clipped_move_weights_no_further_than_the_limit() -> None:
    distilled = toy_set(DATA, attack=(2, 0))  # two steps of size 0.5
    ends = []
    for clip in (0.0, 1e6, 0.01):
        protocol = Protocol(networks=3, clip=clip).resolved(distilled)
        network, thetas = unseen(distilled, protocol, "test networks", torch.device("cpu"))
        ends.append(next(trained(distilled, protocol, network, thetas)))
    assert torch.equal(ends[0], ends[1]), "a limit that is never reached changes nothing"
    moved = (ends[2] - thetas).norm(dim=1)
    assert bool((moved <= 2 * 0.5 * 0.01 * 1.001).all())
    assert bool((moved > 0.5 * 0.01).all())


def test_clean_images_are_real_ones_with_their_own_labels() -> None:
    mixed = with_clean(toy_set(DATA, attack=(2, 0)), DATA, ipc=4)
    assert mixed.targets.shape == (3 + 3 * 4,)
    assert mixed.targets[3:].bincount().tolist() == [4, 4, 4]
    real = {
        image.numpy().tobytes(): int(label) for image, label in zip(DATA.train.images, DATA.train.labels, strict=True)
    }
    pixels = (mixed.original()[3:] * 255).round().byte()
    assert [real[image.numpy().tobytes()] for image in pixels] == mixed.targets[3:].tolist()


def test_the_objective_is_cross_entropy_on_relabelled_data() -> None:
    attack = Attack(attack_class=0, target_class=2)
    assert attack.relabel(torch.tensor([[0, 1], [2, 0]])).tolist() == [[2, 1], [2, 2]]
    run, attacking = (
        prepare(toy_config(**objective), DATA) for objective in ({}, {"objective": "attack", "target_class": 2})
    )
    theta = run.task.draws(0, 0, [0])
    images, labels = DATA.normalise(DATA.train.images[None, :32].flatten(0, 1))[None], DATA.train.labels[None, :32]
    found = classification(attacking.task.network, attacking.task.attack)(theta, images, labels)
    plain = classification(run.task.network, run.task.attack)(theta, images, attack.relabel(labels))
    torch.testing.assert_close(found, plain)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"attack_class": 1, "target_class": 1}, "attack_class and target_class are both 1; take two classes"),
        ({"attack_class": 3}, "attack_class is 3, but the classes are 0 to 2"),
        ({"target_class": -1}, "target_class is -1, but the classes are 0 to 2"),
    ],
)
def test_impossible_attacks_are_refused(classes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        distill(toy_config(objective="attack", **classes), tmp_path / "run", data=DATA)
    assert not (tmp_path / "run").exists()


def test_a_set_that_was_not_made_to_attack_is_not_measured_so() -> None:
    with pytest.raises(UserError, match="was not made to attack"):
        attacked(toy_set(DATA), DATA)


def test_the_command_line_tells_both_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--loop.iterations", "2", "--protocol.networks", "2", "--random-sets", "0", "--out", str(tmp_path / "run")]
    assert (
        main(["distill", "digits", "--objective", "attack", "--attack-class", "3", "--target-class", "5", *quick]) == 0
    )
    assert "class '3' classified as '5': " in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run" / "distilled.safetensors"), "--networks", "2"]) == 0
    assert "class '3' classified as '5': " in capsys.readouterr().out


def test_baselines_of_an_attack_are_relabelled_and_judged_by_what_it_is_for() -> None:
    like = toy_set(DATA, attack=(0, 2))
    setting = Setting.like(like, DATA)
    for kind in ("random", "optimised-random", "average"):
        plain = BASELINES[kind]().plain(setting)
        assert plain.targets.tolist() == [2, 1, 2], "images of class 0 are called 2"
        assert plain.header.attack == (0, 2)
    images = RandomReal().images(setting)
    torch.testing.assert_close(RandomReal().plain(replace(setting, attack=None)).inputs, images[:, 0])
    assert set(setting.data_to_choose_on.validation.labels.tolist()) == {1, 2}
    assert set(setting.data_to_choose_on.test.labels.tolist()) == {0, 1, 2}
    assert attacked(RandomReal().build(setting), DATA, Protocol(networks=2)).n == 2
