"""A run in float64, by one process or by those of torchrun: `torchrun --nproc-per-node=2 -m tests.ranks FOLDER`."""

import sys
from pathlib import Path

from datastill import distributed
from datastill.loop import LoopSettings, first_state, optimise
from datastill.methods import State, Task
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.networks import build
from datastill.networks.start import Draws, FromPool, from_parts
from datastill.rng import generator
from datastill.run_state import RunState
from datastill.training import Engine, Unroll

from .toys import toy_data

SETTINGS = LoopSettings(iterations=5, validate_every=2)


ENGINE = Engine(mode="stored", execution="eager", together=1, precision="float64")
METHOD = DatasetDistillation(
    ipc=2, steps=2, epochs=2, real_batch=32, step_size=0.1, unroll=Unroll(networks=4, engine=ENGINE)
)


def run(folder: Path) -> RunState:
    """Five iterations of four networks from a pool of nine."""
    data = toy_data().in_precision(METHOD.dtype)
    network = build("mlp(width=8,depth=1)", shape=data.shape, classes=data.classes)
    pool = network.init("xavier", [generator(0, "a pool", i) for i in range(9)], METHOD.dtype)
    draws = Draws(start=FromPool("a pool"), draw=from_parts(pool, METHOD.networks))
    task = Task(data=data, network=network, draws=draws, seed=3)

    def validate(state: State) -> dict[str, float]:
        return {"mean": float(state.learned["step_sizes"].exp().mean()), "sd": 0.0, "n": 1}

    folder.mkdir(exist_ok=True)
    return optimise(METHOD, task, first_state(METHOD, METHOD.init(task)), SETTINGS, folder, validate=validate)


if __name__ == "__main__":
    with distributed.process_group():
        run(Path(sys.argv[1]))
