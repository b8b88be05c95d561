"""Pools: the same networks however they are trained, kept apart, and never lost."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import datastill.pretraining
from datastill import Protocol, UserError, distill, score
from datastill.cli import main
from datastill.data import DataSettings, RealData
from datastill.evaluation.fit import unseen
from datastill.locks import alone
from datastill.networks import Network, build
from datastill.networks.pool import Pool, parts
from datastill.networks.start import Fixed, FromPool, from_parts, parse_start
from datastill.objectives import Misread
from datastill.pretraining import PoolSettings, pretrain, train
from datastill.pretraining.unfinished import TrainingState
from datastill.report.page import snippet
from datastill.rng import generator
from datastill.run import artifact, begin, prepare
from datastill.storage.files import digest, read_tensors, write_whole

from .toys import toy_config, toy_data, toy_set, unrolled, with_classes_reversed

DATA = toy_data()
NETWORK = "mlp(width=8,depth=1)"
SETTINGS = PoolSettings(
    data=DataSettings(name="toy"), network=NETWORK, count=4, held_out=3, epochs=6, batch=16, rate=0.01
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "toy.safetensors"
    pretrain(SETTINGS, DATA, path)
    return path


def trained(settings: PoolSettings, network: Network, data: RealData, which: list[int]) -> torch.Tensor:
    """Return the trained weights of networks."""
    return train(settings, network, data, which).kept[-1]


def test_networks_are_trained_and_say_how_well(path: Path) -> None:
    pool = Pool.load(path)
    assert (len(pool.training), len(pool.held_out)) == (4, 3)
    assert not parts(path).exists()
    for accuracies, count in ((pool.header["accuracies"]["training"], 4), (pool.header["accuracies"]["held_out"], 3)):
        assert len(accuracies) == count
        assert min(accuracies) > 0.6, "chance is a third"
    assert pool.header["settings"]["epochs"] == 6
    assert pool.header["shape"] == [1, 4, 4]


def test_a_network_is_the_same_whether_trained_alone_or_with_others(path: Path) -> None:
    pool, network = Pool.load(path), build(NETWORK, shape=DATA.shape, classes=DATA.classes)
    together = trained(SETTINGS, network, DATA, list(range(7)))
    torch.testing.assert_close(together, torch.cat([pool.training, pool.held_out]), rtol=1e-3, atol=1e-4)
    alone = trained(SETTINGS, network, DATA, [5])
    torch.testing.assert_close(alone[0], pool.held_out[1], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(pool.training[0], pool.training[1], atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "make"),
    [
        ({}, lambda parameters: torch.optim.Adam(parameters, eps=1e-5)),
        (
            {"optimiser": "momentum", "schedule": "constant"},
            lambda parameters: torch.optim.SGD(parameters, momentum=0.9),
        ),
    ],
)
def test_training_is_that_of_torch(changes: dict, make: Callable) -> None:
    """On shuffled batches, by torch's own optimiser and module."""
    settings = replace(SETTINGS, epochs=1, **changes)
    network = build(NETWORK, shape=DATA.shape, classes=DATA.classes)
    found = trained(settings, network, DATA, [2])[0]
    module = network.factory()
    module.load_state_dict(network.named(network.init("xavier", [generator(0, "pool weights", 2)])[0]))
    order = torch.randperm(len(DATA.train), generator=generator(0, "pool batches", 2, 0))
    rule, steps = make(module.parameters()), len(DATA.train) // 16
    for t in range(steps):
        index = order[16 * t : 16 * (t + 1)]
        rule.param_groups[0]["lr"] = 0.01 * (1 - t / steps if settings.schedule == "linear" else 1)
        rule.zero_grad()
        logits = module(DATA.normalise(DATA.train.images[index]))
        torch.nn.functional.cross_entropy(logits, DATA.train.labels[index]).backward()
        rule.step()
    expected = network.flat({name: value.detach() for name, value in module.named_parameters()})
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_each_network_has_its_own_draw_of_the_augmentation() -> None:
    settings = replace(SETTINGS, epochs=1, augmentation="siamese", start=Fixed())
    network = build(NETWORK, shape=DATA.shape, classes=DATA.classes)
    together = trained(settings, network, DATA, [0, 1])
    alone = torch.cat([trained(settings, network, DATA, [i]) for i in (0, 1)])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    plain = trained(replace(settings, augmentation="none"), network, DATA, [0])
    assert not torch.allclose(plain, together[:1], atol=1e-3)


def test_a_pool_cut_short_goes_on_with_the_networks_that_are_whole(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datastill.pretraining, "faster", lambda *_: 1)
    made, real_train = [], datastill.pretraining.train

    def counted(*arguments: Any, **more: Any) -> TrainingState:
        if arguments[3] == [3]:
            raise KeyboardInterrupt
        made.append(arguments[3])
        return real_train(*arguments, **more)

    monkeypatch.setattr(datastill.pretraining, "train", counted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(SETTINGS, DATA, str(tmp_path / "pool.safetensors"))
    with pytest.raises(UserError, match=r"there is no pool at .*one is unfinished; repeat its command to finish it"):
        Pool.load(tmp_path / "pool.safetensors")
    with pytest.raises(UserError, match="changed since it began: setting seed was 0 and is 1; delete that folder"):
        pretrain(replace(SETTINGS, seed=1), DATA, tmp_path / "pool.safetensors")
    made.clear()
    monkeypatch.setattr(datastill.pretraining, "train", lambda *a, **more: made.append(a[3]) or real_train(*a, **more))
    again = pretrain(SETTINGS, DATA, tmp_path / "pool.safetensors")
    assert made == [[3], [4], [5], [6]]
    torch.testing.assert_close(again.training, Pool.load(path).training, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cut", range(1, 7))
def test_a_pool_that_was_killed_ends_bit_for_bit_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """Wherever it was cut in a group that is trained together, and whichever way is faster when it goes on."""
    settings, written = replace(SETTINGS, epochs=1, snapshots=2), []

    class Killed(BaseException):
        pass

    def write(file: Path, content: bytes) -> None:
        if len(written) == cut:
            raise Killed
        written.append(file)
        write_whole(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(datastill.pretraining, "faster", lambda *_: 3)
        whole = pretrain(settings, DATA, tmp_path / "whole")
        patch.setattr(datastill.pretraining, "write_whole", write)
        with pytest.raises(Killed):
            pretrain(settings, DATA, tmp_path / "cut")
    monkeypatch.setattr(datastill.pretraining, "faster", lambda *_: 1)
    again = pretrain(settings, DATA, tmp_path / "cut")
    for snapshot in (0, 1, 2):
        for one, other in ((again.at(snapshot), whole.at(snapshot)), (again, whole)):
            assert torch.equal(torch.cat([one.training, one.held_out]), torch.cat([other.training, other.held_out]))
    assert {file.name for file in tmp_path.iterdir()} == {"whole", "cut"}


def test_an_unfinished_pool_goes_on_with_its_own_data_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datastill.pretraining, "_joined", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    settings, path = replace(SETTINGS, epochs=1, count=1, held_out=0), tmp_path / "pool"
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings, DATA, path)
    with pytest.raises(UserError, match=r"SHA-256 of the data, split train was .* and is .*; delete that folder"):
        pretrain(settings, toy_data(seed=1), path)
    with alone(parts(path)), pytest.raises(UserError, match="is in use by process"):
        pretrain(settings, DATA, path)
    (parts(path) / "settings.json").write_text(json.dumps({"seed": 0}))
    with pytest.raises(UserError, match="was begun by an older version; delete that folder"):
        pretrain(settings, DATA, path)


def test_parts_that_a_kill_left_beside_a_finished_pool_are_removed(path: Path, tmp_path: Path) -> None:
    pool, file = Pool.load(path), tmp_path / "pool"
    pool.save(file)
    parts(file).mkdir()
    (parts(file) / "00000.safetensors").write_bytes(b"")
    pretrain(SETTINGS, DATA, file)
    assert list(tmp_path.iterdir()) == [file]


def test_a_finished_pool_is_not_trained_again_nor_overwritten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datastill.pretraining, "train", None)
    assert pretrain(SETTINGS, DATA, path).sha256 == Pool.load(path).sha256
    with pytest.raises(UserError, match=r"already holds a pool of other settings: setting count was \d and is 5; give"):
        pretrain(replace(SETTINGS, count=5), DATA, path)


def test_a_training_that_fails_at_once_does_not_bar_the_way_to_the_one_that_is_advised(tmp_path: Path) -> None:
    file = tmp_path / "pool"
    with pytest.raises(UserError, match=r"weights of network .* are not finite after its training; use a smaller rate"):
        pretrain(replace(SETTINGS, optimiser="sgd", rate=1e30), DATA, file)
    assert parts(file).exists()
    assert pretrain(SETTINGS, DATA, file).sha256 == Pool.load(file).sha256


def test_networks_of_an_iteration_differ_and_do_not_depend_on_how_they_are_shared_out(path: Path) -> None:
    draw = from_parts(Pool.load(path).training, 3)
    seen = set()
    for iteration in range(20):
        drawn = draw(0, iteration, range(3))
        assert len({tuple(theta.tolist()) for theta in drawn}) == 3
        shared = torch.cat([draw(0, iteration, [i]) for i in range(3)])
        assert torch.equal(drawn, shared)
        seen |= {float(theta[0]) for theta in drawn}
    assert len(seen) == 4, "all get their turn"


def test_sets_are_distilled_with_some_and_measured_with_the_others(path: Path, tmp_path: Path) -> None:
    distilled = distill(toy_config(start=f"pool:{path}"), tmp_path / "run", data=DATA)
    pool = Pool.load(path)
    assert distilled.header.score["n"] == 3
    assert distilled.theta_0 is None
    assert distilled.header.provenance["pool"]["sha256"] == pool.sha256
    protocol = Protocol().resolved(distilled)
    for purpose, expected in (("test networks", pool.held_out), ("validation networks", pool.training)):
        _, thetas = unseen(distilled, protocol, purpose, torch.device("cpu"))
        assert torch.equal(thetas, expected)
    assert score(distilled, DATA).accuracies == distilled.header.score["accuracies"]


def test_the_last_tenth_of_a_pool_is_for_validation(path: Path, tmp_path: Path) -> None:
    pool = Pool.load(path)
    accuracies = {**pool.header["accuracies"], "training": [0.9] * 25}
    larger = replace(
        pool, training=torch.randn(25, pool.training.shape[1]), header={**pool.header, "accuracies": accuracies}
    )
    file = tmp_path / "larger"
    larger.save(file)
    network = build(NETWORK, shape=DATA.shape, classes=DATA.classes)
    start = FromPool(str(file))
    drawn = torch.cat([start.bound(network, seed=0, networks=23)(0, 0, range(23))])
    assert torch.equal(drawn, larger.training[:23])
    for purpose, expected in (("validation networks", larger.training[23:]), ("test networks", pool.held_out)):
        assert torch.equal(start.unseen(network, seed=0, purpose=purpose, networks=9), expected)


def test_a_pool_that_was_made_anew_is_read_anew(path: Path, tmp_path: Path) -> None:
    pool, file = Pool.load(path), tmp_path / "pool"
    network = build(NETWORK, shape=DATA.shape, classes=DATA.classes)
    for training in (pool.training, -pool.training):
        replace(pool, training=training).save(file)
        assert torch.equal(FromPool(str(file), 1).bound(network, seed=0).one, training[1])


def test_what_the_page_says_to_do_with_a_set_for_a_pool_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(start=f"pool:{path}")
    run = prepare(config, DATA)
    distilled = artifact(run, config.method.init(run.task))
    distilled.save(tmp_path / "distilled.safetensors")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(snippet(distilled), names)
    assert names["predicted"].shape == (8,)
    assert torch.equal(names["theta"], Pool.load(path).held_out[0])


def test_one_network_of_a_pool_is_fixed_and_stored(path: Path) -> None:
    config = toy_config(start=f"pool:{path}#2")
    run = prepare(config, DATA)
    distilled = artifact(run, config.method.init(run.task))
    assert distilled.header.start == FromPool(str(path), 2, Pool.load(path).sha256)
    assert torch.equal(run.task.network.flat(dict(distilled.theta_0)), Pool.load(path).training[2])


def test_what_does_not_fit_is_refused_in_one_line(path: Path, tmp_path: Path) -> None:
    few = unrolled(toy_config().method, networks=5)
    for config, message in [
        (
            toy_config(start=f"pool:{path}", network="mlp(width=9,depth=1)"),
            "holds 'mlp.width=8,depth=1.' for .*; take the network 'mlp.width=8,depth=1.', or pretrain a new pool$",
        ),
        (toy_config(start=f"pool:{path}", method=few), "networks is 5, but the pool has 4 to draw from"),
        (toy_config(start=f"pool:{path}#4"), "0 to 3 can be named, not 4; the 3 held out are for evaluation only"),
        (toy_config(start="pool:nowhere.safetensors"), "there is no pool at nowhere.safetensors; make one with"),
    ]:
        with pytest.raises(UserError, match=message):
            distill(config, tmp_path / "run", data=DATA)
        assert not (tmp_path / "run").exists()


def test_classes_in_another_order_are_put_into_the_order_of_the_pool(path: Path) -> None:
    """Output k of a pool's network is class k of the pool, whatever the number of this class in the data is."""
    other = with_classes_reversed(DATA)
    run, plain = (prepare(toy_config(start=f"pool:{path}"), data) for data in (other, DATA))
    assert run.data.class_names == DATA.class_names
    assert torch.equal(run.data.train.labels, plain.data.train.labels)
    distilled = artifact(run, run.config.method.init(run.task))
    assert distilled.header.class_names == DATA.class_names


def test_a_pool_with_classes_in_another_order_is_refused_where_the_order_is_fixed(path: Path, tmp_path: Path) -> None:
    other, pool = with_classes_reversed(DATA), f"pool:{path}"
    message = "has the classes in another order: class 0 is '0' there, but '2' here"
    attack = toy_config(start=pool, objective=Misread(0, 1))
    with pytest.raises(UserError, match=message):
        prepare(attack, other)
    with pytest.raises(UserError, match=message):
        score(toy_set(other), other, Protocol(start=parse_start(pool)))
    with pytest.raises(UserError, match=message):
        pretrain(replace(SETTINGS, start=parse_start(pool)), other, tmp_path / "next.safetensors")
    assert not (tmp_path / "next.safetensors.parts").exists()


@pytest.mark.parametrize("settings", [{"rate": float("nan")}, {"rate": -1.0}, {"seed": 10**30}])
def test_impossible_settings_are_refused_by_name(settings: dict) -> None:
    with pytest.raises(UserError, match=f"^{next(iter(settings))} is "):
        replace(SETTINGS, **settings)


def test_the_number_of_a_network_is_refused_for_pretraining(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"so a number after # or a \+ has no effect"):
        pretrain(replace(SETTINGS, start=FromPool(str(path), 1)), DATA, tmp_path / "next.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_broken_files_are_told(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-10])
    (tmp_path / "changed").write_bytes(whole[:-4] + b"abcd")
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    metadata, tensors = read_tensors(path)
    more = tensors | {"\x1b]0;x\x07": torch.zeros(1)}
    save_file(more, tmp_path / "more", {**metadata, "sha256": digest(metadata["header"], more)})
    for name, message in [
        ("more", r"it holds the tensors '.x1b.0;x.x07', 'held_out', 'training' instead of"),
        ("cut", "not a whole"),
        ("changed", "was changed after"),
        ("other", "is not a pool of format"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            Pool.load(tmp_path / name)
        assert str(caught.value).isprintable()


def test_one_gradient_step_is_enough(tmp_path: Path) -> None:
    settings = replace(SETTINGS, count=2, held_out=0, epochs=1, batch=10_000)
    pool = pretrain(settings, DATA, tmp_path / "pool.safetensors")
    network = build(NETWORK, shape=DATA.shape, classes=DATA.classes)
    moved = pool.training - network.init("xavier", [generator(0, "pool weights", i) for i in range(2)])
    assert float(moved.abs().max()) == pytest.approx(settings.rate, rel=0.02), "Adam's first step"


def test_a_pool_without_networks_held_out_measures_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pool.safetensors"
    pretrain(replace(SETTINGS, count=1, held_out=0, epochs=1), DATA, path)
    config = toy_config(start=f"pool:{path}", method=unrolled(toy_config().method, networks=1))
    with pytest.raises(UserError, match="has no held-out networks to evaluate with"):
        begin(prepare(config, DATA))  # before anything is distilled that could not be measured
    with pytest.raises(UserError, match="count is 0, but must be at least 1"):
        PoolSettings(count=0)


def test_a_command_that_is_stopped_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datastill.pretraining, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    out = str(tmp_path / "pool.safetensors")
    assert (
        main(["pretrain", "digits", "--network", "mlp(width=8)", "--count", "1", "--held-out", "0", "--out", out])
        == 130
    )
    assert "stopped; run the same command again to continue" in capsys.readouterr().err


def test_the_command_makes_a_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pool.safetensors"
    words = ["pretrain", "digits", "--network", "mlp(width=8)", "--count", "2", "--held-out", "1", "--epochs", "1"]
    assert main([*words, "--data.name", "mnist"]) == 2
    assert "unknown option --data.name" in capsys.readouterr().err
    assert main([*words, "--out", str(out)]) == 0
    assert "2 networks to distil with" in capsys.readouterr().out
    assert json.loads(json.dumps(Pool.load(out).header["settings"]))["data"]["name"] == "digits"
    assert len(Pool.load(out).drawn) == 2
    assert main([*words, "--out", str(out), "--seed", "1"]) == 2
    assert "already holds a pool of other settings" in capsys.readouterr().err
