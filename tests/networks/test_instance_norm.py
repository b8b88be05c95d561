"""Instance normalisation as CPUs compute it: the numbers and all derivatives of PyTorch's own."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from datastill.networks import build
from datastill.networks.instance_norm import group_norm
from datastill.networks.twice import TwiceDifferentiable

batches = pytest.mark.parametrize("count", [1, 2])
layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


def arguments(layout: torch.memory_format, count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Images far from zero, scales and shifts of 3 channels."""
    draw = torch.Generator().manual_seed(0)
    x, scale, shift = (
        torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in [(count, 3, 2, 4), (3,), (3,)]
    )
    return (5 + 3 * x).to(memory_format=layout).requires_grad_(), scale.requires_grad_(), shift.requires_grad_()


def normalised(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return group_norm(x, 3, scale, shift)


@batches
@layouts
def test_it_gives_the_numbers_of_torch(layout: torch.memory_format, count: int) -> None:
    given = arguments(layout, count)
    ours, theirs = normalised(*given), F.group_norm(given[0], 3, *given[1:])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert ours.is_contiguous(memory_format=layout)
    g = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for a, b in zip(*(torch.autograd.grad(out, given, g) for out in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@batches
@layouts
def test_its_derivatives_in_both_directions_and_their_derivatives_are_those_of_differences(
    layout: torch.memory_format, count: int
) -> None:
    given = arguments(layout, count)
    assert gradcheck(normalised, given, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(normalised, given, check_fwd_over_rev=True, check_batched_grad=True)


def test_other_groups_types_and_layers_without_scales_are_left_to_torch() -> None:
    x, scale, shift = arguments(torch.contiguous_format)
    for groups, more in ((1, (scale, shift)), (3, ()), (3, (scale,))):
        assert torch.equal(group_norm(x, groups, *more), F.group_norm(x, groups, *more))
    half = group_norm(x.bfloat16(), 3, scale.bfloat16(), shift.bfloat16())
    assert half.dtype == torch.bfloat16
    flat = x.flatten(2)
    assert torch.equal(group_norm(flat, 3, scale, shift), F.group_norm(flat, 3, scale, shift))


def test_a_network_with_instance_normalisation_uses_it_and_another_does_not() -> None:
    x, scale, shift = arguments(torch.contiguous_format)
    layer = nn.GroupNorm(3, 3).double()
    layer.load_state_dict({"weight": scale, "bias": shift})
    with TwiceDifferentiable() as forms:
        inside = layer(x)
    assert forms.met
    assert "InstanceNorm" in inside.grad_fn.name()
    network = build("convnet(width=16,depth=1)", shape=(1, 8, 8), classes=3)
    (theta,) = network.init("own", [torch.Generator().manual_seed(0)])
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    module = network.factory()
    module.load_state_dict(network.named(theta))
    torch.testing.assert_close(network.apply(theta, images), module(images))
