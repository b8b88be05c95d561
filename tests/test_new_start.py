"""A new kind of start is one class: everything that deals with initial weights takes it as it takes ours."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from datastill.artifact import DistilledSet
from datastill.baselines import Beside
from datastill.cli import main
from datastill.config import as_dict, differences, from_dict
from datastill.evaluation import Grid, Protocol, score, verify
from datastill.exporting import export
from datastill.methods.selection import RandomReal
from datastill.networks import Network, build
from datastill.networks.start import KINDS, Draws, Start, parse_start
from datastill.pretraining import PoolSettings, train
from datastill.report import write_report
from datastill.resuming import stored_config
from datastill.rng import generator
from datastill.run import distill
from datastill.storage.records import number

from .toys import toy_config, toy_data

DATA = toy_data()


@dataclass(frozen=True)
class Small(Start):
    """Small normal numbers for all parameters, e.g. small(0.1)."""

    spelling: ClassVar[str] = "small(0.1)"

    kind: Literal["small"] = field(default="small", init=False, repr=False)
    size: Annotated[float, number(0, 1)] = 0.1

    def __str__(self) -> str:
        return f"small({self.size:g})"

    @classmethod
    def spelled(cls, text: str) -> "Small | None":
        return cls(float(text[6:-1])) if text.startswith("small(") else None

    def _drawn(self, network: Network, streams: Sequence[torch.Generator]) -> Tensor:
        return self.size * torch.stack([torch.randn(network.size, generator=stream) for stream in streams])

    def bound(
        self, network: Network, *, seed: int, networks: int = 1, dtype: torch.dtype = torch.float32,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Draws:  # fmt: skip
        def draw(seed: int, iteration: int, which: Sequence[int]) -> Float[Tensor, "networks size"]:
            return self._drawn(network, [generator(seed, "small", iteration, i) for i in which]).to(dtype)

        return Draws(start=self, draw=draw)

    def unseen(
        self, network: Network, *, seed: int, purpose: str, networks: int, stored: Mapping[str, Tensor] | None = None
    ) -> Float[Tensor, "networks size"]:
        return self._drawn(network, [generator(seed, purpose, i) for i in range(networks)])

    made_for = property(lambda self: f"any normal numbers of size {self.size:g}")
    measured = property(lambda self: "fresh normal numbers")
    advice = property(lambda self: "Expect a lower accuracy from larger numbers.")

    def in_full(self, network: str) -> str:
        return f"All parameters are drawn from N(0, {self.size:g}^2)."


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "small", Small)  # type: ignore[arg-type]


def test_a_run_with_it_is_distilled_stored_measured_shown_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = toy_config(start="small(0.3)", protocol=Protocol(networks=2)), tmp_path / "run"
    distill(config, run, data=DATA)
    assert stored_config(run).start == Small(0.3)
    distilled = DistilledSet.load(run / "distilled.safetensors")
    assert (distilled.header.start, distilled.theta_0) == (Small(0.3), None)
    assert distilled.header.score["protocol"]["start"] == {"kind": "small", "size": 0.3}
    assert verify(distilled, DATA)["holds"]
    assert "any normal numbers of size 0.3" in write_report(run).read_text()
    assert main(["show", str(run)]) == 0
    assert "small(0.3): training starts from any normal numbers of size 0.3" in " ".join(
        capsys.readouterr().out.split()
    )
    export(distilled, tmp_path / "png", "png")
    assert "drawn from N(0, 0.3^2)" in (tmp_path / "png" / "README.md").read_text()
    beside = Beside.of(distilled, DATA, tune=Grid(step_sizes=(0.1,), epochs=(1,)))
    assert beside.made(RandomReal()).header.start == Small(0.3)
    assert score(distilled, DATA, Protocol(networks=2, start=Small(0.5))).protocol["start"]["size"] == 0.5


def test_it_is_written_and_read_in_one_way() -> None:
    config = toy_config(start="small(0.3)")
    assert from_dict(as_dict(config)) == config
    assert str(parse_start("small(0.3)")) == "small(0.3)"
    assert differences(config, toy_config()) == ["start: small(0.3) != random(xavier)"]


def test_pools_are_trained_from_it() -> None:
    settings = PoolSettings(network="mlp(width=8,depth=1)", count=2, held_out=0, epochs=1, batch=8, start=Small(0.0))
    network = build(settings.network, shape=DATA.shape, classes=DATA.classes)
    thetas = train(replace(settings, rate=0.0), network, DATA, [0, 1]).kept[-1]
    assert not bool(thetas.any()), "with a rate of nothing, the weights stay where they start"
    assert asdict(settings)["start"] == {"kind": "small", "size": 0.0}


def test_the_command_line_lists_it_and_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "starts"]) == 0
    assert "small(0.1)" in capsys.readouterr().out
    assert main(["distill", "--start", "small(2)"]) == 2
    assert "size is 2" in capsys.readouterr().err
