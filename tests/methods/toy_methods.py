"""Three small methods, each with something that others do not have: carried state, no iterations, soft targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import cross_entropy, one_hot

from datastill import distributed
from datastill.errors import UserError
from datastill.methods import Method, OuterRate, State, SyntheticData, Task, Update
from datastill.program import Ordered, Program, Shuffled
from datastill.rng import generator


def one_step(size: float = 0.1) -> Program:
    """One gradient step on all examples."""
    return Program(order=Ordered(step_sizes=torch.full((1, 1), size)))


@dataclass(frozen=True, kw_only=True)
class Wandering(Method):
    """With state: examples follow class means of real batches that are themselves averaged from batch to batch."""

    name: ClassVar[str] = "wandering"
    version: ClassVar[int] = 3

    real_batch: int = 32
    """Real images in an outer iteration."""
    rate: float = 0.1
    """Outer learning rate, of gradient descent."""

    def init(self, task: Task) -> State:
        means = torch.zeros(task.data.classes, *task.data.shape)
        return State(learned={"examples": means}, carried={"means": means, "seen": [{"batches": 0}]})

    def rates(self) -> Mapping[str, OuterRate]:
        return {"examples": OuterRate(rate=self.rate, rule="sgd", momentum=0.5, average=False)}

    def step(self, task: Task, state: State, iteration: int) -> Update:
        images, labels = task.data.batch(generator(task.seed, "real batch", iteration), self.real_batch)
        member = one_hot(labels, task.data.classes).to(images)
        found = torch.einsum("bk,bchw->kchw", member / member.sum(0).clamp(min=1), images)
        means = 0.9 * state.carried["means"] + 0.1 * found
        difference = state.learned["examples"] - means
        (seen,) = state.carried["seen"]
        return Update(
            objective=float(difference.square().mean()) + 1e-9,
            gradients={"examples": difference[None]},
            carried={"means": means, "seen": [{"batches": seen["batches"] + 1}]},
        )

    def result(self, task: Task, state: State) -> SyntheticData:
        return SyntheticData(
            inputs=state.learned["examples"] + 0 * state.carried["means"],
            targets=torch.arange(task.data.classes),
            program=one_step(),
        )


@dataclass(frozen=True, kw_only=True)
class Chosen(Method):
    """Without iterations: real images, drawn at random."""

    name: ClassVar[str] = "chosen"

    ipc: int = 2
    """Images per class."""

    def check(self, task: Task) -> None:
        try:
            task.data.must_have(self.ipc)
        except UserError as error:
            raise UserError(f"ipc is {self.ipc}: {error}") from error

    def init(self, task: Task) -> State:
        chosen = task.data.by_class(self.ipc, generator(task.seed, "images")).flatten()
        return State(learned={}, carried={"chosen": chosen})

    def rates(self) -> Mapping[str, OuterRate]:
        return {}

    def result(self, task: Task, state: State) -> SyntheticData:
        chosen = state.carried["chosen"]
        return SyntheticData(
            inputs=task.data.normalise(task.data.train.images[chosen]),
            targets=task.data.train.labels[chosen],
            program=one_step(),
        )


@dataclass(frozen=True, kw_only=True)
class Teaching(Method):
    """With soft targets: real images keep their places, and learn the answers of a network that sees the labels."""

    name: ClassVar[str] = "teaching"

    networks: int = 2
    """Networks in an outer iteration."""
    rate: float = 0.1
    """Outer learning rate of the labels."""

    def init(self, task: Task) -> State:
        chosen = task.data.by_class(1, generator(task.seed, "images")).flatten()
        inputs = task.data.normalise(task.data.train.images[chosen])
        return State(learned={"labels": torch.zeros(task.data.classes, task.data.classes), "inputs": inputs})

    def rates(self) -> Mapping[str, OuterRate]:
        return {"labels": OuterRate(rate=self.rate)}

    def step(self, task: Task, state: State, iteration: int) -> Update:
        thetas = task.draws(task.seed, iteration, distributed.rank_slice(self.networks))
        shift = task.network.apply_many(thetas, state.learned["inputs"].expand(len(thetas), *[-1] * 4)).detach()
        labels = state.learned["labels"].expand(len(thetas), -1, -1).clone().requires_grad_()
        truth = torch.arange(task.data.classes).expand(len(thetas), -1)
        losses = cross_entropy((labels + shift).transpose(1, 2), truth, reduction="none").mean(1)
        (gradient,) = torch.autograd.grad(losses.sum(), labels)
        return Update(objective=float(losses.detach().mean()), gradients={"labels": gradient})

    def result(self, task: Task, state: State) -> SyntheticData:
        return SyntheticData(
            inputs=state.learned["inputs"], targets=state.learned["labels"].softmax(-1), program=one_step()
        )


@dataclass(frozen=True, kw_only=True)
class TeachingShuffled(Teaching):
    """The same, used by shuffled batches."""

    name: ClassVar[str] = "teaching-shuffled"

    def result(self, task: Task, state: State) -> SyntheticData:
        found = super().result(task, state)
        order = Shuffled(epochs=2, batch=2, step_size=0.1, schedule="constant")
        return SyntheticData(inputs=found.inputs, targets=found.targets, program=Program(order=order))


TOYS: tuple[type[Method], ...] = (Wandering, Chosen, Teaching)
