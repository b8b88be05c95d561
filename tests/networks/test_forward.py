"""Group normalisation in the form that has a forward derivative: the numbers of PyTorch's own, and of differences."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from datastill.networks.forward import ForwardDifferentiable, group_norm

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def arguments(layout: torch.memory_format = torch.contiguous_format) -> tuple[Tensor, Tensor, Tensor]:
    """Images, scales and shifts of 6 channels."""
    draw = torch.Generator().manual_seed(0)
    x, scale, shift = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in [(2, 6, 3, 4), (6,), (6,)])
    return (1 + 3 * x).to(memory_format=layout), scale, shift


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_it_gives_the_numbers_of_torch(groups: int, layout: torch.memory_format) -> None:
    x, scale, shift = arguments(layout)
    for more in ((), (scale,), (scale, shift), (None, shift), (scale, shift, 0.1)):
        torch.testing.assert_close(group_norm(x, groups, *more), F.group_norm(x, groups, *more), rtol=1e-12, atol=1e-12)
    for fewer in (x[..., 0], x[..., None]):
        torch.testing.assert_close(group_norm(fewer, groups), F.group_norm(fewer, groups), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_forward_and_second_derivatives_are_those_of_differences(layout: torch.memory_format) -> None:
    x, scale, shift = (each.requires_grad_() for each in arguments(layout))

    def normalised(*given: Tensor) -> Tensor:
        return group_norm(given[0], 3, *given[1:])

    assert gradcheck(normalised, (x, scale, shift), check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(normalised, (x, scale, shift), check_fwd_over_rev=True, fast_mode=True)


def test_it_takes_the_place_of_the_layer_and_of_the_functions() -> None:
    x, _, _ = arguments()
    layer = nn.GroupNorm(3, 6).double()
    for call in (layer, lambda x: F.group_norm(x, 3), lambda x: torch.group_norm(x, 3)):
        with ForwardDifferentiable() as forms:
            inside = call(x)
        assert forms.met, "inside"
        torch.testing.assert_close(inside, call(x), rtol=1e-12, atol=1e-12)


def test_images_of_16_bits_are_normalised_in_float32_and_stay_what_they_are() -> None:
    x, scale, shift = (each.bfloat16() for each in arguments())
    found, exact = group_norm(x, 3, scale, shift), F.group_norm(x.double(), 3, scale.double(), shift.double())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-6, atol=2**-6)
