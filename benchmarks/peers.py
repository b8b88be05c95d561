"""A truncated unroll of ConvNet-3, with the library and written by hand with `higher`, in turns.

`higher` is no dependency: install it where you measure, with ``pip install higher``.
"""

import statistics

import torch
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy

from datastill.errors import UserError
from datastill.networks import Network, build
from datastill.training import Engine, OnReal, hypergradient, mean_loss

from .speed import Run, seconds

SHAPE, EXAMPLES, REAL = (3, 32, 32), 10, 256
PLAIN, WINDOW, STEP_SIZE, EPSILON = 10, 10, 0.001, 1e-5
ROUNDS = 7
WAYS = {
    f"{execution}, {mode}": Engine(mode=mode, execution=execution, together=1, precision="float32")
    for execution, mode in (("eager", "stored"), ("eager", "recomputed"), ("traced", "stored"), ("compiled", "stored"))
}


def problem(device: torch.device) -> tuple[Network, dict[str, Tensor]]:
    """Make the network and the tensors that all ways compute with."""
    network, draw = build("convnet(width=64)", shape=SHAPE, classes=10).to(device), torch.Generator().manual_seed(0)
    given = {
        "thetas": network.init("xavier", [torch.Generator().manual_seed(1)]),
        "examples": torch.randn(1, EXAMPLES, *SHAPE, generator=draw),
        "labels": torch.arange(EXAMPLES)[None] % 10,
        "images": torch.randn(1, REAL, *SHAPE, generator=draw),
        "truth": torch.randint(10, (1, REAL), generator=draw),
    }
    return network, {name: value.to(device) for name, value in given.items()}


def ours(engine: Engine, device: torch.device) -> Run:
    """Return a function that computes the hypergradient with the library."""
    network, given = problem(device)
    steps, rule = engine.steps(mean_loss(network)), engine.optimiser("adam")
    objective = OnReal(mean_loss(network), given["images"], given["truth"], network.images_of_training(device))
    sizes = torch.full((PLAIN + WINDOW, 1), STEP_SIZE, device=device)

    def once() -> tuple[Tensor, Tensor]:
        found = hypergradient(
            steps, objective, given["thetas"], given["examples"], given["labels"], sizes,
            optimiser=rule, mode=engine.mode, window=range(PLAIN, PLAIN + WINDOW),
        )  # fmt: skip
        return found.objective[0], found.examples[0, 0]

    return once


def with_higher(device: torch.device) -> Run:
    """Return a function that computes it with `higher`: plain steps, then differentiable ones.

    Raises:
        UserError: `higher` is not installed.
    """
    try:
        import higher
    except ImportError as error:
        raise UserError("the part peers needs the library higher; install it with: pip install higher") from error
    network, given = problem(device)
    labels = given["labels"][0]

    def once() -> tuple[Tensor, Tensor]:
        module = network.factory().to(device)
        module.load_state_dict(network.named(given["thetas"][0]))
        optimiser = torch.optim.Adam(module.parameters(), lr=STEP_SIZE, eps=EPSILON)
        examples = given["examples"][0].clone().requires_grad_()
        for _ in range(PLAIN):
            optimiser.zero_grad()
            cross_entropy(module(examples.detach()), labels).backward()
            optimiser.step()
        with higher.innerloop_ctx(module, optimiser) as (functional, differentiable):
            for _ in range(WINDOW):
                differentiable.step(cross_entropy(functional(examples), labels))
            objective = cross_entropy(functional(given["images"][0]), given["truth"][0])
            return objective.detach(), torch.autograd.grad(objective, examples)[0]

    return once


def peers(device: torch.device) -> tuple[list[dict], Table]:
    """Measure all ways and `higher`, in turns; return rows of seconds and a table."""
    runs = {"higher": with_higher(device)} | {way: ours(engine, device) for way, engine in WAYS.items()}
    taken: dict[str, list[float]] = {way: [] for way in runs}
    for count in range(1 + ROUNDS):
        for way, run in runs.items():
            took = seconds(run, device)
            if count:  # the first call compiles
                taken[way].append(took)
    medians = {way: statistics.median(times) for way, times in taken.items()}
    reference = medians["higher"]
    rows = [{"way": way, "median": median, "times_higher": reference / median} for way, median in medians.items()]
    table = Table(title=f"ConvNet-3 of width 64, Adam inside, {PLAIN} plain steps, a window of {WINDOW}, one network")
    for column in ("way", "seconds", "times as fast as higher"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for row in rows:
        table.add_row(row["way"], f"{row['median']:.3f}", f"{row['times_higher']:.2f}")
    return rows, table
