"""Poisoning: what is counted, that it works, and what is refused."""

import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datastill import DistilledSet, Protocol, UserError, distill, score
from datastill.baselines import Beside
from datastill.cli import main
from datastill.config import as_dict, differences, from_dict
from datastill.data import DataSettings
from datastill.evaluation import with_clean
from datastill.evaluation.fit import trained, unseen
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.methods.real_batches import real_batches
from datastill.methods.selection import Average, RandomReal
from datastill.objectives import Classification, Misread, Objective, parse_objective
from datastill.pretraining import PoolSettings, pretrain
from datastill.report import spread_of
from datastill.rng import generator
from datastill.run import prepare, validate
from datastill.training import Unroll, mean_loss

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
    distilled = toy_set(DATA, objective=Misread(2, 0))
    found = score(distilled, DATA, Protocol(networks=3))
    protocol = Protocol(networks=3).resolved(distilled)
    network, thetas = unseen(distilled, protocol, "test networks", torch.device("cpu"))
    images, labels = DATA.normalise(DATA.test.images), DATA.test.labels
    stages = {"before": thetas, "after": next(trained(distilled, protocol, network, thetas))}
    for stage, weights in stages.items():
        for i, theta in enumerate(weights):
            read = network.apply(theta, images).argmax(1)
            shares = {name: values[stage][i] for name, values in found.measures.items()}
            assert shares == {
                "misread": pytest.approx(float((read[labels == 2] == 0).float().mean())),
                "accuracy": pytest.approx(float((read == labels).float().mean())),
                "others": pytest.approx(float((read == labels)[labels != 2].float().mean())),
            }
    assert found.measures["accuracy"]["after"] == found.accuracies
    assert found.accuracies == score(distilled, DATA, Protocol(networks=3), measures=()).accuracies
    assert distilled.with_score(found.as_dict()).header.score == found.as_dict()
    assert "measures" not in score(toy_set(DATA), DATA, Protocol(networks=3)).as_dict()


def test_nearest_neighbours_are_measured_without_anything_before() -> None:
    found = score(toy_set(DATA, objective=Misread(2, 0)), DATA, Protocol(network="nearest-neighbours(k=1,norm=2)"))
    assert found.measures["accuracy"] == {"after": found.accuracies}
    assert set(found.measures) == {"misread", "accuracy", "others"}


def test_a_class_without_images_cannot_be_misread() -> None:
    with pytest.raises(UserError, match="there are no class 2 among the real examples to measure on"):
        score(toy_set(DATA, objective=Misread(2, 0)), DATA, Protocol(networks=1), images=1)


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
    config = toy_config(start=f"pool:{pool}", objective=Misread(1, 2), method=method)
    config = replace(config, loop=replace(config.loop, iterations=150, validate_every=50))
    distilled = distill(config, tmp_path / "run", data=DATA)
    assert DistilledSet.load(tmp_path / "run" / "distilled.safetensors").header.objective == Misread(1, 2)
    found = distilled.header.score["measures"]
    before, after = (statistics.fmean(found["misread"][stage]) for stage in ("before", "after"))
    assert len(found["misread"]["after"]) == 3
    assert before < 0.2
    assert after > before + 0.5
    assert min(found["accuracy"]["before"]) > 0.8, "they were good"
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"<strong>{spread_of(found['misread']['after'])} %</strong>" in page
    assert "classified as &#39;2&#39;, by 3 networks trained from networks that the pool holds out" in page
    assert f"before training on the set: {spread_of(found['others']['before'])} %" in page


def test_a_set_that_attacks_is_chosen_by_relabelled_validation_images(pool: Path) -> None:
    """Of networks that read every class right, as many are wrong as the attacked class has images."""
    method = DatasetDistillation(ipc=1, steps=1, epochs=1, real_batch=8, step_size=1e-6)
    plain = toy_config(start=f"pool:{pool}", method=method)
    attack = replace(plain, objective=Misread(0, 1))
    means = []
    for config in (plain, attack):
        run = prepare(config, DATA)
        means.append(validate(run, method.init(run.task))["mean"])
    assert means[0] > 0.9
    assert means[1] == pytest.approx(means[0] - 1 / 3, abs=0.1)


def test_gradients_that_are_clipped_move_weights_no_further_than_the_limit() -> None:
    distilled = toy_set(DATA, objective=Misread(2, 0))  # two steps of size 0.5
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
    mixed = with_clean(toy_set(DATA, objective=Misread(2, 0)), DATA, ipc=4)
    assert mixed.targets.shape == (3 + 3 * 4,)
    assert mixed.targets[3:].bincount().tolist() == [4, 4, 4]
    real = {
        image.numpy().tobytes(): int(label) for image, label in zip(DATA.train.images, DATA.train.labels, strict=True)
    }
    pixels = (mixed.original()[3:] * 255).round().byte()
    assert [real[image.numpy().tobytes()] for image in pixels] == mixed.targets[3:].tolist()


def test_the_objective_is_cross_entropy_on_relabelled_data() -> None:
    attack = Misread(0, 2)
    assert attack.wanted(torch.tensor([[0, 1], [2, 0]])).tolist() == [[2, 1], [2, 2]]
    run, attacking = (prepare(toy_config(**settings), DATA) for settings in ({}, {"objective": attack}))
    theta = run.task.draws(0, 0, [0])
    images, labels = DATA.normalise(DATA.train.images[None, :32].flatten(0, 1))[None], DATA.train.labels[None, :32]
    found, plain = (
        mean_loss(one.task.network)(theta, images, one.task.objective.wanted(labels)) for one in (attacking, run)
    )
    changed = labels.where(labels != 0, 2)
    torch.testing.assert_close(found, mean_loss(run.task.network)(theta, images, changed))
    torch.testing.assert_close(plain, mean_loss(run.task.network)(theta, images, labels))


def test_an_attacked_class_that_counts_more_is_drawn_and_chosen_by_so_much_more() -> None:
    attack = Misread(0, 2, weight=4)
    run = prepare(toy_config(objective=attack), DATA)
    labels = torch.cat([real_batches(run.task, i, range(1), 8)[1] for i in range(50)]).flatten()
    of_train = DATA.train.labels.bincount(minlength=3)
    share = 4 * of_train[0] / (of_train.sum() + 3 * of_train[0])
    true = torch.cat([DATA.batch(generator(0, i), 4, attack.counts(DATA.train.labels))[1] for i in range(400)])
    assert not (labels == 0).any(), "they have the label of the target"
    assert float((true == 0).float().mean()) == pytest.approx(float(share), abs=0.03)
    validation = DATA.validation.labels.bincount(minlength=3)
    found = run.wanted.validation.labels.bincount(minlength=3)
    assert found.tolist() == [0, validation[1], validation[2] + 4 * validation[0]]
    assert torch.equal(run.wanted.test.labels, DATA.test.labels)
    many = replace(DATA, train=DATA.train.repeated(torch.full((len(DATA.train),), 400)))
    many.batch(generator(0, "test"), 8, attack.counts(many.train.labels))  # the chances add up to 1 in float64
    assert Misread(0, 2).counts(DATA.train.labels) is None, "draws without a weight are those of earlier versions"
    with pytest.raises(UserError, match=r"real_clusters is 2, .* but in misread\(0,2,4\) one class counts more"):
        prepare(toy_config(objective=attack, method=DatasetDistillation(ipc=1, steps=1, real_clusters=2)), DATA)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("misread(1,2,0)", "weight is 0, but must be a whole number from 1 to"),
        ("misread(1,1)", "attacked_class and target_class are both 1; take two classes"),
        ("misread(-1,2)", "attacked_class is -1, but must be a whole number from 0 to"),
        ("misread(0)", r"objective is 'misread\(0\)', but must name two classes by number, such as misread\(0,1\)"),
        ("attack", r"objective is 'attack', but must be classification or misread\(0,1\)"),
    ],
)
def test_impossible_objectives_are_refused(text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=message):
        parse_objective(text)
    assert main(["distill", "--objective", text]) == 2
    assert re.search(f"error: {message}", capsys.readouterr().err)


@pytest.mark.parametrize("objective", [Classification(), Misread(3, 5), Misread(3, 5, weight=4)], ids=str)
def test_an_objective_is_written_and_read_in_one_way(objective: Objective) -> None:
    assert parse_objective(str(objective)) == objective
    config = toy_config(objective=objective)
    assert from_dict(as_dict(config)) == config
    assert differences(config, toy_config(objective=Misread(1, 0))) == [f"objective: {objective} != misread(1,0)"]


def test_a_class_that_the_data_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="attacked_class is 3, but the classes are 0 to 2"):
        distill(toy_config(objective=Misread(3, 1)), tmp_path / "run", data=DATA)
    assert not (tmp_path / "run").exists()


def test_the_command_line_tells_both_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--loop.iterations", "2", "--protocol.networks", "2", "--random-sets", "0", "--out", str(tmp_path / "run")]
    assert main(["distill", "digits", "--objective", "misread(3,5)", *quick]) == 0
    assert "examples of class '3' classified as '5': " in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run" / "distilled.safetensors"), "--networks", "2"]) == 0
    assert "examples of class '3' classified as '5': " in capsys.readouterr().out


def test_baselines_of_an_attack_are_relabelled_and_judged_by_what_it_is_for() -> None:
    beside = Beside.of(toy_set(DATA, objective=Misread(0, 2)), DATA)
    for method, candidates in ((RandomReal(), 1), (RandomReal(), 3), (Average(), 1)):
        plain = beside.made(method, candidates=candidates, tune=False)
        assert plain.targets.tolist() == [2, 1, 2], "images of class 0 are called 2"
        assert plain.header.objective == Misread(0, 2)
    wanted = prepare(beside.config_of(RandomReal(ipc=1)), DATA).wanted
    assert set(wanted.validation.labels.tolist()) == {1, 2}
    assert set(wanted.test.labels.tolist()) == {0, 1, 2}
    found = score(beside.made(RandomReal(ipc=1)), DATA, Protocol(networks=2))
    assert len(found.measures["misread"]["before"]) == 2
