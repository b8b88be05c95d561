"""What methods share that learn equally many examples of each class, one class after the other."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import at_least
from ..program import PROGRAMS, ShuffledName, suited
from ..storage.records import must_have_types
from ..synthetic import StartFrom, SyntheticData, basis, must_start, start_labels
from .base import Method, Mirror, State, Task


@dataclass(frozen=True, kw_only=True)
class InClassOrder(Method):
    """Learned examples in class order, trained on by a named program.

    As it is, a method learns the one tensor ``examples`` in normalised pixels, and its labels are classes. A method
    that learns more, or in other coordinates, replaces `init` and `result`.
    """

    ipc: int = 10
    """Images per class, as they are stored."""
    factor: int = 1
    """Parts along each side of a stored image. 1: a stored image is an example. 2: it holds 4 examples of half the
    height and width, which are enlarged before use (IDC, arXiv 2205.14959); ipc then counts stored images."""
    start_from: StartFrom = "real"
    """How the examples start: as real images, or as noise from N(0, 1)."""
    mirror: Mirror = True
    """mirror: images may be mirrored left to right, while the set is learned and at use. no-mirror, for digits and
    letters: they are not."""
    program: ShuffledName = "shuffled-300-adam"
    """How networks are trained on the finished set (datastill list programs)."""

    def __post_init__(self) -> None:
        must_have_types(self)
        at_least("ipc", self.ipc, 1)
        at_least("factor", self.factor, 1)

    def check(self, task: Task) -> None:
        """Raise a `UserError` if the examples cannot start as the settings say."""
        must_start(task.data, ipc=self.ipc, steps=1, start=self.start_from, factor=self.factor)

    def first(self, task: Task) -> Float[Tensor, "n *part"]:
        """Return the examples to start from, or the parts that they are enlarged from."""
        return task.first_examples(ipc=self.ipc, start=self.start_from, factor=self.factor)[0]

    def classes(self, task: Task) -> Int64[Tensor, " n"]:
        """Return the class of each example."""
        return start_labels(task.data, ipc=self.ipc, steps=1, factor=self.factor)[0]

    def init(self, task: Task) -> State:
        """Return the examples, or the parts that they are enlarged from."""
        return State(learned={"examples": self.first(task)})

    def result(self, task: Task, state: State) -> SyntheticData:
        """Return the examples with hard labels and the program."""
        return SyntheticData(
            **basis(task.data, "pixels", self.factor).made(state.learned["examples"]),
            targets=self.classes(task),
            program=suited(PROGRAMS[self.program], task.data.shape, mirror=self.mirror),
        )
