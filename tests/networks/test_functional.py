import jaxtyping
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jvp

from datastill.networks import Network, blocks, build

IMAGE = {
    "lenet": (1, 28, 28),
    "alexcifarnet": (3, 32, 32),
    "mlp(width=6)": (2, 4, 4),
    "convnet(width=4,norm=instance)": (2, 8, 8),
    "convnet(width=4,norm=group)": (2, 8, 8),
    "convnet(width=4,norm=batch)": (2, 8, 8),
    "convnet(width=4,norm=none)": (2, 8, 8),
    "resnet18(width=4)": (3, 8, 8),
    "resnet18(width=4,norm=group)": (3, 8, 8),
    "tests.problems:smooth": (1, 3, 3),
}
every_network = pytest.mark.parametrize("spec", IMAGE)


def given(spec: str, count: int = 1, batch: int = 5, seed: int = 0):
    """A network, `count` weights away from any symmetry, and images for each; float64."""
    network = build(spec, shape=IMAGE[spec], classes=4)
    g = torch.Generator().manual_seed(seed)
    thetas = network.init("xavier", [torch.Generator().manual_seed(i) for i in range(count)]).double()
    thetas += 0.05 * torch.randn(thetas.shape, generator=g, dtype=torch.float64)
    return network, thetas, torch.randn(count, batch, *IMAGE[spec], generator=g, dtype=torch.float64)


@every_network
def test_flat_is_the_inverse_of_named(spec):
    network, (theta,), _ = given(spec)
    named = network.named(theta)
    assert list(named) == [name for name, _ in network.factory().named_parameters()]
    assert [value.shape for value in named.values()] == [p.shape for p in network.factory().parameters()]
    assert torch.equal(network.flat(named), theta)
    backwards = dict(reversed(named.items()))
    assert torch.equal(network.flat(backwards), theta)


def test_named_tensors_are_views_of_the_vector():
    network, (theta,), _ = given("mlp(width=6)")
    network.named(theta)["1.bias"].fill_(7.0)
    assert (theta == 7.0).sum() == 6


@every_network
def test_apply_is_the_plain_module_loaded_with_the_same_weights(spec):
    network, (theta,), (images,) = given(spec)
    module = network.factory().double()
    module.load_state_dict(network.named(theta), strict=False)
    torch.testing.assert_close(network.apply(theta, images), module.train()(images))


@every_network
def test_many_networks_at_once_are_one_by_one(spec):
    network, thetas, images = given(spec, count=3)
    found = network.apply_many(thetas, images)
    expected = torch.stack([network.apply(theta, x) for theta, x in zip(thetas, images, strict=True)])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(network.apply_many(thetas[:1], images[:1]), expected[:1])
    assert (expected[0] - expected[1]).abs().max() > 1e-3


@every_network
def test_applying_changes_neither_the_weights_nor_the_module_nor_the_global_generator(spec):
    network, thetas, images = given(spec, count=2)
    state = {name: value.clone() for name, value in network.module.state_dict().items()}
    kept, rng = thetas.clone(), torch.get_rng_state()
    first = network.apply_many(thetas, images)
    assert torch.equal(network.apply_many(thetas, images), first)
    assert torch.equal(thetas, kept)
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, state[name]) for name, value in network.module.state_dict().items())


def test_tied_weights_are_one_set_of_parameters():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x.flatten(1)))

    network = Network(Tied, shape=(1, 2, 2), classes=4, name="tied")
    theta = network.init("xavier", [torch.Generator().manual_seed(0)])[0]
    assert network.size == 16 + 4 + 4
    W, x = network.named(theta)["first.weight"], torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network.apply(theta, x), x.flatten(1) @ W.T @ W.T)


# --- layouts and precisions

WIDE = {
    "convnet(width=16,depth=2)": (3, 8, 8),
    "convnet(width=20,depth=2)": (1, 8, 8),
    "convnet(width=16,depth=2,norm=batch)": (3, 8, 8),
    "resnet18(width=16)": (3, 8, 8),
    "alexcifarnet": (3, 32, 32),
}


def gradients(logits, theta, images):
    """d<g, g> / d(theta, images) too, where g is the gradient of a function of the logits."""
    value = logits.softmax(1)[:, 0].square().sum()
    first = torch.autograd.grad(value, (theta, images), create_graph=True)
    second = torch.autograd.grad(first[0].square().sum(), (theta, images))
    return logits, *first, *second


@pytest.mark.parametrize("spec", WIDE)
def test_a_wide_network_gives_the_same_in_its_faster_layout(spec):
    network = build(spec, shape=WIDE[spec], classes=4)
    assert network.wide
    theta = network.init("xavier", [torch.Generator().manual_seed(0)])[0].double().requires_grad_()
    images = torch.randn(3, *WIDE[spec], generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    found = gradients(network.apply(theta, images), theta, images)
    expected = gradients(functional_call(network.module, network.named(theta), (images,)), theta, images)
    for a, b in zip(found, expected, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9 * float(b.detach().abs().max()))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_layer_of_a_wide_network_has_the_faster_layout(channels, monkeypatch):
    """Grey images are contiguous in both layouts: strides decide which one a convolution takes."""
    network = build("convnet(width=20,depth=2)", shape=(channels, 8, 8), classes=4)
    theta, strides = network.init("xavier", [torch.Generator().manual_seed(0)])[0], []
    normalised = blocks.normalised

    def noted(convolved, *more):
        strides.append(convolved.stride(1))
        return normalised(convolved, *more)

    monkeypatch.setattr(blocks, "normalised", noted)
    network.apply(theta, torch.rand(3, channels, 8, 8))
    assert strides == [1, 1]


# PyTorch has no forward derivative of group normalisation, which convnet uses for each image alone, in this layout
@pytest.mark.parametrize("spec", [spec for spec in WIDE if not spec.endswith(",depth=2)")])
def test_a_wide_network_can_be_differentiated_forward_over_reverse(spec):
    network = build(spec, shape=WIDE[spec], classes=4)
    theta = network.init("xavier", [torch.Generator().manual_seed(0)])[0].double()
    images = torch.randn(3, *WIDE[spec], generator=torch.Generator().manual_seed(1)).double()
    u = torch.randn(theta.shape, generator=torch.Generator().manual_seed(2)).double()

    def value(theta):
        return network.apply(theta, images).softmax(1)[:, 0].square().sum()

    leaf = theta.clone().requires_grad_()
    (first,) = torch.autograd.grad(value(leaf), leaf, create_graph=True)
    (expected,) = torch.autograd.grad(first, leaf, u)
    found = jvp(grad(value), (theta,), (u,))[1]
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))


def test_a_network_is_wide_by_the_narrower_side_of_its_widest_convolution():
    assert build("convnet(width=16)", shape=(3, 8, 8), classes=4).wide
    assert not build("convnet(width=15)", shape=(3, 8, 8), classes=4).wide
    assert not build("convnet(width=64,depth=1)", shape=(3, 8, 8), classes=4).wide


@pytest.mark.parametrize("spec", ["lenet", "mlp(width=6)", "convnet(width=4,norm=instance)", "alexcifarnet"])
def test_another_precision_is_that_of_another_network_whose_logits_are_still_float32(spec):
    network, thetas, images = given(spec, count=2)
    thetas, images = thetas.float(), images.float()
    before = network.apply_many(thetas, images)
    half = network.computing(torch.bfloat16)
    found = half.apply_many(thetas, images)
    assert torch.equal(network.apply_many(thetas, images), before)
    assert (network.dtype, half.dtype) == (None, torch.bfloat16)
    assert found.dtype == before.dtype == torch.float32
    torch.testing.assert_close(half.apply(thetas[0], images[0]), found[0], rtol=0.05, atol=0.05)
    error = (found - before).abs().max() / before.abs().max()
    assert 1e-5 < error < 0.05  # bfloat16 has 8 bits
    assert torch.equal(half.computing(None).apply_many(thetas, images), before)
    theta = thetas[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(half.apply(theta, images[0]).sum(), theta)
    assert gradient.dtype == torch.float32
    assert gradient.isfinite().all()


# --- batch normalisation


def normed(layer: nn.Module) -> Network:
    """Normalisation, then the sum over positions: by hand, logits = sum_hw (weight * (x - mean) / std + bias)."""

    class Sum(nn.Module):
        def forward(self, x):
            return x.sum((2, 3))

    return Network(lambda: nn.Sequential(layer, Sum()), shape=(3, 4, 5), classes=3, name="normed")


def by_hand(theta, x, mean, var):
    weight, bias = theta.view(2, 1, 3, 1, 1)
    return (weight * (x - mean.view(3, 1, 1)) / (var.view(3, 1, 1) + 1e-5).sqrt() + bias).sum((2, 3))


def inputs():
    g = torch.Generator().manual_seed(0)
    theta = torch.randn(6, generator=g)
    return theta, *(scale * torch.randn(b, 3, 4, 5, generator=g) + 1 for b, scale in ((8, 2.0), (6, 0.5)))


layers = pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3, momentum=None)],
    ids=["usual", "untracked", "cumulative"],
)


@layers
def test_apply_normalises_with_the_statistics_of_the_batch_at_hand(layer):
    network, (theta, images, other) = normed(layer), inputs()
    for x in (images, other, images):  # in any order: nothing is remembered
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        torch.testing.assert_close(network.apply(theta, x), by_hand(theta, x, mean, var))
    assert (network.apply(theta, images)[:4] - network.apply(theta, images[:4])).abs().max() > 1e-3


@layers
def test_a_predictor_normalises_with_the_statistics_of_the_images_it_was_given(layer):
    network, (theta, images, other) = normed(layer), inputs()
    predict = network.predictor(theta, images)
    mean, var = images.mean((0, 2, 3)), images.var((0, 2, 3), unbiased=True)
    torch.testing.assert_close(predict(other), by_hand(theta, other, mean, var))


@pytest.mark.parametrize("spec", [spec for spec in IMAGE if "alex" not in spec])
def test_what_is_predicted_for_an_image_does_not_depend_on_the_others_in_its_batch(spec):
    network = build(spec, shape=IMAGE[spec], classes=4)
    theta = network.init("xavier", [torch.Generator().manual_seed(0)])[0]
    images, batch = torch.randn(2, 6, *IMAGE[spec], generator=torch.Generator().manual_seed(1))
    predict = network.predictor(theta, images)
    torch.testing.assert_close(predict(batch)[2:3], predict(batch[2:3]), rtol=1e-4, atol=1e-5)
    if not network.has_statistics:
        torch.testing.assert_close(predict(batch), network.apply(theta, batch))


def test_two_predictors_do_not_disturb_each_other_or_apply():
    network, (theta, images, other) = normed(nn.BatchNorm2d(3)), inputs()
    plain, predict = network.apply(theta, images), network.predictor(theta, images)
    before = predict(other)
    second = network.predictor(-theta, other)
    assert not torch.equal(second(other), before)
    assert torch.equal(predict(other), before)
    assert torch.equal(network.apply(theta, images), plain)


def test_a_predictor_measures_every_layer_of_a_deep_network_on_the_output_of_the_one_before():
    # on the very images it was measured on, a predictor differs from apply by n/(n-1) in the variances alone
    network = build("convnet(width=4,norm=batch,depth=2)", shape=(1, 16, 16), classes=4)
    theta = network.init("xavier", [torch.Generator().manual_seed(0)])[0]
    images = torch.randn(64, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        network.predictor(theta, images)(images), network.apply(theta, images), rtol=0.01, atol=1e-3
    )


def test_only_batch_normalisation_needs_measured_statistics():
    needing = {spec for spec in IMAGE if build(spec, shape=IMAGE[spec], classes=4).has_statistics}
    assert needing == {"convnet(width=4,norm=batch)", "resnet18(width=4)"}


def test_instance_normalisation_that_tracks_still_uses_each_image_alone():
    network, (theta, images, _) = normed(nn.InstanceNorm2d(3, affine=True, track_running_stats=True)), inputs()
    found = network.apply(theta, images)
    expected = by_hand(theta, images[:1], images[0].mean((1, 2)), images[0].var((1, 2), unbiased=False))
    torch.testing.assert_close(found[:1], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(network.predictor(theta, images)(images[:1]), expected, rtol=1e-4, atol=1e-4)


# --- the signatures themselves


def test_shapes_in_signatures_are_checked_in_the_tests():
    network, thetas, images = given("mlp(width=6)", count=2)
    with pytest.raises(jaxtyping.TypeCheckError):
        network.apply_many(thetas, images[:1])
    with pytest.raises(jaxtyping.TypeCheckError):
        network.apply(thetas, images[0])
