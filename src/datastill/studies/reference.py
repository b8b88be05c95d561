"""The reference table: every method and every selection, under one budget and one evaluation, with what was published.

Each cell is a part. A cell that is stopped goes on from the folder of its run, and measures no score twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from ..artifact import DistilledSet
from ..config import Config, as_dict, differences, from_dict
from ..data import DataSettings, RealData, load_data
from ..device import pick_device
from ..errors import UserError
from ..evaluation import Protocol
from ..evaluation.teacher import with_teacher
from ..making import make
from ..methods.selection import RandomReal
from ..migration import pool_settings as read_pool_settings
from ..networks.pool import Pool
from ..pretraining import PoolSettings, pretrain
from ..resuming import SET
from ..storage.files import as_read
from .base import Part, Records, Study
from .reference_cells import MADE, contents, kept, make_set, measured, own_score
from .reference_rows import BENCHMARKS, OWN_PROGRAM, POOL_SECONDS, POOLS, ROWS, START, Benchmark, Row
from .reference_text import introduction, table

SPEED = 1.8
"""How many processor seconds two CPU cores give in a second, about."""
STEP_SECONDS, ANSWER_SECONDS = 0.006, 0.0021
"""Processor seconds for one image in a gradient step, and in a prediction, of a ConvNet of width 128 on CIFAR-10."""
OTHER_SECONDS = 90.0
"""Processor seconds of a cell for reading data, for the other network and its curve, and for the page."""
EPOCHS, TEST_IMAGES, REAL_IMAGES = 300, 10_000, 50_000
ALL_DATA = "all-data"
"""The end of the name of the part in which networks are trained on all real images."""


@dataclass(frozen=True, kw_only=True)
class Reference(Study):
    """A study of every method on several benchmarks; each set is measured by two programs and on another network."""

    may_lack_parts: ClassVar[bool] = True
    name: str = "reference"
    title: str = "Every method in one table"
    benchmarks: Sequence[Benchmark] = BENCHMARKS
    rows: Sequence[Row] = ROWS
    pools: Mapping[str, PoolSettings] = field(default_factory=lambda: POOLS)
    """How teachers and experts are trained; data and augmentation are those of a benchmark."""
    networks: int = 5
    """Number of unseen networks that measure each set in each column."""
    network: str = "convnet"
    """Architecture that sets are measured with."""
    unseen: str = "lenet"
    """Architecture that no set was made with, which sets are measured with too."""
    full_epochs: int = 2
    """Passes over all real images in the row of all data, which has one network."""

    def settings(self) -> dict[str, Any]:
        """Return what is common to all parts; each part holds the settings of its own."""
        return {"networks": self.networks, "network": self.network, "unseen": self.unseen}

    @cached_property
    def cells(self) -> dict[str, tuple[Benchmark, Row]]:
        """The benchmark and the row of each cell, by the names of their parts."""
        pairs = [(benchmark, row) for benchmark in self.benchmarks for row in self.rows if row.fits(benchmark)]
        return {f"{benchmark.key}-{row.name}": (benchmark, row) for benchmark, row in pairs}

    @cached_property
    def _sources(self) -> dict[str, Benchmark]:
        """A benchmark of each data, by the names of the parts of all data."""
        return {f"{benchmark.name}-{ALL_DATA}": benchmark for benchmark in self.benchmarks}

    @cached_property
    def _trained(self) -> dict[str, tuple[Benchmark, str]]:
        """A benchmark and the kind of each pool, by the names of their parts."""
        kinds = dict.fromkeys(row.pool for row in self.rows if row.pool)
        return {f"{each.name}-{kind}": (each, kind) for each in self._sources.values() for kind in kinds}

    def parts(self) -> list[Part]:
        """Return a part for each pool, for each cell, and for the training on all data."""
        costs = (
            {name: (self._pool, POOL_SECONDS[kind] / SPEED) for name, (_, kind) in self._trained.items()}
            | {name: (self._cell, self._seconds(*cell)) for name, cell in self.cells.items()}
            | dict.fromkeys(self._sources, (self._whole, self._whole_seconds()))
        )
        return [
            Part(name=name, seconds=seconds, measure=partial(measure, name))
            for name, (measure, seconds) in costs.items()
        ]

    def _seconds(self, benchmark: Benchmark, row: Row) -> float:
        training = EPOCHS * 10 * benchmark.ipc * row.factor**2 * STEP_SECONDS
        evaluation = 2 * self.networks * (training + TEST_IMAGES * ANSWER_SECONDS)
        return (row.processor_seconds(benchmark.ipc) + evaluation + OTHER_SECONDS) / SPEED

    def _whole_seconds(self) -> float:
        return 2 * (self.full_epochs * REAL_IMAGES * STEP_SECONDS + TEST_IMAGES * ANSWER_SECONDS) / SPEED

    def _protocols(self, benchmark: Benchmark) -> tuple[dict[str, Protocol], Protocol]:
        """Return how sets are measured by each program, and with the other network by the first of these programs."""
        own = Protocol(networks=self.networks, network=self.network)
        common = replace(own, program="shuffled-300", augmentation=benchmark.augmentation)
        return {"shuffled-300": common, "own": own}, replace(common, network=self.unseen)

    def _config(self, benchmark: Benchmark, row: Row, file: str = "") -> Config:
        """Return the settings of a cell; `file` is its pool."""
        return row.config(benchmark, self._protocols(benchmark)[1], file)

    def _config_of_all(self, benchmark: Benchmark) -> Config:
        """Return the settings of a small set, in which all real images then replace its own."""
        common = self._protocols(benchmark)[0]["shuffled-300"]
        return Config(
            recipe=f"{benchmark.name}-{ALL_DATA}",
            data=benchmark.data,
            network=self.network,
            start=START,
            method=RandomReal(ipc=1, program=OWN_PROGRAM, mirror=benchmark.mirror),
            protocol=replace(common, networks=1, epochs=self.full_epochs),
        )

    def _pool_settings(self, kind: str, benchmark: Benchmark) -> PoolSettings:
        return replace(self.pools[kind], data=benchmark.data, augmentation=benchmark.augmentation)

    @cached_property
    def _expected(self) -> dict[str, tuple[Config | None, PoolSettings | None]]:
        """The settings of the run and of the pool of each part, by its name; the place of the pool is left open."""
        found: dict[str, tuple[Config | None, PoolSettings | None]] = {}
        for name, (each, kind) in self._trained.items():
            found[name] = None, self._pool_settings(kind, each)
        for name, (each, row) in self.cells.items():
            found[name] = self._config(each, row), self._pool_settings(row.pool, each) if row.pool else None
        for name, each in self._sources.items():
            found[name] = self._config_of_all(each), None
        return found

    def _about(self, name: str) -> dict[str, Any]:
        """Return the settings of a part as plain values, which it holds."""
        config, pool = self._expected[name]
        about = {"config": as_dict(config)} if config else {}
        return about | ({"pool": as_read(asdict(pool))} if pool else {})

    def check(self, records: Records) -> None:
        """Raise a `UserError` if a part was measured with other settings of its run or its pool."""
        for name, record in records.items():
            config, pool = self._expected[name]
            changed = differences(from_dict(record.get("config"), trust=False), config) if config else []
            if pool and read_pool_settings(record.get("pool")) != as_read(asdict(pool)):
                changed.append("other networks are trained first")
            if changed:
                raise UserError(
                    f"the part {name} was measured with other settings ({'; '.join(changed)}); delete "
                    f"parts/{name}.json and work/{name} in the folder of the study to measure it again, or give "
                    "another folder with --out"
                )

    @cached_property
    def _loaded(self) -> dict[DataSettings, RealData]:
        return {}

    def _data(self, benchmark: Benchmark) -> RealData:
        if benchmark.data not in self._loaded:
            self._loaded.clear()  # all data at once would fill the memory
            self._loaded[benchmark.data] = load_data(benchmark.data).to(pick_device("auto"))
        return self._loaded[benchmark.data]

    def _trained_pool(self, kind: str, benchmark: Benchmark, folder: Path) -> tuple[Path, Pool]:
        """Return the file of the pool that the cells of some data share, and the pool; it is trained if it is missing.

        Args:
            kind: the kind of the pool.
            benchmark: the data.
            folder: the folder of a part; the pool is beside it.
        """
        path = folder.parent / f"{benchmark.name}-{kind}.safetensors"
        return path, pretrain(self._pool_settings(kind, benchmark), self._data(benchmark), path)

    def _pool(self, name: str, folder: Path) -> dict[str, Any]:
        benchmark, kind = self._trained[name]
        _, pool = self._trained_pool(kind, benchmark, folder)
        about = {key: pool.header[key] for key in ("seconds", "accuracies", "along")}
        return self._about(name) | about | {"sha256": pool.sha256}

    def _cell(self, name: str, folder: Path) -> dict[str, Any]:
        (benchmark, row), file, cost = self.cells[name], "", {}
        if row.pool:
            path, pool = self._trained_pool(row.pool, benchmark, folder)
            file, cost = str(path), {"pool_seconds": pool.header["seconds"]}
        config, data, run = self._config(benchmark, row, file), self._data(benchmark), folder / "run"
        made = kept(folder / "made.json", lambda: make_set(config, data, run), MADE)
        distilled = with_teacher(DistilledSet.load(run / SET), row.teacher(benchmark, file))
        scores = [*measured(distilled, data, self._protocols(benchmark)[0], folder), own_score(distilled)]
        return self._about(name) | cost | made | contents(distilled) | {"scores": scores}

    def _whole(self, name: str, folder: Path) -> dict[str, Any]:
        benchmark = self._sources[name]
        config, data = self._config_of_all(benchmark), self._data(benchmark)
        images, labels = data.normalise(data.train.tensor).cpu(), data.train.labels.cpu()
        whole = replace(make(config, data), inputs=images, targets=labels)
        few = {
            column: replace(each, networks=1, epochs=self.full_epochs)
            for column, each in self._protocols(benchmark)[0].items()
        }
        return self._about(name) | contents(whole) | {"scores": measured(whole, data, few, folder)}

    def text(self, records: Records) -> str:
        """Write what was equal, and a table for each benchmark."""
        about = introduction(records, parts=len(self.parts()), networks=self.networks, full_epochs=self.full_epochs)
        tables = [
            table(
                benchmark,
                [row for row in self.rows if row.fits(benchmark)],
                {row.name: records.get(f"{benchmark.key}-{row.name}") for row in self.rows},
                records.get(f"{benchmark.name}-{ALL_DATA}"),
                other=self.unseen,
            )
            for benchmark in self.benchmarks
        ]
        return "\n\n".join([f"## {self.title}", about, *tables, f"Made by `datastill study {self.name}`."]) + "\n"
