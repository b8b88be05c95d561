"""The rows and cells of the reference table: every method with equal means, and what each is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ..config import Config
from ..data import DataSettings
from ..evaluation import Protocol
from ..loop import LoopSettings
from ..methods import Method
from ..methods.dataset_distillation import DatasetDistillation
from ..methods.distribution_matching import DistributionMatching
from ..methods.gradient_matching import GradientMatching
from ..methods.kernel_ridge import KernelRidge
from ..methods.selection import Average, Herding, KCenter, KMeans, RandomReal, Selection
from ..methods.teacher_crops import TeacherCrops
from ..methods.teacher_inversion import TeacherInversion
from ..methods.trajectory_matching import TrajectoryMatching
from ..networks.start import Random
from ..pretraining import PoolSettings
from ..training import Engine, Unroll

Labels = Literal["hard", "soft", "teacher once", "teacher"]
OWN_PROGRAM = "shuffled-300-adam"
"""The program of sets with hard labels. Methods that learn labels have programs of their own."""
START = Random("kaiming")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Real data and a size of sets: one table."""

    name: str
    """The beginning of the names of the cells."""
    title: str
    data: DataSettings
    ipc: int
    """Images per class."""
    mirror: bool = True
    """Whether images may be mirrored left to right; not digits."""

    @property
    def key(self) -> str:
        """The name with the images per class."""
        return f"{self.name}-{self.ipc}"

    @property
    def augmentation(self) -> Literal["siamese", "siamese-no-flip"]:
        """The augmentation of every training on these images."""
        return "siamese" if self.mirror else "siamese-no-flip"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method and its settings, which are chosen without any test image."""

    name: str
    """The end of the names of the cells."""
    title: str
    labels: Labels
    """The kind of labels: hard, learned (soft), given once by a teacher and stored, or by a teacher at use."""
    method: Method
    network: str = "convnet(width=64)"
    """The network that the set is made with."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    iterations: Mapping[int, int] = field(default_factory=dict)
    """Images per class -> outer iterations, fixed from measured times; empty if nothing is iterated."""
    each: Mapping[int, float] = field(default_factory=dict)
    """Images per class -> processor seconds of an outer iteration on CIFAR-10, as measured."""
    at: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """Images per class -> settings of the method that depend on them."""
    factor: int = 1
    """Parts along each side of a stored image; above 1, examples are parts of stored images, enlarged (decoded)."""
    pool: Literal["", "teacher", "experts"] = ""
    """The networks that are trained on the real data first; the time of this is part of the budget."""

    def fits(self, benchmark: Benchmark) -> bool:
        """Whether the method can make a set of this size: there is only one average image of a class."""
        return benchmark.ipc == 1 or not isinstance(self.method, Average)

    def processor_seconds(self, ipc: int) -> float:
        """Return the expected processor seconds of all outer iterations."""
        return self.iterations.get(ipc, 0) * self.each.get(ipc, 0.0)

    def method_for(self, benchmark: Benchmark, file: str) -> Method:
        """Return the method with its settings for a benchmark; `file` is the pool, empty if it has no place yet."""
        method, known = self.method, {each.name for each in fields(self.method)}  # type: ignore[arg-type]
        sizes = {"ipc": benchmark.ipc, "factor": self.factor}
        changes: dict[str, Any] = {**sizes, "mirror": benchmark.mirror, **self.at.get(benchmark.ipc, {})}
        if self.pool == "teacher":
            changes["teacher_labels"] = replace(method.teacher_labels, teacher=self.teacher(benchmark, file))
        if self.pool == "experts":
            changes["experts"] = file
        return replace(method, **{name: value for name, value in changes.items() if name in known})  # type: ignore[type-var]

    def teacher(self, benchmark: Benchmark, file: str) -> str:
        """Return the teacher in a pool: an early snapshot if it gives labels once, otherwise the trained network."""
        return f"{file}@{SNAPSHOTS[benchmark.ipc]}" if file and self.labels == "teacher once" else file

    def config(self, benchmark: Benchmark, protocol: Protocol, file: str) -> Config:
        """Return the settings of the run that makes the set, which is then measured by the protocol.

        Its only validation, of the last iterate, is cheap and decides nothing.
        """
        loop = self.loop
        if self.iterations:
            count = self.iterations[benchmark.ipc]
            loop = replace(loop, iterations=count, validate_every=count)
        return Config(
            recipe=f"{benchmark.key}-{self.name}",
            data=benchmark.data,
            network=self.network,
            start=START,
            method=self.method_for(benchmark, file),
            loop=loop,
            protocol=protocol,
            validation=Protocol(networks=1),
        )


POOLS: Mapping[str, PoolSettings] = {
    "teacher": PoolSettings(
        network="convnet(width=64,norm=batch)", start=START, count=1, held_out=0, epochs=10, snapshots=10
    ),
    "experts": PoolSettings(
        network="convnet(width=32)",
        start=START,
        count=4,
        held_out=0,
        epochs=5,
        snapshots=5,
        batch=256,
        rate=0.01,
        schedule="constant",
        optimiser="sgd",
    ),
}
"""How teachers and experts are trained; data and augmentation are those of a benchmark."""
POOL_SECONDS = {"teacher": 900.0, "experts": 700.0}
"""Expected processor seconds of these trainings on CIFAR-10."""
SNAPSHOTS = {1: 1, 10: 3}
"""Images per class -> snapshot of the teacher that gives labels once: as early in its training, which has ten
snapshots, as epochs 20 and 44 of the 164 of Qin et al. 2024 (arXiv 2406.10485), so nothing is chosen."""

_UNROLL = Unroll(
    networks=1, window=20, engine=Engine(mode="stored", execution="eager", together=1, precision="float32")
)
_UNROLLED = DatasetDistillation(
    unroll=_UNROLL, optimiser="adam", step_size=0.001, examples_rate=0.05, step_sizes_rate=0.005
)


def _unrolled(name: str, title: str, labels: Labels, method: DatasetDistillation) -> Row:
    return Row(
        name=name,
        title=title,
        labels=labels,
        method=method,
        at={1: {"steps": 1, "epochs": 60}, 10: {"steps": 10, "epochs": 6}},
        iterations={1: 600, 10: 600},
        each={1: 3.3, 10: 3.3},
    )


_SELECTIONS: Mapping[str, tuple[str, type[Selection]]] = {
    "random": ("random real images", RandomReal),
    "average": ("class average", Average),
    "k-means": ("k-means of each class", KMeans),
    "k-center": ("k-center greedy, pixels", KCenter),
    "herding": ("herding, pixels", Herding),
}


def _selections() -> list[Row]:
    """Return a row for each selection with hard labels, and one with labels that a teacher gave once."""
    rows = []
    for name, (title, kind) in _SELECTIONS.items():
        method = kind(program=OWN_PROGRAM)
        rows.append(Row(name=name, title=title, labels="hard", method=method))
        rows.append(Row(name=f"taught-{name}", title=title, labels="teacher once", method=method, pool="teacher"))
    return rows


_MATCHING = Row(
    name="distribution-matching",
    title="distribution matching (DM)",
    labels="hard",
    method=DistributionMatching(examples_rate=10.0),
    iterations={1: 3000, 10: 2700},
    each={1: 0.59, 10: 0.74},
)
_KERNEL = Row(
    name="kernel-ridge",
    title="kernel ridge with a pool (FRePo)",
    labels="soft",
    method=KernelRidge(examples_rate=0.04),
    network="convnet(width=64,depth=2)",
    iterations={1: 6000, 10: 2250},
    each={1: 0.33, 10: 0.94},
)


def _decoded(row: Row, iterations: Mapping[int, int], each: Mapping[int, float]) -> Row:
    """Return a row whose stored images hold four examples."""
    name, title = f"decoded-{row.name}", f"{row.title}, four parts in an image"
    return replace(row, name=name, title=title, factor=2, iterations=iterations, each=each)


ROWS: Sequence[Row] = (
    _unrolled("dataset-distillation", "dataset distillation, 60 steps", "hard", _UNROLLED),
    _unrolled(
        "soft-dataset-distillation", "dataset distillation, 60 steps", "soft", replace(_UNROLLED, labels_rate=0.01)
    ),
    _MATCHING,
    _decoded(_MATCHING, iterations={1: 3000, 10: 1400}, each={1: 0.57, 10: 1.38}),
    Row(
        name="gradient-matching",
        title="gradient matching (DSA)",
        labels="hard",
        method=GradientMatching(),
        at={1: {"turns": 1, "network_epochs": 1}},
        iterations={1: 1800, 10: 550},
        each={1: 1.0, 10: 3.7},
    ),
    _KERNEL,
    _decoded(_KERNEL, iterations={1: 5000, 10: 700}, each={1: 0.4, 10: 3.0}),
    Row(
        name="trajectory-matching",
        title="trajectory matching (MTT)",
        labels="hard",
        method=TrajectoryMatching(steps=30, apart=2, latest=2, batch=25, examples_rate=0.02),
        network="convnet(width=32)",
        iterations={1: 800, 10: 420},
        each={1: 1.6, 10: 3.2},
        pool="experts",
    ),
    Row(
        name="teacher-crops",
        title="whole images that a teacher is sure of (RDED, factor 1)",
        labels="teacher",
        method=TeacherCrops(),
        pool="teacher",
    ),
    Row(
        name="teacher-inversion",
        title="inversion of a teacher (SRe2L)",
        labels="teacher",
        method=TeacherInversion(),
        loop=LoopSettings(betas=(0.5, 0.9)),
        iterations={1: 4000, 10: 4000},
        each={1: 0.03, 10: 0.27},
        pool="teacher",
    ),
    *_selections(),
)  # fmt: skip
"""Every method; `tests/studies/test_reference.py` fails for a new one that is not here."""

MNIST, FASHION, CIFAR10 = (DataSettings(name=name) for name in ("mnist", "fashion_mnist", "cifar10"))
BENCHMARKS: Sequence[Benchmark] = (
    Benchmark(name="mnist", title="MNIST", data=MNIST, ipc=1, mirror=False),
    Benchmark(name="mnist", title="MNIST", data=MNIST, ipc=10, mirror=False),
    Benchmark(name="fashion", title="Fashion-MNIST, on which nothing was chosen", data=FASHION, ipc=10),
    Benchmark(name="cifar10", title="CIFAR-10", data=CIFAR10, ipc=1),
    Benchmark(name="cifar10", title="CIFAR-10", data=CIFAR10, ipc=10),
)
