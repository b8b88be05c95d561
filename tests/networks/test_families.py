"""Each network has the layers that its source gives it."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call

from datastill.errors import UserError
from datastill.networks import NETWORKS, Network, build
from datastill.networks.alexcifarnet import LocalResponseNorm


def size(spec: str, shape: tuple[int, int, int], classes: int = 10) -> int:
    return build(spec, shape=shape, classes=classes).size


def test_lenet_has_the_parameters_counted_by_hand_for_28_and_32():
    # convolutions 6*(1*5*5) + 6 = 156 and 16*(6*5*5) + 16 = 2416, then 400*120 + 120 = 48120, 120*84 + 84 = 10164 and
    # 84*10 + 10 = 850: together 61706. Three input channels make the first 6*(3*5*5) + 6 = 456, 300 more.
    assert size("lenet", (1, 28, 28)) == size("lenet", (1, 32, 32)) == 61706
    assert size("lenet", (3, 28, 28)) == size("lenet", (3, 32, 32)) == 62006


def test_lenet_on_28_is_lenet_on_the_same_image_with_a_border_of_two_zeros():
    small, large = (build("lenet", shape=(1, s, s), classes=10) for s in (28, 32))
    theta = small.init("xavier", [torch.Generator().manual_seed(0)])[0]
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(small.apply(theta, images), large.apply(theta, nn.functional.pad(images, (2, 2, 2, 2))))


def plain_lenet(shape: tuple[int, int, int]) -> tuple[Network, Network, torch.Tensor, torch.Tensor]:
    """LeNet, and the same layers one after the other, in float64, with weights."""
    network = build("lenet", shape=shape, classes=10)
    plain = Network(lambda: nn.Sequential(*network.module), shape=shape, classes=10, name="plain")
    thetas = network.init("xavier", [torch.Generator().manual_seed(seed) for seed in (0, 1)]).double()
    images = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return network, plain, thetas, images


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_lenet_is_its_layers_one_after_the_other_whether_a_gradient_is_wanted_or_not(shape):
    network, plain, thetas, images = plain_lenet(shape)
    wanted = plain.apply(thetas[0], images[0])
    torch.testing.assert_close(network.apply(thetas[0], images[0]), wanted, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(network.apply(thetas[0], images[0]), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("networks", [1, 2])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_first_and_second_derivatives_of_lenet_are_those_of_its_layers_one_after_the_other(shape, networks):
    lenet, plain, thetas, images = plain_lenet(shape)
    found = []
    for network in (lenet, plain):
        weights, inputs = thetas[:networks].clone().requires_grad_(), images[:networks].clone().requires_grad_()
        loss = network.apply_many(weights, inputs).exp().sum()
        (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
        found.append((gradient, *torch.autograd.grad(gradient.square().sum(), (weights, inputs))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * theirs.detach().abs().max().item())


def test_the_gradient_of_lenet_on_a_flat_image_is_that_of_its_layers_one_after_the_other():
    # every window of pooling holds four equal numbers, up to rounding: one of them has the gradient, not all
    lenet, plain, thetas, images = plain_lenet((1, 28, 28))
    weights = thetas[0].clone().requires_grad_()
    ours, theirs = (
        torch.autograd.grad(each.apply(weights, torch.full_like(images[0], -0.4)).exp().sum(), weights)[0]
        for each in (lenet, plain)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * theirs.detach().abs().max().item())


def test_alexcifarnet_has_the_parameters_counted_by_hand():
    # 64*(3*5*5) + 64 = 4864, 64*(64*5*5) + 64 = 102464, 64*8*8*384 + 384 = 1573248, 384*192 + 192 = 73920 and
    # 192*10 + 10 = 1930
    assert size("alexcifarnet", (3, 32, 32)) == 4864 + 102464 + 1573248 + 73920 + 1930 == 1756426


def test_the_usual_convnet_has_320010_parameters():
    # 128*27 + 128 = 3584, twice 128*128*9 + 128 = 147584, three norms of 256, 128*4*4*10 + 10 = 20490
    assert size("convnet", (3, 32, 32)) == 3584 + 2 * 147584 + 3 * 256 + 20490 == 320010
    assert size("convnet(norm=batch)", (3, 32, 32)) == size("convnet(norm=group)", (3, 32, 32)) == 320010
    assert size("convnet(norm=none)", (3, 32, 32)) == 320010 - 3 * 256


def test_the_mlp_and_the_resnet_have_the_parameters_counted_by_hand():
    assert size("mlp(width=5,depth=3)", (2, 4, 3), 7) == (24 * 5 + 5) + 2 * (5 * 5 + 5) + (5 * 7 + 7)
    # w = 64: stem 27w + 2w; stage at width k from i: 9ik + 3*9kk + 4*2k, with a shortcut ik + 2k where it changes
    stages = sum(9 * i * k + 27 * k * k + 8 * k + (i * k + 2 * k if i != k else 0) for i, k in
                 ((64, 64), (64, 128), (128, 256), (256, 512)))  # fmt: skip
    assert size("resnet18", (3, 32, 32)) == 29 * 64 + stages + 5130 == 11173962


@pytest.mark.parametrize(
    ("spec", "shape"),
    [(name, shape) for name in sorted(NETWORKS) for shape in ((1, 28, 28), (3, 32, 32))
     if (name, shape[1]) != ("alexcifarnet", 28) and name not in ("alexnet", "textcnn")] + [("textcnn", (9, 5))],
)  # fmt: skip
def test_every_network_gives_one_logit_per_class(spec, shape):
    spec = {"convnet": "convnet(width=8)", "resnet18": "resnet18(width=4)"}.get(spec, spec)
    network = build(spec, shape=shape, classes=7)
    theta = network.init("xavier", [torch.Generator().manual_seed(0)])[0]
    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    out = network.apply(theta, images)
    assert out.shape == (3, 7)
    assert out.isfinite().all()
    assert not torch.equal(out[0], out[1])


def test_a_textcnn_finds_words_anywhere_in_a_sentence() -> None:
    """One output of the convolution answers to two vectors, one after the other: the maximum over time sees them."""
    network = build("textcnn(width=1,window=2)", shape=(6, 2), classes=2)
    assert size("textcnn(width=4,window=3)", (6, 2), 5) == (2 * 3 * 4 + 4) + (4 * 5 + 5)
    weight = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # first the vector (1, 0), then (0, 1)
    theta = network.flat(
        {
            "convolution.weight": weight,
            "convolution.bias": torch.tensor([-1.0]),
            "classifier.weight": torch.tensor([[2.0], [0.0]]),
            "classifier.bias": torch.zeros(2),
        }
    )
    sentences = torch.zeros(3, 6, 2)
    sentences[0, 1], sentences[0, 2] = torch.eye(2)
    sentences[1, 4], sentences[1, 5] = torch.eye(2)
    sentences[2, 2], sentences[2, 1] = torch.eye(2)  # in the other order
    assert network.apply(theta, sentences)[:, 0].tolist() == [2.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("spec", "shape", "names"),
    [
        ("lenet", (1, 16, 16), ["28x28", "32x32", "not 16x16"]),
        ("lenet", (1, 28, 32), ["not 28x32"]),
        ("alexcifarnet", (1, 28, 28), ["takes images of 32x32", "not 28x28"]),
        ("convnet", (1, 7, 7), ["8x8", "not 7x7", "depth 3"]),
        ("convnet(depth=4)", (3, 32, 8), ["16x16", "not 32x8"]),
    ],
)
def test_images_of_a_wrong_size_are_refused_in_one_line_that_names_the_right_one(spec, shape, names):
    with pytest.raises(UserError) as caught:
        build(spec, shape=shape, classes=10)
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in names)


def test_a_convnet_takes_the_smallest_images_that_it_says_it_takes():
    assert build("convnet(width=4)", shape=(1, 8, 8), classes=2).size > 0
    # 12x20 is halved twice, to 3x5
    assert build("convnet(width=4,depth=2,norm=none)", shape=(1, 12, 20), classes=2).shapes[-2] == (2, 4 * 3 * 5)


def test_local_response_normalisation_is_its_formula():
    # b_i = a_i / (k + alpha/n sum of a_j^2 over the n channels around i)^beta with n = 4, alpha = 0.001/9, beta = 0.75,
    # k = 1; as n is even, the window is the two channels before, i and one after (Krizhevsky et al. 2012)
    layer = LocalResponseNorm(9, size=4, alpha=0.001 / 9)
    a = 100 * torch.randn(2, 9, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.empty_like(a)
    for i in range(9):
        window = a[:, max(0, i - 2) : i + 2].square().sum(1)
        expected[:, i] = a[:, i] / (1.0 + 0.001 / 9 / 4 * window) ** 0.75
    torch.testing.assert_close(layer(a), expected, rtol=1e-6, atol=0.0)
    theirs = nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1.0)
    torch.testing.assert_close(layer(a), theirs(a), rtol=1e-6, atol=0.0)
    assert (expected / a).min() < 0.9  # large enough to be seen


def derivatives(function, inputs, seed=0):
    """Values, the gradient along a random direction, and the gradient of its product with another one."""
    draw = torch.Generator().manual_seed(seed)

    def along(values):
        return sum((v * torch.randn(v.shape, generator=draw, dtype=torch.float64)).sum() for v in values)

    out = function(*inputs)
    first = torch.autograd.grad(along([out]), inputs, create_graph=True)
    return out, *first, *torch.autograd.grad(along(first), inputs)


@pytest.mark.parametrize(("channels", "size"), [(9, 4), (9, 3), (6, 5), (3, 8), (5, 1)])
def test_local_response_normalisation_has_the_derivatives_of_torch(channels, size):
    # 30: so that alpha * mean of squares is around 1, and all terms of the derivatives are seen
    x = 30 * torch.randn(2, channels, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x.requires_grad_()
    mine, theirs = LocalResponseNorm(channels, size, 0.001), nn.LocalResponseNorm(size, alpha=0.001, beta=0.75, k=1.0)
    for found, expected in zip(derivatives(mine, [x]), derivatives(theirs, [x]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7 * float(expected.detach().abs().max()))


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
def test_local_response_normalisation_of_half_precision_is_the_rounded_one_of_single(dtype, rounding):
    layer = LocalResponseNorm(9, size=4, alpha=0.001 / 9)
    x = (300 * torch.randn(2, 9, 3, 3, generator=torch.Generator().manual_seed(0))).to(dtype)
    found = layer(x)
    assert found.dtype == dtype
    assert (x.float().square() > 65504).any()  # a square in float16 would be infinite
    torch.testing.assert_close(found.float(), layer(x.float()), rtol=rounding, atol=0.0)


def test_local_response_normalisation_holds_no_state_to_be_stored():
    assert LocalResponseNorm(9, size=4, alpha=0.1).state_dict() == {}


@pytest.mark.parametrize(("spec", "shape"), [("lenet", (1, 28, 28)), ("alexcifarnet", (3, 32, 32))])
def test_pooling_before_rectifying_gives_all_derivatives_of_the_papers_order(spec, shape):
    network = build(spec, shape=shape, classes=4)
    layers = list(network.module)
    swapped = [i for i, pair in enumerate(pairwise(layers)) if [type(x) for x in pair] == [nn.MaxPool2d, nn.ReLU]]
    assert len(swapped) == {"lenet": 2, "alexcifarnet": 1}[spec]
    for i in swapped:  # neither has weights, so that names stay
        layers[i], layers[i + 1] = layers[i + 1], layers[i]
    paper = nn.Sequential(*layers)
    theta = network.init("xavier", [torch.Generator().manual_seed(0)])[0].double().requires_grad_()
    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    found = derivatives(lambda theta, x: network.apply(theta, x).softmax(1), [theta, images])
    expected = derivatives(
        lambda theta, x: functional_call(paper, network.named(theta), (x,)).softmax(1), [theta, images]
    )
    for a, b in zip(found, expected, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11 * float(b.detach().abs().max()))


def test_alexcifarnet_pools_before_its_first_normalisation_and_after_its_second():
    kinds = [type(layer).__name__ for layer in build("alexcifarnet", shape=(3, 32, 32), classes=10).module]
    assert kinds[:4] == ["Conv2d", "MaxPool2d", "ReLU", "LocalResponseNorm"]
    assert kinds[4:9] == ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d", "Flatten"]


@pytest.mark.parametrize(("norm", "groups"), [("instance", 8), ("group", 4)])
def test_instance_and_group_norm_standardise_each_image_by_itself(norm, groups):
    layer = build(f"convnet(width=8,depth=1,norm={norm})", shape=(1, 4, 4), classes=2).module[1]
    x = torch.randn(3, 8, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = x.view(3, groups, -1)
    expected = (parts - parts.mean(2, keepdim=True)) / (parts.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(layer.double()(x), expected.view_as(x))


def test_the_shortcut_of_a_resnet_is_the_identity_where_the_shape_stays():
    blocks = [m for m in build("resnet18(width=4)", shape=(3, 8, 8), classes=2).module if hasattr(m, "shortcut")]
    assert [isinstance(block.shortcut, nn.Identity) for block in blocks] == [True, True] + [False, True] * 3
    assert [block.conv1.stride[0] for block in blocks] == [1, 1, 2, 1, 2, 1, 2, 1]
