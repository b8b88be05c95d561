"""How many images go through a network at once, and that a gradient of a few at a time is that of the whole batch."""

from collections import deque

import pytest
import torch
from torch import nn

from datastill.networks import build
from datastill.networks.functional import Network
from datastill.networks.passes import CACHE, MOST, images_in_one_pass
from datastill.program import PROGRAMS, gradient_of, train_stack
from datastill.training import mean_loss

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("spec", "channels", "height"),
    [
        ("convnet(width=128)", 128, 32),
        ("convnet(width=64,norm=batch)", 64, 32),
        ("convnet(width=32,depth=2,norm=none)", 32, 32),
        ("lenet", 6, 28),
    ],
)
def test_the_largest_output_of_a_layer_decides(spec: str, channels: int, height: int) -> None:
    network = build(spec, shape=(3, 32, 32), classes=10)
    nbytes = 4 * channels * height**2
    assert network.images_in_one_pass(CPU) == min(CACHE // nbytes, MOST["cpu"])


def test_a_gpu_takes_many_and_a_processor_at_least_one() -> None:
    assert images_in_one_pass(2**40, torch.device("cuda")) == MOST["cuda"]
    assert images_in_one_pass(2**40, CPU) == 1


def test_a_piece_is_no_smaller_than_the_weights_to_whose_gradient_it_adds() -> None:
    network = build("mlp(width=2048,depth=3)", shape=(1, 28, 28), classes=10)
    assert network.images_of_training(CPU) == -(-network.size // 2048)


class Together(nn.Module):
    """Outputs that depend on the other images of a batch, without any normalisation layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, images):
        flat = images.flatten(1)
        return self.linear(flat - flat.mean(0))


def test_batches_that_must_stay_whole_are_found() -> None:
    assert build("convnet(width=4,depth=1)", shape=(1, 8, 8), classes=3).separate
    whole = build("convnet(width=4,depth=1,norm=batch)", shape=(1, 8, 8), classes=3)
    assert not whole.separate
    assert [len(each) for each in whole.pieces(torch.zeros(300, 1, 8, 8))] == [300]
    silent = build("convnet(width=4,depth=1,norm=batch)", shape=(1, 8, 8), classes=3)
    torch.nn.init.zeros_([*silent.module.parameters()][-2])
    torch.nn.init.zeros_([*silent.module.parameters()][-1])
    assert not silent.separate  # although every answer is zero
    together = Network(Together, shape=(1, 2, 2), classes=3, name="together")
    assert not together.separate
    assert together.images_of_training(CPU) == 0


@pytest.mark.parametrize("most", [1, 3, 5, 100])
@pytest.mark.parametrize("networks", [1, 2])
def test_a_gradient_of_a_few_images_at_a_time_is_that_of_the_batch(most: int, networks: int) -> None:
    network = build("convnet(width=4,depth=1)", shape=(1, 8, 8), classes=3)
    draws = [torch.Generator().manual_seed(i) for i in range(networks)]
    thetas = network.init("kaiming", draws, torch.float64)
    examples = torch.randn(networks, 7, 1, 8, 8, generator=draws[0], dtype=torch.float64)
    targets = torch.randn(networks, 7, 3, generator=draws[0], dtype=torch.float64).softmax(2)
    whole, few = (gradient_of(mean_loss(network), each)(thetas, examples, targets) for each in (0, most))
    torch.testing.assert_close(few, whole, rtol=1e-12, atol=1e-14)


def test_a_training_in_pieces_ends_where_a_training_at_once_ends() -> None:
    network = build("convnet(width=4,depth=1)", shape=(1, 8, 8), classes=3)
    draw = torch.Generator().manual_seed(0)
    thetas = network.init("kaiming", [draw], torch.float64)
    examples = torch.randn(9, 1, 8, 8, generator=draw, dtype=torch.float64)
    targets, program = torch.arange(9) % 3, PROGRAMS["shuffled-300"]
    loss = mean_loss(network, program.loss)
    once, apart = (
        deque(train_stack(loss, thetas, examples, targets, program, most=most), maxlen=1).pop() for most in (0, 4)
    )
    torch.testing.assert_close(apart, once, rtol=1e-8, atol=1e-10)
    assert (once - thetas).abs().max() > 0.01
