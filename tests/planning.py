"""Tasks and memory that the tests of plans share."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from datastill.costs import Cost, cost
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.run import prepare
from datastill.training import Engine, Unroll
from datastill.training.engine import Mode
from datastill.trial import Unrolled

from .toys import toy_config, toy_data, unrolled

DATA = toy_data()
METHOD = DatasetDistillation(
    ipc=2, steps=2, epochs=2, real_batch=32, step_size=0.1, coordinates="pixels", unroll=Unroll(networks=3)
)
LONG = 10**9
"""Iterations that take long, however fast each is."""
PLAINEST = Engine(mode="stored", execution="eager", together=3, precision="float32")
GIB = 2**30


def given(
    network: str = "mlp(width=8,depth=1)", method: DatasetDistillation = METHOD, engine: Engine | None = None
) -> Unrolled:
    """An outer iteration of the method, with this engine instead of its own."""
    method = unrolled(method, engine=engine) if engine else method
    return method.trial(prepare(toy_config(network=network, method=method), DATA).task)


def whole(trial: Unrolled, engine: Engine) -> Cost:
    """What a whole iteration takes."""
    return cost(trial.variant(replace(trial.unroll, engine=engine), trial.steps, trial.epochs))


@dataclass(frozen=True)
class Variant:
    """An iteration that does nothing, and knows what it was made for."""

    unroll: Unroll
    steps: int
    epochs: int

    def __call__(self) -> None:
        """Do nothing."""


def branching(*, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network that looks at values, which no trace can follow."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(math.prod(shape), classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(1)
            return self.layer(x if x.sum() > 0 else -x)

    return Branching()


BRANCHING = "tests.planning:branching"


MEMORY: dict[Mode, int] = {"stored": 10 * GIB, "recomputed": GIB}
TIGHT = 2 * GIB
"""Free bytes that one of these modes fits into."""


def costing(memory: dict[Mode, int]) -> Callable[..., dict[Mode, Cost]]:
    """Stands for `costs`: every iteration takes this memory."""
    return lambda *_: {mode: Cost(memory=held, operations=10**9) for mode, held in memory.items()}
