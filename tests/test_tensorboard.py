"""Event files of a run: what its log says, with step sizes and examples, once each; one line without TensorBoard."""

import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from datastill import tensorboard
from datastill.cli import main
from datastill.loop import Stopped
from datastill.run import distill
from datastill.runlog import read_lines
from datastill.tensorboard import Events, event_files
from datastill.training import Engine

from .test_run import stopping
from .toys import toy_config, toy_data, toy_set

DATA = toy_data()
CONFIG = toy_config(engine=Engine(mode="stored", execution="eager", together=1, precision="float32"))


class Writer:
    """Keeps what would be written, as (tag, iteration, value), for each folder."""

    written: ClassVar[dict[str, list[tuple[str, int, Any]]]] = {}

    def __init__(self, folder: str) -> None:
        self._mine = self.written.setdefault(folder, [])
        Path(folder).mkdir(exist_ok=True)

    def add_scalar(self, tag: str, value: float, iteration: int) -> None:
        self._mine.append((tag, iteration, value))

    def add_image(self, tag: str, value: np.ndarray, iteration: int, *, dataformats: str) -> None:
        assert (value.dtype, value.ndim, dataformats) == (np.uint8, 3, "HWC")
        self._mine.append((tag, iteration, value))

    def flush(self) -> None: ...

    close = flush


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, int, Any]]]:
    monkeypatch.setattr(Writer, "written", {})
    monkeypatch.setattr(tensorboard, "_writer_class", lambda: Writer)
    return Writer.written


def test_event_files_hold_the_log_and_the_examples_at_each_validation(tmp_path: Path, written: dict) -> None:
    with event_files():
        made = distill(CONFIG, tmp_path / "run", data=DATA)
    events = written[str(tmp_path / "run" / "tensorboard")]
    log = read_lines(tmp_path / "run" / "metrics.jsonl")
    by_tag = {tag: [(at, value) for each, at, value in events if each == tag] for tag, _, _ in events}
    assert by_tag["objective"] == [(each["iteration"], each["objective"]) for each in log if "objective" in each]
    validated = [(each["iteration"], each["validation"]["mean"]) for each in log if "validation" in each]
    assert by_tag["accuracy/validation"] == validated
    kept = made.header.provenance["kept_iteration"]
    assert dict(by_tag["step size/largest"])[kept] == pytest.approx(float(made.step_sizes.max()))
    assert [at for at, _ in by_tag["examples"]] == [at for at, _ in validated]


def test_a_resumed_run_goes_on_with_its_event_files(
    tmp_path: Path, written: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the files were there from the beginning, or are asked for when the run is resumed."""
    for name, early in (("early", True), ("late", False)):
        folder = tmp_path / name
        with monkeypatch.context() as patch, event_files(early):
            stopping(patch, 3)
            with pytest.raises(Stopped):
                distill(CONFIG, folder, data=DATA)
        assert (folder / "tensorboard").exists() == early, "outside of the block there are none"
        with event_files():
            distill(CONFIG, folder, data=DATA, resume=True)
        objectives = [at for tag, at, _ in written[str(folder / "tensorboard")] if tag == "objective"]
        assert objectives == [1, 2, 3, 4, 5, 6]


def test_without_tensorboard_one_line_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for command in (["distill", "digits"], ["study", "steps"]):
        assert main([*command, "--tensorboard", "--out", str(tmp_path / "run")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith("install it with: pip install tensorboard")
    assert not (tmp_path / "run").exists()


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 1, "objective": 2.5, "gradient_norm": {"examples": 0.5}}\n')
    events = Events(tmp_path)
    events.record({"iteration": 2, "validation": {"mean": 0.75, "sd": 0.0, "n": 1}})
    events.examples(toy_set(DATA), 2)
    events.close()
    read = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    last = {tag: (each.step, each.value) for tag in read.Tags()["scalars"] for each in read.Scalars(tag)}
    sizes = {f"step size/{name}": (2, 0.5) for name in ("smallest", "mean", "largest")}
    assert last == {"objective": (1, 2.5), "gradient norm/examples": (1, 0.5), "accuracy/validation": (2, 0.75)} | sizes
    (image,) = read.Images("examples")
    assert (image.step, image.width > 100) == (2, True)
