"""Strided convolutions of one pixel, whose gradient in channels-last ends the process in PyTorch."""

import math
import subprocess
import sys

SHAPE = (1, 4, 4)
CRASHING = """
import torch
from torch import nn
from datastill.networks import Network, build
from datastill.training import Batch, EagerSteps, mean_loss

class Strided(nn.Module):
    def __init__(self):
        super().__init__()
        strided = nn.Conv2d(4, 32, 1, stride=STRIDE)
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), strided, nn.Conv2d(32, 32, 2))
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        return self.out(self.layers(x).mean((2, 3)))

networks = [build("resnet18(width=4)", shape=(1, 8, 8), classes=10)]
for stride in (2, 3, (1, 2)):
    STRIDE = stride
    networks.append(Network(Strided, shape=(1, 8, 8), classes=10, name="strided"))
for network in networks:
    thetas = network.init("xavier", [torch.Generator().manual_seed(0)])
    x = torch.randn(1, 10, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(4):
        gradient, back = EagerSteps(mean_loss(network)).linearise(thetas, Batch(x, torch.arange(10)[None]))
        assert back(gradient)[0].isfinite().all()
print("whole")
"""


def test_strided_convolutions_of_one_pixel_do_not_end_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", CRASHING], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "whole"), done.stderr[-500:]


def test_a_wide_network_without_such_convolutions_keeps_the_faster_layout() -> None:
    from datastill.networks import build

    assert build("resnet18(width=16)", shape=(1, 8, 8), classes=10).wide
    assert not build("resnet18(width=4)", shape=(1, 8, 8), classes=10).wide
    assert math.prod(SHAPE) == 16
