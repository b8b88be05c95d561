"""A run in float64, by one process or by those of torchrun: `torchrun --nproc-per-node=2 -m tests.ranks FOLDER`."""

import sys
from dataclasses import replace
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
SHUFFLED = replace(
    METHOD,
    steps=1,
    batch=4,
    augment="siamese",
    augment_real="own",
    labels_rate=0.1,
    unroll=Unroll(networks=4, window=2, growth=3, engine=ENGINE),
)
METHODS = {"ordered": METHOD, "shuffled": SHUFFLED}


def run(method: DatasetDistillation, folder: Path) -> RunState:
    """Five iterations of four networks from a pool of nine."""
    data = toy_data().in_precision(method.dtype)
    network = build("mlp(width=8,depth=1)", shape=data.shape, classes=data.classes)
    pool = network.init("xavier", [generator(0, "a pool", i) for i in range(9)], method.dtype)
    draws = Draws(start=FromPool("a pool"), draw=from_parts(pool, method.networks))
    task = Task(data=data, network=network, draws=draws, seed=3)

    def validate(state: State) -> dict[str, float]:
        return {"mean": float(state.learned["step_sizes"].exp().mean()), "sd": 0.0, "n": 1}

    folder.mkdir(exist_ok=True, parents=True)
    return optimise(method, task, first_state(method, method.init(task)), SETTINGS, folder, validate=validate)


if __name__ == "__main__":
    with distributed.process_group():
        for name, method in METHODS.items():
            run(method, Path(sys.argv[1]) / name)
