from math import sqrt

import pytest
import torch
from torch import nn

from datastill.errors import UserError
from datastill.networks import INITIALISERS, build
from datastill.networks.initial import check_initialiser, draw


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(initialiser: str, spec: str = "lenet", shape=(1, 28, 28), seed: int = 0) -> dict[str, torch.Tensor]:
    network = build(spec, shape=shape, classes=10)
    return network.named(network.init(initialiser, [seeded(seed)])[0])


FANS = {  # of LeNet's weights, counted by hand: inputs and outputs of one unit, over the 5x5 window where there is one
    "0.weight": (1 * 25, 6 * 25),
    "3.weight": (6 * 25, 16 * 25),
    "7.weight": (400, 120),
    "9.weight": (120, 84),
    "11.weight": (84, 10),
}
SPREAD = {
    "xavier": lambda inputs, outputs: sqrt(2 / (inputs + outputs)),
    "xavier-uniform": lambda inputs, outputs: sqrt(2 / (inputs + outputs)),
    "kaiming": lambda inputs, outputs: sqrt(2 / inputs),
}


@pytest.mark.parametrize("initialiser", SPREAD)
def test_the_spread_is_that_of_the_formula_within_the_sampling_error(initialiser):
    found = weights(initialiser)
    assert {name for name in found if "weight" in name} == set(FANS)
    for name, fans in FANS.items():
        w, std = found[name], SPREAD[initialiser](*fans)
        assert abs(w.mean()) < 5 * std / sqrt(w.numel())
        assert abs(w.square().mean().sqrt() / std - 1) < 5 / sqrt(2 * w.numel())


def test_xavier_is_normal_and_xavier_uniform_stays_within_its_bound():
    inputs, outputs = FANS["7.weight"]
    std, bound = sqrt(2 / (inputs + outputs)), sqrt(6 / (inputs + outputs))
    normal, uniform = weights("xavier")["7.weight"], weights("xavier-uniform")["7.weight"]
    assert 0.999 * bound < uniform.abs().max() <= bound * 1.000001
    assert normal.abs().max() > 3.5 * std
    assert abs((normal.abs() < std).float().mean() - 0.6827) < 0.02


def test_orthogonal_rows_are_orthonormal():
    for name in ("7.weight", "9.weight", "11.weight"):
        w = weights("orthogonal")[name].double()
        torch.testing.assert_close(w @ w.T, torch.eye(len(w), dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("initialiser", [name for name in INITIALISERS if name != "own"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_biases_are_zero_and_normalisation_keeps_its_ones_and_zeros(initialiser, norm):
    found = weights(initialiser, f"convnet(width=4,depth=2,norm={norm})", (1, 4, 4))
    for name, value in found.items():
        if name.endswith("bias"):
            assert torch.equal(value, torch.zeros_like(value)), name
        elif value.dim() == 1:
            assert torch.equal(value, torch.ones_like(value)), name
        else:
            assert value.abs().min() > 0, name


@pytest.mark.parametrize("spec", ["lenet", "convnet(width=4)", "mlp(width=4)"])
def test_own_is_what_the_module_does_itself_under_the_seed_that_was_drawn(spec):
    network = build(spec, shape=(1, 28, 28), classes=10)
    seed = int(torch.randint(2**62, (), generator=seeded(3)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = nn.utils.parameters_to_vector(network.factory().parameters())
    assert torch.equal(network.init("own", [seeded(3)])[0], expected)


def test_own_has_the_biases_of_torch_and_the_others_do_not():
    assert weights("own")["7.bias"].abs().max() > 0.5 / sqrt(400)
    assert weights("own")["7.weight"].abs().max() <= 1 / sqrt(400) * 1.000001


@pytest.mark.parametrize("initialiser", INITIALISERS)
def test_a_draw_depends_on_its_generator_alone_and_leaves_the_global_one_alone(initialiser):
    network = build("mlp(width=4)", shape=(1, 4, 4), classes=3)
    torch.manual_seed(0)
    first = network.init(initialiser, [seeded(5)])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = network.init(initialiser, [seeded(5)])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again, first)
    assert not torch.equal(network.init(initialiser, [seeded(6)]), first)


def test_a_draw_does_not_reseed_accelerators(monkeypatch):
    def reseeded(seed):
        raise AssertionError("the global generator of an accelerator was seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed", reseeded)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded)
    network = build("mlp(width=4)", shape=(1, 4, 4), classes=3)
    assert network.init("xavier", [seeded(5)]).isfinite().all()


def test_a_generator_moves_on_so_that_two_draws_from_it_differ():
    network, g = build("mlp(width=4)", shape=(1, 4, 4), classes=3), seeded(5)
    first, second = network.init("xavier", [g, g])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("initialiser", ["xavier", "own"])
def test_many_draws_at_once_are_one_by_one(initialiser):
    network = build("convnet(width=4,depth=1)", shape=(1, 4, 4), classes=3)
    together = network.init(initialiser, [seeded(i) for i in range(4)])
    assert together.shape == (4, network.size)
    for i, row in enumerate(together):
        assert torch.equal(row, network.init(initialiser, [seeded(i)])[0])


def test_a_draw_needs_no_gradient_and_is_not_the_memory_of_a_module():
    network = build("mlp(width=4)", shape=(1, 4, 4), classes=3)
    theta = network.init("own", [seeded(0)])
    assert not theta.requires_grad
    theta.zero_()
    assert network.module[1].weight.abs().max() > 0


def test_an_unknown_initialiser_is_refused_with_the_nearest_known_one():
    with pytest.raises(UserError, match="unknown initialiser 'xavir': did you mean 'xavier'"):
        check_initialiser("xavir")
    with pytest.raises(UserError, match="unknown initialiser"):
        draw(lambda: nn.Linear(1, 1), "xavir", seeded(0))
    for name in INITIALISERS:
        check_initialiser(name)
