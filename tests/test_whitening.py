"""Whitened images (ZCA): the closed form, and a set of them from its making to every use."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datastill import DistilledSet, UserError, load_data, score, verify
from datastill.cli import main
from datastill.config import Config
from datastill.data import DataSettings, RealData
from datastill.evaluation import Protocol
from datastill.exporting import export
from datastill.making import artifact, prepare
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.pretraining import PoolSettings, pretrain
from datastill.run import distill
from datastill.space import Whitened, whitening
from datastill.space.whitening import fitted

from .test_export_standalone import exported_code
from .toys import toy_config, toy_data, toy_set

DRAW = torch.Generator().manual_seed(0)
IMAGES = (torch.rand(60, 12, generator=DRAW) @ torch.rand(12, 12, generator=DRAW)).double()
RIDGE = 0.1


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of datastill; nothing is known at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget(monkeypatch)
    return tmp_path / "cache" / "datastill"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process: only the cache folder knows a whitening."""
    monkeypatch.setattr(whitening, "_KNOWN", {})


def digits(**settings: object) -> RealData:
    return load_data("digits", **({"whiten": RIDGE} | settings))


def covariance(images: Tensor) -> Tensor:
    return torch.cov(images.T, correction=0)


@pytest.mark.parametrize("ridge", [1e-3, RIDGE, 10.0])
def test_whitened_images_have_mean_0_and_the_covariance_that_the_ridge_leaves(ridge: float) -> None:
    found, before = fitted(IMAGES.split(25), ridge), covariance(IMAGES)
    after = found.whitened(IMAGES)
    torch.testing.assert_close(after.mean(0), torch.zeros(12).double())
    torch.testing.assert_close(covariance(after), before @ torch.linalg.inv(before + ridge * torch.eye(12)))
    torch.testing.assert_close(found.matrix, found.matrix.T)
    torch.testing.assert_close(found.coloured(after), IMAGES)


def test_without_a_ridge_values_are_independent_and_with_a_huge_one_they_are_only_scaled() -> None:
    independent = fitted([IMAGES], 1e-12).whitened(IMAGES)
    torch.testing.assert_close(covariance(independent), torch.eye(12).double(), rtol=1e-6, atol=1e-6)
    scaled = fitted([IMAGES], 1e12).whitened(IMAGES)
    torch.testing.assert_close(1e6 * scaled, IMAGES - IMAGES.mean(0), rtol=1e-6, atol=1e-6)


def test_real_images_are_whitened_by_those_of_train_and_shown_as_they_were() -> None:
    data = digits()
    flat = data.normalise(data.train.images).flatten(1).double()
    pixels = digits(whiten=0.0).normalise(data.train.images).flatten(1).double()
    expected = covariance(pixels) @ torch.linalg.inv(covariance(pixels) + RIDGE * torch.eye(64))
    torch.testing.assert_close(covariance(flat), expected, rtol=1e-4, atol=1e-5)
    unseen = data.test.images[:5]
    torch.testing.assert_close(data.denormalise(data.normalise(unseen)), unseen / 255, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(data.space.normalise(unseen), data.normalise(unseen))
    assert not torch.equal(data.space.scaled(unseen, torch.float64), data.normalise(unseen).double())


def test_a_set_is_trained_on_everywhere_and_shown_where_its_data_was_loaded_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits()
    made = toy_set(data, network="mlp(width=8)")
    made.save(tmp_path / "set.safetensors")
    before = made.original()
    (file,) = cache.iterdir()

    forget(monkeypatch)
    found = DistilledSet.load(tmp_path / "set.safetensors")
    torch.testing.assert_close(found.original(), before)
    assert torch.equal(found.inputs, made.inputs)

    forget(monkeypatch)
    file.unlink()
    assert found.header.space.needs_data
    found.fit(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)))
    for use in (found.original, lambda: found.normalise(data.test.images[0])):
        with pytest.raises(UserError, match=rf"SHA-256 {data.train.sha256[:12]}.*load_data\(NAME, whiten=0.1\)"):
            use()
    digits(seed=1)
    assert found.header.space.needs_data  # whitened by other images
    digits()
    torch.testing.assert_close(found.original(), before)


def test_a_broken_cache_file_is_made_again_and_a_changed_one_is_not_believed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = digits().space
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    forget(monkeypatch)
    assert digits().space == space
    whitening.keep(space.sha256, RIDGE, fitted([torch.randn(90, 64, generator=DRAW)], RIDGE))
    with pytest.raises(UserError, match="gives other values than those of this set"):
        space.original(torch.zeros(1, 1, 8, 8))


def test_a_folder_that_cannot_be_written_to_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    data = digits()
    assert torch.isfinite(data.normalise(data.test.images)).all()


def test_evaluation_whitens_real_images_as_the_set_is_whitened_whatever_the_data() -> None:
    data, plain = digits(), digits(whiten=0.0)
    made = toy_set(data, network="mlp(width=8)")
    protocol = Protocol(networks=2)
    assert score(made, data, protocol).accuracies == score(made, plain, protocol).accuracies
    measured = made.with_score(score(made, data, protocol).as_dict())
    claims = {each["name"]: each["verdict"] for each in verify(measured, data)["claims"]}
    assert claims[data.space.compared] == "holds"
    claims = {each["name"]: each["verdict"] for each in verify(measured, digits(whiten=0.2))["claims"]}
    assert claims[data.space.compared] == "does not hold"


def test_a_run_learns_whitened_images_and_a_warm_start_changes_between_spaces(tmp_path: Path) -> None:
    plain = toy_data()
    splits = {"train": (plain.train.images, plain.train.labels), "test": (plain.test.images, plain.test.labels)}
    data = load_data(splits, name="toy", validation=0.25, whiten=RIDGE)
    settings = DataSettings(name="toy", validation=0.25, whiten=RIDGE, in_memory=True)
    found = distill(toy_config(data=settings), tmp_path / "run", data=data)
    assert isinstance(found.header.space, Whitened)
    assert (tmp_path / "run" / "report.html").exists()

    first = toy_set(plain)
    first.save(tmp_path / "plain.safetensors")
    config: Config = toy_config(
        data=settings,
        method=DatasetDistillation(ipc=1, steps=1, epochs=2, real_batch=32),
        warm_start=str(tmp_path / "plain.safetensors"),
    )
    run = prepare(config, data)
    again = artifact(run, config.method.init(run.task))
    assert isinstance(again.header.space, Whitened)
    torch.testing.assert_close(again.original(), first.original(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["npz", "png", "parquet"])
def test_an_export_whitens_real_images_without_datastill(tmp_path: Path, kind: str) -> None:
    data = digits()
    made = toy_set(data, network="mlp(width=8)")
    path = export(made, tmp_path / "out", kind)
    code, source = exported_code(path), path
    program = code.read_program(source)
    real = data.test.images[:4].float() / 255
    torch.testing.assert_close(code.normalise(real, program, source), made.normalise(real))
    if kind == "png":
        rounded = (made.original().clamp(0, 1) * 255).round() / 255
        torch.testing.assert_close(code.read_examples(source), made.normalise(rounded), rtol=1e-4, atol=1e-4)
    else:
        torch.testing.assert_close(code.read_examples(source), made.inputs, rtol=0, atol=0)


def test_every_command_uses_a_set_of_whitened_images(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    data = digits()
    images = data.normalise(data.train.images[:40])
    np.savez(tmp_path / "theirs.npz", images=images.numpy(), labels=data.train.labels[:40].numpy())
    to = str(tmp_path / "set.safetensors")
    more = ["--data", "digits", "--network", "mlp(width=8)", "--no-mirror", "--whiten", "0.1", "--to", to]
    assert main(["import", str(tmp_path / "theirs.npz"), *more]) == 0
    assert torch.equal(DistilledSet.load(to).inputs, images)
    (file,) = cache.iterdir()
    for words in (
        ["show", to, "--to", str(tmp_path / "grid.png")],
        ["export", to, "--kind", "png", "--to", str(tmp_path / "pictures")],
        ["evaluate", to, "--networks", "2", "--epochs", "1", "--json"],
    ):
        forget(monkeypatch)
        file.unlink(missing_ok=True)  # each command finds the data of the set
        assert main(words) == 0, words
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["n"] == 2
    other = ["--to", str(tmp_path / "other.safetensors"), "--mean", "0.5", "--std", "0.5"]
    assert main(["import", str(tmp_path / "theirs.npz"), *more, *other]) == 2
    assert "mean and std have no effect on whitened values" in capsys.readouterr().err


def test_values_in_pixels_of_another_project_are_whitened_now() -> None:
    from datastill.networks.start import Random
    from datastill.shared_sets import Found, distilled_from

    data = digits()
    found = Found(images=data.train.images[:10], labels=data.train.labels[:10])
    made = distilled_from(found, data, network="mlp", start=Random(), program="shuffled-300", values="auto")
    torch.testing.assert_close(made.inputs, data.normalise(data.train.images[:10]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"whiten": -1.0}, r"whiten is -1, but must be 0 \(no whitening\) or from 1e-06 to 1e\+06"),
        ({"whiten": 0.1, "resize": 65}, r"1 × 65 × 65 have 4225 values, and whitening is for at most 4096; .*resize"),
    ],
)
def test_what_cannot_be_whitened_is_one_clear_line(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data("digits", **settings)


def test_rows_are_not_whitened(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(0).normal(size=(40, 3)), y=np.arange(40) % 2)
    with pytest.raises(UserError, match="whiten is set, but has no effect: it is for images"):
        load_data(tmp_path / "rows.npz", whiten=0.1)


def test_networks_that_were_trained_on_images_as_they_are_do_not_start_or_teach_with_whitened_ones(
    tmp_path: Path,
) -> None:
    plain = digits(whiten=0.0)
    pool = tmp_path / "pool.safetensors"
    settings = PoolSettings(network="mlp(width=8,depth=1)", count=1, held_out=0, epochs=1)
    pretrain(settings, plain, pool)
    config = toy_config(data=DataSettings(whiten=RIDGE), start=f"pool:{pool}")
    with pytest.raises(UserError, match="were trained on pixels, but the data has whitened"):
        prepare(config, digits())


def test_a_header_names_no_file(tmp_path: Path) -> None:
    space = digits().space
    with pytest.raises(UserError, match="must be 64 digits"):
        replace(space, sha256="../" * 21 + "a")
