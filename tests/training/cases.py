"""Networks, arguments and comparisons that the tests of steps share."""

import pytest
import torch
from torch import Tensor, nn

from datastill.networks import Network, build
from datastill.networks.resnet import Block
from datastill.training import Batch, EagerSteps, ForwardSteps, OnReal, TracedSteps, mean_loss

from ..problems import SMALL, classify

SMOOTH = "tests.problems:smooth"
KINDS = {"eager": EagerSteps, "forward": ForwardSteps, "traced": TracedSteps}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
SLOW = ("alexcifarnet", "resnet18(width=2)", "resnet18(width=2,norm=instance)")


def close(found, expected, tolerance: float = 1e-10) -> None:
    """Every tensor agrees, relative to its largest entry."""
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance * float(b.abs().max()))


def shape_of(spec: str) -> tuple[int, int, int]:
    return SMALL.get(spec, (1, 4, 4))


def arguments(spec: str, *, networks: int = 2, soft: bool = False, seed: int = 0, batch: int = 2):
    """The inner loss of a network, (weights, batch) of one step, and u."""
    problem = classify(spec, shape_of(spec), networks=networks, soft=soft, seed=seed, batch=batch, steps=1, epochs=1)
    g = torch.Generator().manual_seed(seed + 500)
    x = torch.randn(networks, *problem.examples[0].shape, generator=g, dtype=torch.float64)
    u = torch.randn(problem.thetas.shape, generator=g, dtype=torch.float64)
    return problem.loss, (problem.thetas, shared(x, problem.labels[0])), u


def shared(x: Tensor, labels: Tensor) -> Batch:
    """A batch whose labels are those of every network."""
    return Batch(x, labels.expand(len(x), *labels.shape))


def derivatives(back, u: Tensor) -> list[Tensor]:
    """H u, then the mixed derivatives."""
    hessian_u, mixed = back(u)
    return [hessian_u, *mixed.values()]


def real(spec: str, thetas: Tensor, count: int) -> OnReal:
    """Cross-entropy on so many images for each network."""
    g = torch.Generator().manual_seed(900)
    images = torch.randn(len(thetas), count, *shape_of(spec), generator=g, dtype=thetas.dtype)
    labels = torch.randint(3, (len(thetas), count), generator=g)
    return OnReal(mean_loss(build(spec, shape=shape_of(spec), classes=3)), images, labels)


def block(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """One block of a ResNet, with a convolution on its shortcut."""
    return nn.Sequential(Block(shape[0], 4, 2, "batch"), nn.Flatten(), nn.Linear(shape[1] * shape[2], classes))


class Around(nn.Module):
    """A small network with `middle` between its two layers."""

    def __init__(self, middle) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(16, 6), middle, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.last(self.middle(self.first(x.flatten(1))))


def around(middle, networks: int = 1):
    """The inner loss of a network, (weights, batch) and u, as `arguments`."""
    return of_module(Around(middle), networks)


def of_module(module: nn.Module, networks: int = 1):
    network = Network(lambda: module, shape=(1, 4, 4), classes=3, name="test")
    g = torch.Generator().manual_seed(3)
    thetas, u = 0.5 * torch.randn(2, networks, network.size, generator=g, dtype=torch.float64)
    x = torch.randn(networks, 5, 1, 4, 4, generator=g, dtype=torch.float64)
    return mean_loss(network), (thetas, shared(x, torch.tensor([0, 1, 2, 1, 0]))), u
