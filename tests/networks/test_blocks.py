"""Convolutions and blocks of a ConvNet as CPUs compute them: the numbers and all derivatives of the plain layers."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from datastill.networks import build, instance_norm
from datastill.networks.blocks import Blocks, _pooled
from datastill.networks.convolution import convolution
from datastill.networks.instance_norm import InstanceNorm
from datastill.training import EagerSteps, ForwardSteps, Steps, TracedSteps
from datastill.training.inner import mean_loss

from ..training.cases import close, derivatives, shared

KINDS = (EagerSteps, ForwardSteps, TracedSteps)


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("padding", [0, 1])
def test_derivatives_of_a_convolution_are_those_of_differences(padding: int) -> None:
    x, weight = drawn((2, 2, 3, 4), (3, 2, 3, 3))
    assert torch.equal(convolution(x, weight, padding), F.conv2d(x, weight, padding=padding))
    assert gradcheck(convolution, (x, weight, padding), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(convolution, (x, weight, padding), check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("one", [0, 1])
def test_a_convolution_differentiates_for_a_single_argument(one: int) -> None:
    given = [each.detach().requires_grad_(i == one) for i, each in enumerate(drawn((2, 2, 3, 4), (3, 2, 3, 3)))]
    assert gradgradcheck(lambda *each: convolution(*each, 1), given)


@pytest.mark.parametrize("count", [1, 2])
def test_derivatives_of_normalisation_relu_and_pooling_are_those_of_differences(count: int) -> None:
    x, weight, bias, before = drawn((count, 2, 2, 3), (2,), (2,), (2,))
    norm = InstanceNorm(2)

    def pooled(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        norm._parameters |= {"weight": weight, "bias": bias}
        return _pooled(x, norm, before)

    assert gradcheck(pooled, (x, weight, bias), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(pooled, (x, weight, bias), check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize(("networks", "count", "size"), [(1, 3, 5), (1, 1, 4), (2, 2, 4)])
def test_steps_of_every_kind_are_those_of_the_layers_of_torch(
    networks: int, count: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (2, size, size)
    network = build("convnet(width=16,depth=2)", shape=shape, classes=3)
    thetas = network.init("own", [torch.Generator().manual_seed(i) for i in range(networks)]).double()
    u, x = (each.detach() for each in drawn(thetas.shape, (networks, count, *shape)))
    batch, loss = shared(x, torch.arange(count)), mean_loss(network)

    def found(kind: type[Steps]) -> list[Tensor]:
        gradient, back = kind(loss).linearise(thetas, batch)
        return [gradient, *derivatives(back, u)]

    blocks = [found(kind) for kind in KINDS]
    monkeypatch.setattr(Blocks, "forward", nn.Sequential.forward)
    layers = found(EagerSteps)
    monkeypatch.setattr(instance_norm, "group_norm", F.group_norm)
    expected = found(EagerSteps)
    for ours in (*blocks, layers):
        close(ours, expected, 1e-12)


def test_a_convolution_before_a_normalisation_has_a_gradient_of_exactly_zero_for_its_bias() -> None:
    module = build("convnet(width=4,depth=2)", shape=(1, 8, 8), classes=3).factory()
    assert isinstance(module, Blocks)
    for count in (1, 2):
        module.zero_grad()
        module(torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))).square().sum().backward()
        for layer in module:
            if isinstance(layer, nn.Conv2d):
                assert torch.equal(layer.bias.grad, torch.zeros_like(layer.bias))
