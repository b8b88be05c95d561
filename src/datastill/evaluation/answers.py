"""The classes that trained networks answer for real images."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad

from ..artifact import DistilledSet
from ..data import Split
from ..data.on_disk import OnDisk
from ..data.real import PIECE
from ..networks import Network
from ..space import Whitened
from ..training.traced import traced

COMPILE_FROM = 500_000
"""Images times networks from which compiling the forward pass on CPU, which takes about ten seconds, saves time."""

NO_ANSWER = -1
"""The answer of a network that has no finite output for an example: it counts as wrong, whatever the class is."""


class Answers:
    """The classes that trained networks answer for a split of real data.

    Args:
        network: the architecture of the networks.
        distilled: the set they were trained on. It normalises images; statistics of batch normalisation come from it.
        real: the split.
        networks: how many networks will be measured; for many, the forward pass is compiled if there is a compiler.
    """

    def __init__(self, network: Network, distilled: DistilledSet, real: Split, networks: int = 1) -> None:
        self.network, self.distilled = network, distilled
        self.images, self._normalise = real.images, distilled.normalise
        if isinstance(distilled.header.space, Whitened) and isinstance(self.images, Tensor):
            # a product of matrices for each image: once, and not for each network
            self.images = torch.cat([distilled.normalise(piece) for piece in self.images.split(PIECE)])
            self._normalise = lambda images: images
        self.batch = network.images_in_one_pass(real.images.device)
        self._compiled = None
        if real.images.device.type == "cpu" and networks * len(real) >= COMPILE_FROM and not network.has_statistics:
            self._compiled = self._compile()

    @torch.no_grad()
    def __call__(self, theta: Float[Tensor, " size"]) -> Int64[Tensor, " n"]:
        """Return the classes that one trained network, given by its weights, answers for the images of the split.

        A network whose training diverged answers `NO_ANSWER`.
        """
        return answers(self._classifier(theta), self.images, self.batch)

    def _classifier(self, theta: Tensor) -> Callable[[Tensor], Int64[Tensor, " b"]]:
        if (compiled := self._compiled) is None:
            predict = self.network.predictor(theta, self.distilled.inputs.to(theta))
            return lambda images: answered(predict(self._normalise(images)))

        def classify(images: Tensor) -> Tensor:
            # the compiled code takes only this batch size
            whole = pad(images, (0,) * (2 * images.dim() - 1) + (self.batch - len(images),))
            return compiled(theta, whole)[: len(images)]

        return classify

    def each(self, thetas: Iterable[Float[Tensor, " size"]]) -> Iterator[Int64[Tensor, " n"]]:
        """Yield the answers of each network, in the given order.

        If compiled, each network is measured on one thread and several run in parallel, while the caller trains the
        next ones. Splitting one small network over two threads would waste half of them.
        """
        workers = torch.get_num_threads()
        if self._compiled is None or workers == 1:
            yield from map(self, thetas)
            return
        with one_thread(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            waiting: deque[Future[Tensor]] = deque()
            for theta in thetas:
                waiting.append(pool.submit(self, theta))
                while waiting and waiting[0].done():
                    yield waiting.popleft().result()
            yield from (future.result() for future in waiting)

    def _compile(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        def classes(theta: Tensor, images: Tensor) -> Int64[Tensor, " b"]:
            return answered(self.network.apply(theta, self._normalise(images)))

        arguments = torch.zeros(self.network.size), self.images[: self.batch]
        try:
            with torch.no_grad(), one_thread():  # compiled for the number of threads that `each` uses
                # Traced first, the code reads no module: training changes modules meanwhile, in another thread.
                compiled = torch.compile(traced(classes, *arguments), dynamic=False)
                compiled(*arguments)
        except Exception:  # no compiler, or a network that it cannot compile: without it, measuring is only slower
            return None
        return compiled


def answered(outputs: Float[Tensor, "b classes"]) -> Int64[Tensor, " b"]:
    """Return the class with the largest output for each example; `NO_ANSWER` if an output is not a finite number."""
    return outputs.argmax(1).where(outputs.isfinite().all(1), NO_ANSWER)


def answers(
    classify: Callable[[Tensor], Int64[Tensor, " b"]], images: Tensor | OnDisk, batch: int
) -> Int64[Tensor, " n"]:
    """Return the classes that a classifier answers for images, with `batch` of them in each forward pass."""
    return torch.cat([classify(piece) for piece in images.split(batch)])


@contextmanager
def one_thread() -> Iterator[None]:
    """Make operations that this thread starts run on one thread only, inside this context."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
