"""Modules as people write them: each works, with the numbers of the plain module, or is refused in one line."""

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from datastill.errors import UserError
from datastill.networks import Network
from datastill.networks.twice import TwiceDifferentiable
from datastill.training import Batch, EagerSteps, ForwardSteps, TracedSteps, mean_loss

from ..training.cases import derivatives, shared

SHAPE = (1, 4, 4)


def network_of(make: Callable[[], Any]) -> Network:
    return Network(make, shape=SHAPE, classes=3, name="mine")


def given(network: Network, count: int = 1) -> tuple[Tensor, Batch, Tensor]:
    """Weights, a batch and a direction, in float64."""
    draw = torch.Generator().manual_seed(0)
    thetas = network.init("own", [torch.Generator().manual_seed(i) for i in range(count)]).double()
    images = torch.randn(count, 4, *SHAPE, generator=draw, dtype=torch.float64)
    labels, u = torch.tensor([0, 1, 2, 0]), torch.randn(thetas.shape, generator=draw, dtype=torch.float64)
    return thetas, shared(images, labels), u


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def linear(*between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), *between, nn.Linear(6, 3))


# --- attention


class Attention(nn.Module):
    """A small network of one kind of attention between rows."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.out, self.mix = kind, nn.Linear(4, 3), nn.Linear(4, 12)
        if kind == "encoder":
            layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation=nn.functional.gelu)
            self.mix = nn.TransformerEncoder(layer, 1)
        elif kind == "multihead":
            self.mix = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1, 2)
        if self.kind == "encoder":
            x = self.mix(x)
        elif self.kind == "multihead":
            x = self.mix(x, x, x, need_weights=False)[0]
        else:
            q, k, v = (part.unflatten(2, (2, 2)).transpose(1, 2) for part in self.mix(x).chunk(3, -1))
            x = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return self.out(x.tanh().mean(1))


@pytest.mark.parametrize(("kind", "networks"), [("function", 2), ("multihead", 1), ("encoder", 2)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_way_to_compute_a_step_differentiates_attention_twice(kind: str, networks: int) -> None:
    network = network_of(lambda: Attention(kind))
    thetas, batch, u = given(network, networks)
    loss, h = mean_loss(network), 1e-5
    gradient = EagerSteps(loss).gradient
    along = (gradient(thetas + h * u, batch) - gradient(thetas - h * u, batch)) / (2 * h)
    for steps in (EagerSteps(loss), TracedSteps(loss), ForwardSteps(loss)):
        found, back = steps.linearise(thetas, batch)
        torch.testing.assert_close(found, gradient(thetas, batch))
        torch.testing.assert_close(back(u)[0], along, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", ["function", "multihead", "encoder"])
def test_attention_gives_the_numbers_of_the_module_itself(kind: str) -> None:
    network = network_of(lambda: Attention(kind))
    (theta,), ((x,), _), _ = given(network)
    module = network.factory().double().eval()
    module.load_state_dict(network.named(theta))
    torch.testing.assert_close(network.apply(theta, x), module(x))
    torch.testing.assert_close(network.predictor(theta, x)(x), module(x))


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}, {"enable_gqa": True}, {"mask": True}])
def test_mathematical_attention_is_that_of_torch(options: dict[str, Any]) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 5, 4, generator=draw, dtype=torch.float64) for heads in (4, 2, 2))
    if "enable_gqa" not in options:
        k, v = k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1)
    more = {"attn_mask": torch.rand(5, 5, generator=draw) > 0.3} if "mask" in options else options
    expected = nn.functional.scaled_dot_product_attention(q, k, v, **more)
    with TwiceDifferentiable() as attention:
        found = nn.functional.scaled_dot_product_attention(q, k, v, **more)
    assert attention.met
    torch.testing.assert_close(found, expected)


def test_attention_leaves_the_settings_of_the_process_alone() -> None:
    """Two threads at once, and afterwards every kernel is allowed as before."""
    network, found = network_of(lambda: Attention("function")), []
    thetas, batch, u = given(network)

    def work() -> None:
        found.extend(EagerSteps(mean_loss(network_of(lambda: Attention("function")))).linearise(thetas, batch)[1](u))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert torch.backends.cuda.flash_sdp_enabled()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        assert not torch.backends.cuda.math_sdp_enabled()
        network.apply(thetas[0], batch.inputs[0])
        assert not torch.backends.cuda.math_sdp_enabled()


# --- shared, wrapped, lazy, normed


class Recurrent(nn.Module):
    """One layer under several names."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        block = nn.Linear(16, 16)
        self.blocks, self.again, self.out = nn.ModuleList([block] * depth), block, nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for block in [*self.blocks, self.again]:
            x = torch.tanh(block(x))
        return self.out(x)


def test_a_module_under_several_names_has_one_set_of_weights() -> None:
    network = network_of(lambda: Recurrent(2)).to("cpu")
    assert network.names == ["blocks.0.weight", "blocks.0.bias", "out.weight", "out.bias"]
    thetas, batch, u = given(network, 2)
    x = batch.inputs
    named = network.named(thetas[0])
    state = x[0].flatten(1)
    for _ in range(3):
        state = torch.tanh(state @ named["blocks.0.weight"].T + named["blocks.0.bias"])
    expected = state @ named["out.weight"].T + named["out.bias"]
    torch.testing.assert_close(network.apply_many(thetas, x)[0], expected)
    torch.testing.assert_close(network.predictor(thetas[0], x[0])(x[0]), expected)
    found = [
        derivatives(steps.linearise(thetas, batch)[1], u)
        for steps in (EagerSteps(mean_loss(network)), TracedSteps(mean_loss(network)))
    ]
    torch.testing.assert_close(found[0], found[1])
    assert all(isinstance(p, nn.Parameter) for p in network.module.parameters())


WORKING = {
    "DataParallel": lambda: nn.DataParallel(linear()),
    "compiled": lambda: torch.compile(linear(), backend="eager"),
    "compiled inside": lambda: nn.Sequential(torch.compile(linear(), backend="eager")),
    "lazy": lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(6), nn.LazyLinear(3)),
    "float64": lambda: linear().double(),
    "bfloat16": lambda: linear().bfloat16(),
    "weight_norm": lambda: linear(nn.utils.weight_norm(nn.Linear(6, 6))),
    "parametrised": lambda: linear(nn.utils.parametrizations.weight_norm(nn.Linear(6, 6))),
    "recomputed": lambda: linear(Apply(lambda x: checkpoint(torch.tanh, x, use_reentrant=False))),
    "buffer": lambda: linear(Scaled()),
}


class Scaled(nn.Module):
    """Scales by a buffer and by a plain tensor, which are equal each time."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 6))
        self.shift, self.names = torch.linspace(0, 1, 6), ["a", "b"]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


@pytest.mark.parametrize("kind", WORKING)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_module_in_a_usual_wrapping_works_like_the_plain_one(kind: str) -> None:
    network = network_of(WORKING[kind])
    thetas, batch, u = given(network, 2)
    x = batch.inputs
    assert all(word not in name for name in network.names for word in ("_orig_mod", "module."))
    module = network.factory().double().eval()
    module.load_state_dict(network.named(thetas[0]), strict=False)
    logits = network.apply_many(thetas, x)
    torch.testing.assert_close(logits[0], module(x[0]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(network.predictor(thetas[0], x[0])(x[0]), logits[0])
    back = EagerSteps(mean_loss(network)).linearise(thetas, batch)[1]
    h, gradient = 1e-5, EagerSteps(mean_loss(network)).gradient
    along = (gradient(thetas + h * u, batch) - gradient(thetas - h * u, batch)) / (2 * h)
    torch.testing.assert_close(back(u)[0], along, rtol=1e-4, atol=1e-7)


class Mixed(nn.Module):
    """Weights of two precisions."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 6), nn.Linear(6, 3, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)).to(self.last.weight.dtype)).abs().float()


class Stepping(nn.Module):
    """Counts its calls in a plain attribute, and uses the count."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.count = nn.Linear(16, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return self.layer(x.flatten(1)) * self.count


def sparse() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    module[1].weight = nn.Parameter(module[1].weight.detach().to_sparse())
    return module


REFUSED = {
    "scripted": (lambda: torch.jit.script(linear()), "TorchScript module.* give the plain module"),
    "scripted inside": (lambda: nn.Sequential(torch.jit.script(linear())), "TorchScript module"),
    "complex": (lambda: Mixed(torch.cfloat), "weights of complex64 and float32; all weights that are trained must be"),
    "mixed": (lambda: Mixed(torch.float64), "weights of float32 and float64; .*after model.float"),
    "no module": (lambda: 3, "cannot be made: its type is int, not torch.nn.Module"),
    "raises": (lambda: {}["key"], "cannot be made: 'key'"),
    "no values": (lambda: linear().to("meta"), "without values"),
    "dict": (lambda: linear(Apply(lambda x: {"x": x})), "cannot take images"),
    "returns a dict": (lambda: nn.Sequential(linear(), Apply(lambda x: {"logits": x})), "gives a dict for 3 classes"),
    "returns a tuple": (lambda: nn.Sequential(linear(), Apply(lambda x: (x, x))), "gives a tuple for 3 classes"),
    "classes": (
        lambda: nn.Sequential(linear(), Apply(lambda x: x.argmax(1))),
        "gives a tensor of shape|outputs of shape",
    ),
    "whole numbers": (lambda: nn.Sequential(linear(), Apply(lambda x: x.long())), "gives int64 values"),
    "not a number": (lambda: nn.Sequential(linear(), Apply(lambda x: x / 0 * 0)), "gives values that are not finite"),
    "infinite": (
        lambda: nn.Sequential(linear(), Apply(lambda x: x.abs() * 1e38 * 1e38)),
        "gives values that are not finite",
    ),
    "sparse": (sparse, "has sparse weights"),
    "detached": (
        lambda: nn.Sequential(linear(), Apply(Tensor.detach)),
        "network 'mine' cannot be trained: its output depends on no weight",
    ),
    "counts": (Stepping, "gives different outputs on a second pass"),
    "noise of NumPy": (lambda: linear(Apply(lambda x: x + float(np.random.rand()))), "draws random numbers"),  # noqa: NPY002
    "noise of Python": (lambda: linear(Apply(lambda x: x + random.random())), "different outputs on a second pass"),
    "reentrant": (lambda: linear(Apply(lambda x: checkpoint(torch.tanh, x, use_reentrant=True))), "use_reentrant"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.usefixtures("as_a_user")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_module_that_cannot_work_is_refused_in_one_line(kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(UserError, match=message) as caught:
        network_of(make)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "entrance",
    [torch.Tensor.detach, lambda x: nn.functional.one_hot((x.argmax(-1)), 4).float()],
    ids=["detach", "argmax"],
)
def test_a_network_that_passes_no_gradient_to_the_images_can_be_evaluated_and_not_distilled_with(entrance: Any) -> None:
    network = network_of(lambda: nn.Sequential(Apply(entrance), linear()))
    with pytest.raises(UserError, match=r"passes no gradient from its output to the images \(detach, argmax"):
        network.must_see_images()
    network_of(linear).must_see_images()


# --- numbers that are no weights


class Features(nn.Module):
    """Random features, kept where `keep` puts them."""

    def __init__(self, keep: Callable[["Features", Tensor], Callable[[], Any]], matrix: Tensor) -> None:
        super().__init__()
        self.out, self.matrix_of = nn.Linear(8, 3), keep(self, matrix)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.cos(x.flatten(1) @ torch.as_tensor(self.matrix_of(), dtype=x.dtype)))


def as_buffer(module: nn.Module, w: Tensor) -> Callable[[], Any]:
    module.register_buffer("w", w)
    return lambda: module.w


def as_attribute(form: Callable[[Tensor], Any]) -> Any:
    def keep(module: nn.Module, w: Tensor) -> Callable[[], Any]:
        module.w = form(w)
        value = module.w
        return lambda: value[0] if isinstance(value, tuple) else value

    return keep


def as_frozen(module: nn.Module, w: Tensor) -> Callable[[], Any]:
    module.w = nn.Parameter(w, requires_grad=False)
    return lambda: module.w


KEEPING = {
    "buffer": (as_buffer, "draws 'w' at random"),
    "tensor": (as_attribute(lambda w: w), "draws 'w' at random"),
    "array": (as_attribute(lambda w: w.numpy()), "draws 'w' at random"),
    "list": (as_attribute(lambda w: w.tolist()), "draws 'w' at random"),
    "tuple of tensors": (as_attribute(lambda w: (w, 1)), "draws 'w' at random"),
    "closure": (lambda module, w: lambda: w, "draws numbers that are neither weights nor buffers at random"),
    "frozen": (as_frozen, "freezes 'w', which is random each time"),
}
SOURCES = {
    "torch": lambda: torch.randn(16, 8),
    "numpy": lambda: torch.from_numpy(np.random.randn(16, 8)).float(),  # noqa: NPY002
    "unseeded": lambda: torch.from_numpy(np.random.default_rng().normal(size=(16, 8))).float(),
    "python": lambda: torch.tensor([[random.gauss(0, 1) for _ in range(8)] for _ in range(16)]),
}


@pytest.mark.parametrize("keep", KEEPING)
@pytest.mark.parametrize("source", SOURCES)
def test_random_numbers_that_are_no_weights_are_refused_by_name(keep: str, source: str) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with pytest.raises(UserError, match=KEEPING[keep][1]) as caught:
        network_of(lambda: Features(KEEPING[keep][0], SOURCES[source]()))
    assert "\n" not in str(caught.value)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("keep", KEEPING)
def test_random_numbers_of_a_seed_of_their_own_are_constants(keep: str) -> None:
    network = network_of(
        lambda: Features(KEEPING[keep][0], torch.randn(16, 8, generator=torch.Generator().manual_seed(3)))
    )
    assert network.apply(torch.zeros(network.size), torch.zeros(2, *SHAPE)).shape == (2, 3)


def test_weights_drawn_by_numpy_depend_on_the_generator_alone() -> None:
    def make() -> nn.Module:
        module = linear()
        with torch.no_grad():
            module[1].weight.copy_(torch.from_numpy(np.random.randn(6, 16)))  # noqa: NPY002
        return module

    network = network_of(make)
    first, second, other = (network.init("own", [torch.Generator().manual_seed(seed)])[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first[:96], other[:96])


# --- a layout that PyTorch cannot take
