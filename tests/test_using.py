"""A set is used with images, models and PyTorch modes as people have them: right numbers, or one line that says why."""

import contextlib
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from datastill.artifact import DistilledSet, Pixels
from datastill.errors import UserError
from datastill.evaluation import Protocol, score
from datastill.modes import usual_modes
from datastill.networks import build
from datastill.training import hypergradient, mean_loss

from .sets import ordered
from .test_artifact import HEADER, make, toy_model
from .toys import toy_data, toy_set

# --- images

DRAW = np.random.default_rng(0)
GREY = DRAW.integers(0, 256, (4, 6), dtype=np.uint8)
COLOUR = DRAW.integers(0, 256, (4, 6, 3), dtype=np.uint8)


def of_shape(channels: int) -> DistilledSet:
    space = Pixels(mean=(0.25,) * channels, std=(0.5,) * channels, shape=(channels, 4, 6))
    return replace(make(), inputs=torch.zeros(6, channels, 4, 6), header=replace(HEADER, space=space))


def wanted(array: np.ndarray) -> torch.Tensor:
    """By hand: 0..255 to [0, 1], channels first, normalised."""
    values = torch.tensor(array.astype(np.float64) / 255)
    values = values[None] if values.dim() == 2 else values.permute(2, 0, 1)
    return ((values - 0.25) / 0.5).float()


FORMS = {
    "uint8 array": lambda a: a,
    "int64 array": lambda a: a.astype(np.int64),
    "uint16 array": lambda a: a.astype(np.uint16),
    "float64 array": lambda a: a / 255,
    "float32 array": lambda a: (a / 255).astype(np.float32),
    "turned twice, so with negative strides": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "uint8 tensor": torch.from_numpy,
    "int32 tensor": lambda a: torch.from_numpy(a).int(),
    "float64 tensor": lambda a: torch.from_numpy(a).double() / 255,
    "picture": Image.fromarray,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_an_image_in_any_form_is_the_same_image(form: str, array: np.ndarray) -> None:
    distilled, given = of_shape(1 if array.ndim == 2 else 3), FORMS[form](array)
    found = distilled.normalise(given)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted(array))
    for several in ([given, given], (given, given)):
        torch.testing.assert_close(distilled.normalise(several), torch.stack([wanted(array)] * 2))
    if form != "picture":
        batch = np.stack([given, given]) if isinstance(given, np.ndarray) else torch.stack([given, given])
        torch.testing.assert_close(distilled.normalise(batch), torch.stack([wanted(array)] * 2))


@pytest.mark.parametrize(
    ("channels", "form"),
    [
        (1, lambda a: a[None]),
        (1, lambda a: a[..., None]),
        (1, lambda a: a[None, None]),
        (1, lambda a: Image.fromarray(a).convert("L")),
        (3, lambda a: np.stack([a] * 3)),
        (3, lambda a: np.stack([a] * 3, -1)),
        (3, lambda a: Image.fromarray(a)),
    ],
)
def test_channels_come_first_or_last_and_grey_images_may_do_without(channels: int, form: Any) -> None:
    found = of_shape(channels).normalise(form(GREY))
    torch.testing.assert_close(found.flatten()[:24], wanted(GREY).flatten())
    assert found.shape[-3:] == (channels, 4, 6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(4, 6) * 255, "are floats from .* must be in \\[0, 1\\]; divide them by 255"),
        (torch.randint(0, 3, (1, 4, 6)).float(), "are floats from 0 to 2, but must be in"),
        (torch.full((4, 6), 256), "are integers from 256 to 256, but must be in 0..255"),
        (torch.full((4, 6), -1), "are integers from -1 to -1"),
        (torch.full((4, 6), torch.nan), "not finite"),
        (torch.zeros(4, 6, dtype=torch.complex64), "complex numbers"),
        (torch.zeros(3, 4, 6), None),  # three grey images
        (torch.zeros(2, 3, 4, 6), r"shape \(2, 3, 4, 6\), but must have .* = \(1, 4, 6\).*; make them grey"),
        (torch.zeros(2, 1, 28, 28), "resize them to 4x6, grey"),
        (np.array([["a"]]), "are an array of <U1; give a tensor"),
        ("cat.png", "are a str; give a tensor"),
        ([], "the list is empty"),
        (None, "are a NoneType"),
        (Image.new("RGB", (6, 4)), r"mode 'RGB', but the set's images have 1 channel; .*image.convert\('L'\)"),
        (Image.new("L", (7, 4)), r"shape \(4, 7\).*resize them to 4x6"),
        ([GREY, GREY[:3]], r"shape \(3, 6\)"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
def test_images_that_do_not_fit_are_refused_in_one_line_with_the_fix(images: Any, message: str | None) -> None:
    if message is None:
        assert of_shape(1).normalise(images).shape == (3, 1, 4, 6)
        return
    with pytest.raises(UserError, match=message) as caught:
        of_shape(1).normalise(images)
    assert "\n" not in str(caught.value)


def test_images_that_look_normalised_already_are_taken_with_a_warning() -> None:
    with pytest.warns(
        UserWarning, match=r"floats from -1 to 1, .* in \[0, 1\]; if they are normalised already, do not"
    ):
        of_shape(1).normalise(torch.tensor([-1.0, 1.0]).repeat(12).view(4, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_shape(1).normalise(torch.rand(4, 6))


# --- models


def weights_after(model: nn.Module, distilled: DistilledSet) -> list[torch.Tensor]:
    distilled.fit(model)
    return [p.detach() for p in model.parameters()]


class Wrapped(nn.Module):
    """A model with a wrapped part inside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = nn.DataParallel(torch.compile(model, backend="eager"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda m: torch.compile(m, backend="eager"),
        lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
    ],
)
def test_stored_weights_fit_a_wrapped_model(wrap: Any) -> None:
    distilled = make(fixed=True)
    found = weights_after(wrap(toy_model(1)), distilled)
    for a, b in zip(found, weights_after(toy_model(2), distilled), strict=True):
        torch.testing.assert_close(a, b)


def test_stored_weights_fit_a_model_whose_parts_are_wrapped() -> None:
    stored = make(fixed=True)
    stored = replace(stored, theta_0={f"model.{name}": value for name, value in (stored.theta_0 or {}).items()})
    for a, b in zip(
        weights_after(Wrapped(toy_model(1)), stored), weights_after(toy_model(2), make(fixed=True)), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_a_lazy_model_gets_its_sizes_from_the_examples() -> None:
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.Tanh(), nn.LazyLinear(3))
    for a, b in zip(weights_after(lazy, make(fixed=True)), weights_after(toy_model(2), make(fixed=True)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_float64_model_is_trained_in_float64() -> None:
    found, expected = (weights_after(m, make()) for m in (toy_model(1).double(), toy_model(1)))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float64
        torch.testing.assert_close(a, b.double(), rtol=1e-4, atol=1e-5)


def linear(outputs: int, inputs: int = 16) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


class Giving(nn.Module):
    """A linear layer whose output is changed."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.layer, self.change = linear(3), change

    def forward(self, x: torch.Tensor) -> Any:
        return self.change(self.layer(x))


def sparse() -> nn.Module:
    model = linear(3)
    model[1].weight = nn.Parameter(model[1].weight.detach().to_sparse())
    return model


def raising(error: Exception) -> Any:
    def change(_: torch.Tensor) -> None:
        raise error

    return lambda: Giving(change)


def in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return linear(3)


@pytest.mark.parametrize(
    ("make_model", "message"),
    [
        (lambda: linear(2), r"gives outputs of shape \(2,\) for 3 classes"),
        (lambda: linear(5), r"gives outputs of shape \(5,\) for 3 classes"),
        (lambda: linear(3, 48), r"cannot take images of shape \(channels, height, width\) = \(1, 4, 4\): mat1"),
        (lambda: toy_model(0).requires_grad_(False), "all parameters of the model are frozen"),
        (
            lambda: toy_model(0).bfloat16(),
            r"weights are bfloat16, which rounds .*train it in float32 \(model.float\(\)\)",
        ),
        (lambda: nn.Sequential(linear(3), nn.Linear(3, 3).double()), "weights of float32 and float64"),
        (lambda: Giving(lambda out: (out, out)), "gives a tuple for 3 classes"),
        (lambda: Giving(lambda out: {"logits": out}), "gives a dict for 3 classes"),
        (lambda: Giving(lambda out: out.argmax(1)), r"tensor of shape \(3,\)|outputs of shape"),
        (lambda: Giving(lambda out: out.round().long()), "gives int64 values"),
        (lambda: Giving(torch.Tensor.detach), "no weight of the model leads to its output"),
        (lambda: torch.jit.script(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 3))), "TorchScript"),
        (lambda: toy_model(0).to("meta"), "made in torch.inference_mode"),
        (in_inference_mode, "made in torch.inference_mode"),
        (sparse, "has sparse weights"),
        (lambda: Giving(lambda out: out.sigmoid().mul_(2)), "cannot be differentiated: one of the variables"),
        (lambda: Giving(lambda out: out * torch.nan), "weights are not finite after the training"),
        (raising(AssertionError("no\nway")), "cannot take images .*: no$"),
        (raising(ZeroDivisionError()), "cannot take images .*: ZeroDivisionError"),
        (lambda: toy_model, "the model is a function"),
    ],
)
@pytest.mark.usefixtures("as_a_user")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_that_cannot_be_trained_on_the_set_is_refused_in_one_line(make_model: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make().fit(make_model())
    assert "\n" not in str(caught.value)


class Doubling(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2)


def test_a_model_that_changes_its_input_leaves_the_set_unchanged() -> None:
    distilled = make()
    before = distilled.inputs.clone()
    distilled.fit(nn.Sequential(Doubling(), toy_model(0), nn.LazyLinear(3)))
    assert torch.equal(distilled.inputs, before)


def test_dropout_is_off() -> None:
    plain = toy_model(1)
    for a, b in zip(
        weights_after(nn.Sequential(toy_model(1), nn.Dropout(0.5)), make()), weights_after(plain, make()), strict=True
    ):
        assert torch.equal(a, b)


# --- modes


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": lambda: default_dtype(torch.float64),
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_usual_modes_hold_inside_and_the_callers_afterwards(mode: str) -> None:
    def state() -> tuple:
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_default_dtype(),
            torch.empty(0).device,  # torch.get_default_device misses a device context in torch 2.6
        )

    usual = state()
    with MODES[mode]():
        before = state()
        assert before != usual
        with usual_modes():
            assert state() == usual
        assert state() == before
        with pytest.raises(ZeroDivisionError), usual_modes():
            raise ZeroDivisionError
        assert state() == before


def test_products_of_float32_are_computed_in_float32_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch computes convolutions in TF32 there unless it is told not to; here we imagine a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    kinds = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [kind.allow_tf32 for kind in kinds]
    assert before == [True, False]
    with usual_modes():
        assert [kind.allow_tf32 for kind in kinds] == [False, False]
    assert [kind.allow_tf32 for kind in kinds] == before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="an older PyTorch has one way to set it")
def test_a_precision_that_the_caller_has_set_in_the_newer_way_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    kinds = {"convolutions": torch.backends.cudnn.conv, "matrices": torch.backends.cuda.matmul}
    before = {name: kind.fp32_precision for name, kind in kinds.items()}
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        with usual_modes():
            found = {name: kind.fp32_precision for name, kind in kinds.items()}
            assert "tf32" not in found.values()
        assert {name: kind.fp32_precision for name, kind in kinds.items()} == before | {"matrices": "tf32"}
    finally:
        torch.backends.cuda.matmul.fp32_precision = before["matrices"]


@pytest.mark.parametrize("mode", MODES)
def test_a_model_is_trained_the_same_in_any_mode(mode: str, tmp_path) -> None:
    expected, model = weights_after(toy_model(1), make(fixed=True)), toy_model(3)
    make(fixed=True).save(tmp_path / "a.safetensors")
    with MODES[mode]():
        distilled = DistilledSet.load(tmp_path / "a.safetensors")
        distilled.fit(model)
        if mode != "default device":
            assert distilled.normalise(np.zeros((4, 4), dtype=np.uint8)).dtype == torch.float32
            assert distilled.original().dtype == torch.float32
    for a, b in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(a.detach(), b)


@pytest.mark.parametrize("mode", MODES)
def test_data_hypergradients_and_scores_are_the_same_in_any_mode(mode: str) -> None:
    data = toy_data()
    made = toy_set(data)
    with MODES[mode]():
        network = build("mlp(width=8,depth=1)", shape=data.shape, classes=3)
        distilled = replace(made, inputs=made.inputs.clone(), program=ordered(made.step_sizes.clone()))
        thetas = network.init("own", [torch.Generator("cpu").manual_seed(0)])
        found = hypergradient(
            mean_loss(network), lambda t: t.square().sum(1), thetas, distilled.inputs[None], distilled.targets[None],
            distilled.step_sizes,
        )  # fmt: skip
        scored = score(distilled, data, Protocol(networks=2))
    assert scored.accuracies == score(made, data, Protocol(networks=2)).accuracies
    expected = hypergradient(
        mean_loss(network), lambda t: t.square().sum(1), thetas.clone(), made.inputs[None], made.targets[None],
        made.step_sizes,
    )  # fmt: skip
    torch.testing.assert_close(found.examples, expected.examples)
    assert found.examples.abs().max() > 0
