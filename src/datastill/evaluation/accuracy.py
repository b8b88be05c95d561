"""Accuracy of one network after another on the same real images."""

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
from ..networks import Network
from ..training.traced import traced

BATCH = {"cpu": 100, "cuda": 1000}
"""Real images in one forward pass; on CPU they stay in the cache."""
COMPILES_FROM = 500_000
"""Images to be classified, by all networks together, from which compiling on CPU (some ten seconds) pays."""


class Accuracy:
    """Share of a split that trained networks get right.

    Args:
        network: whose weights will be given.
        distilled: what they were trained on; it normalises images, and batch statistics are measured on it.
        real: the split.
        networks: how many will be measured; for many the forward pass is compiled, where there is a compiler.
    """

    def __init__(self, network: Network, distilled: DistilledSet, real: Split, networks: int = 1) -> None:
        self.network, self.distilled, self.real = network, distilled, real
        self.batch = BATCH.get(real.images.device.type, 1000)
        self._compiled = None
        if real.images.device.type == "cpu" and networks * len(real) >= COMPILES_FROM and not network.has_statistics:
            self._compiled = self._compile()

    @torch.no_grad()
    def __call__(self, theta: Float[Tensor, " size"]) -> float:
        """The share that one trained network gets right."""
        return share_right(self._classifier(theta), self.real, self.batch)

    def _classifier(self, theta: Tensor) -> Callable[[Tensor], Int64[Tensor, " b"]]:
        if (compiled := self._compiled) is None:
            predict = self.network.predictor(theta, self.distilled.examples.flatten(0, 1).to(theta))
            return lambda images: predict(self.distilled.normalise(images)).argmax(1)

        def classify(images: Tensor) -> Tensor:
            whole = pad(images, (0,) * 7 + (self.batch - len(images),))  # it takes batches of this size only
            return compiled(theta, whole)[: len(images)]

        return classify

    def each(self, thetas: Iterable[Float[Tensor, " size"]]) -> Iterator[float]:
        """The share that each network gets right, in their order.

        Compiled, a network runs on one thread and others beside it, while the next ones are trained by whoever gives
        them: sharing out one small network's layers wastes half of two cores.
        """
        workers = torch.get_num_threads()
        if self._compiled is None or workers == 1:
            yield from map(self, thetas)
            return
        with one_thread(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            waiting: deque[Future[float]] = deque()
            for theta in thetas:
                waiting.append(pool.submit(self, theta))
                while waiting and waiting[0].done():
                    yield waiting.popleft().result()
            yield from (future.result() for future in waiting)

    def _compile(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        def classes(theta: Tensor, images: Tensor) -> Int64[Tensor, " b"]:
            return self.network.apply(theta, self.distilled.normalise(images)).argmax(1)

        arguments = torch.zeros(self.network.size), self.real.images[: self.batch]
        try:
            with torch.no_grad(), one_thread():  # which the code is made for
                # traced first: what is compiled then looks at no module, which training changes in another thread
                compiled = torch.compile(traced(classes, *arguments), dynamic=False)
                compiled(*arguments)
        except Exception:  # no compiler, or a network that it cannot take: the plain way is right, only slower
            return None
        return compiled


def share_right(classify: Callable[[Tensor], Int64[Tensor, " b"]], real: Split, batch: int) -> float:
    """Share of a split that gets its label, so many images at a time."""
    pieces = zip(real.images.split(batch), real.labels.split(batch), strict=True)
    return sum(int((classify(images) == labels).sum()) for images, labels in pieces) / len(real)


@contextmanager
def one_thread() -> Iterator[None]:
    """Operations that are begun in this thread stay in it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
