"""Parameters that a factory freezes are constants of the function: the same as buffers in every respect."""

import pytest
import torch
from torch.func import functional_call

from datastill.errors import UserError
from datastill.networks import INITIALISERS, build
from datastill.training import OnReal, hypergradient, mean_loss

from ..problems import assert_same, unroll

SHAPE = (1, 3, 3)
FROZEN = "tests.pretrained:tiny(adapt=classifier)"
BUFFERS = "tests.pretrained:halves"


def given(spec: str):
    network = build(spec, shape=SHAPE, classes=4)
    draw = torch.Generator().manual_seed(0)
    theta = network.own()[None].double()
    examples = torch.randn(2, 4, *SHAPE, generator=draw).double()
    labels = torch.arange(4).expand(2, 4)
    real = torch.randn(1, 7, *SHAPE, generator=draw).double(), torch.randint(4, (1, 7), generator=draw)
    return network, theta, examples, labels, real


def test_frozen_parameters_are_no_part_of_theta() -> None:
    whole, part = build("tests.pretrained:tiny", shape=SHAPE, classes=4), build(FROZEN, shape=SHAPE, classes=4)
    assert part.names == ["classifier.weight", "classifier.bias"]
    assert part.size == 6 * 4 + 4 == whole.size - 9 * 6 - 6
    assert {name: tuple(value.shape) for name, value in part.frozen.items()} == {
        "features.weight": (6, 9),
        "features.bias": (6,),
    }
    images = torch.rand(5, *SHAPE)
    assert torch.equal(part.apply(part.own(), images), whole.apply(whole.own(), images))
    assert part.sha256(part.own()) == whole.sha256(whole.own()), "whatever is frozen, the weights are the same"
    assert whole.sha256() == "" != part.sha256()


@pytest.mark.parametrize("initialiser", INITIALISERS)
def test_initialisers_leave_frozen_parameters_alone(initialiser: str) -> None:
    network = build(FROZEN, shape=SHAPE, classes=4)
    before = {name: value.clone() for name, value in network.frozen.items()}
    thetas = network.init(initialiser, [torch.Generator().manual_seed(i) for i in range(2)])
    assert thetas.shape == (2, network.size)
    assert torch.equal(thetas[0], thetas[1]) == (initialiser == "own")
    images = torch.rand(2, 3, *SHAPE)
    for theta, logits in zip(thetas, network.apply_many(thetas, images[:1].expand(2, -1, -1, -1, -1)), strict=True):
        module = network.factory()  # with its own frozen weights
        torch.testing.assert_close(logits, functional_call(module, network.named(theta), (images[0],)))
    assert all(torch.equal(value, before[name]) for name, value in network.frozen.items())


@pytest.mark.parametrize("mode", ["stored", "recomputed"])
def test_hypergradients_are_those_of_a_network_with_buffers_in_their_place(mode: str) -> None:
    found = []
    for spec in (FROZEN, BUFFERS):
        network, theta, examples, labels, (images, classes) = given(spec)
        if spec == BUFFERS:
            network.module.double()
        real = OnReal(mean_loss(network), images, classes)
        sizes = torch.full((2, 2), 0.3, dtype=torch.float64)
        found.append(hypergradient(mean_loss(network), real, theta, examples, labels, sizes, mode=mode))
    assert found[0].examples.abs().max() > 0
    assert_same(*found)


def test_hypergradients_through_frozen_layers_are_finite_differences() -> None:
    network, theta, examples, labels, (images, classes) = given(FROZEN)
    real, sizes = OnReal(mean_loss(network), images, classes), torch.full((2, 2), 0.3, dtype=torch.float64)
    found = hypergradient(mean_loss(network), real, theta, examples, labels, sizes)
    along = torch.randn(examples.shape, generator=torch.Generator().manual_seed(3)).double()

    def value(step: float) -> torch.Tensor:
        *_, final = unroll(mean_loss(network), theta, examples + step * along, labels, sizes)
        return real(final)[0]

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    torch.testing.assert_close((found.examples[0] * along).sum(), slope, rtol=1e-7, atol=0.0)


def test_another_precision_is_that_of_frozen_layers_too() -> None:
    network = build(FROZEN, shape=SHAPE, classes=4)
    images = torch.rand(5, *SHAPE)
    found = network.computing(torch.bfloat16).apply(network.own(), images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, network.apply(network.own(), images), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny(adapt=none)", "freezes all of its parameters: nothing in it can be trained"),
        ("random", "freezes 'features.weight', which is random each time; load weights for it first"),
    ],
)
def test_what_cannot_be_frozen_is_told_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(f"tests.pretrained:{name}", shape=SHAPE, classes=4)
    assert "\n" not in str(caught.value)


def test_a_network_that_draws_its_own_weights_has_none_to_start_from() -> None:
    with pytest.raises(UserError, match=r"draws its weights at random.*or take --start"):
        build("mlp(width=3)", shape=SHAPE, classes=4).own()
