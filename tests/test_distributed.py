"""Several processes give what one gives, and none that is lost takes anything with it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from datastill import DistilledSet, distributed
from datastill.cli import main
from datastill.config import Config
from datastill.data import load_data
from datastill.errors import UserError
from datastill.evaluation import Protocol, score
from datastill.making import make
from datastill.methods.selection import RandomReal
from datastill.networks.pool import Pool
from datastill.objectives import Misread
from datastill.run_state import load, save
from datastill.runlog import read_lines

from .ranks import METHODS, SETTINGS, run
from .test_run import stopping
from .toys import PLAIN_ENGINE

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2")
DIGITS = ["digits", "--method.networks=2", "--method.epochs=2", "--loop.iterations=4", "--loop.validate-every=2",
          "--loop.average=0", "--random-sets=0", "--protocol.networks=5", *PLAIN_ENGINE]  # fmt: skip


def free_port() -> int:
    """A port that nothing uses now: two suites may run on one machine."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def started(*words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [*TORCHRUN, f"--master-port={free_port()}", *words]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip


def together(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of two processes that are started as torchrun starts them."""
    given = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "a test",
    }
    ranks = [
        subprocess.Popen(
            [sys.executable, *words], env=os.environ | given | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent,
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=120) for process in ranks]
    outputs, errors = ("".join(texts) for texts in zip(*told, strict=True))
    return max(process.returncode for process in ranks), outputs, errors


def same(one: Sequence[float], other: Sequence[float], tolerance: float) -> bool:
    return len(one) == len(other) and all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def test_one_process_shares_with_nobody() -> None:
    with distributed.process_group():
        assert (distributed.rank(), distributed.ranks(), list(distributed.rank_slice(3))) == (0, 1, [0, 1, 2])
        assert distributed.gathered([1, 2]) == [1, 2]
        assert distributed.on_first_rank(lambda: "mine") == "mine"
        found = distributed.mean({"x": torch.tensor([[1.0, 2.0], [3.0, 6.0]])})
    assert found["x"].tolist() == [2.0, 4.0]


def test_two_processes_go_through_the_states_of_one(tmp_path: Path) -> None:
    process = started("-m", "tests.ranks", str(tmp_path / "two"))
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    for name, method in METHODS.items():
        ours, theirs = tmp_path / "one" / name, tmp_path / "two" / name
        one, two = run(method, ours), load(theirs / "checkpoint.pt")
        assert two.iteration == one.iteration == SETTINGS.iterations
        for what, learned in one.learned.items():
            assert learned.dtype == torch.float64
            torch.testing.assert_close(two.learned[what], learned, rtol=0, atol=1e-9)
            torch.testing.assert_close(two.averaged[what], one.averaged[what], rtol=0, atol=1e-9)
            assert same(two.norms[what], one.norms[what], 1e-9)
        assert len(one.norms["examples"]) == SETTINGS.iterations * 4, "the norms of all networks"
        logged = [[line["objective"] for line in read_lines(folder / "metrics.jsonl") if "objective" in line]
                  for folder in (ours, theirs)]  # fmt: skip
        assert same(*logged, 1e-4)


def test_runs_and_evaluations_are_those_of_one_process(tmp_path: Path) -> None:
    code, output, told = together("-m", "datastill", "distill", *DIGITS, "--out", str(tmp_path / "two"))
    assert code == 0, told
    assert output.count("unseen networks") == 1, "one process speaks"
    assert main(["distill", *DIGITS, "--out", str(tmp_path / "one")]) == 0
    one, two = (DistilledSet.load(tmp_path / x / "distilled.safetensors") for x in ("one", "two"))
    torch.testing.assert_close(two.inputs, one.inputs, rtol=0, atol=1e-3)
    torch.testing.assert_close(two.step_sizes, one.step_sizes, rtol=0, atol=1e-4)
    assert one.header.score is not None
    assert two.header.score is not None
    assert same(two.header.score["accuracies"], one.header.score["accuracies"], 0.01)
    file = str(tmp_path / "one" / "distilled.safetensors")
    code, output, told = together("-m", "datastill", "evaluate", file, "--networks", "5", "--json")
    assert code == 0, told
    assert same(json.loads(output)["accuracies"], one.header.score["accuracies"], 0.003)


def test_a_process_without_a_network_takes_part_in_an_evaluation(tmp_path: Path) -> None:
    """One network of an attack is measured before and after training, on rank 0 alone."""
    config = Config(network="mlp", method=RandomReal(ipc=1), objective=Misread(0, 1))
    data = load_data(config.data)
    file = tmp_path / "set.safetensors"
    make(config, data, tune=False).save(file)
    code, output, told = together("-m", "datastill", "evaluate", str(file), "--networks", "1", "--json")
    assert code == 0, told
    alone = score(DistilledSet.load(file), data, Protocol(networks=1))
    assert same(json.loads(output)["accuracies"], alone.accuracies, 0.003)


def test_a_pool_is_that_of_one_process(tmp_path: Path) -> None:
    words = ["pretrain", "digits", "--network", "mlp(width=8)", "--count", "2", "--held-out", "1", "--epochs", "1"]
    code, _, told = together("-m", "datastill", *words, "--out", str(tmp_path / "two.safetensors"))
    assert code == 0, told
    assert main([*words, "--out", str(tmp_path / "one.safetensors")]) == 0
    one, two = (Pool.load(tmp_path / f"{x}.safetensors") for x in ("one", "two"))
    torch.testing.assert_close(two.training, one.training, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(two.held_out, one.held_out, rtol=1e-3, atol=1e-4)


def test_a_process_that_dies_ends_the_run_which_one_process_takes_up(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    long = [*DIGITS, "--loop.iterations", "100000", "--loop.checkpoint-every", "1", "--out", str(folder)]
    process = started("-m", "datastill", "distill", *long)
    while not read_lines(folder / "metrics.jsonl"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    of_rank_1 = next(pid for pid, rank in _workers(process.pid).items() if rank == "1")
    os.kill(of_rank_1, signal.SIGKILL)
    began = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert process.returncode != 0
    assert re.search(r"error: rank 0: another process is gone.*--resume", told), told
    state = load(folder / "checkpoint.pt")
    assert state.iteration >= 1
    stored = json.loads((folder / "config.json").read_text())
    stored["config"]["loop"]["iterations"] = state.identity["config"]["loop"]["iterations"] = state.iteration + 3
    (folder / "config.json").write_text(json.dumps(stored))
    save(state, folder / "checkpoint.pt")
    assert main(["distill", "--resume", "--out", str(folder)]) == 0
    must_be_whole(folder, state.iteration + 3)


def test_two_processes_take_up_the_run_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    stopping(monkeypatch, 1)
    assert main(["distill", *DIGITS, "--out", str(folder)]) == 128 + signal.SIGTERM
    code, _, told = together("-m", "datastill", "distill", "--resume", "--out", str(folder))
    assert code == 0, told
    must_be_whole(folder, 4)


def must_be_whole(folder: Path, iterations: int) -> None:
    lines = [line["iteration"] for line in read_lines(folder / "metrics.jsonl") if "objective" in line]
    assert lines == list(range(1, iterations + 1)), "nothing twice, nothing left out"
    assert (folder / "distilled.safetensors").exists()


def _workers(parent: int) -> dict[int, str]:
    """Rank by process."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = {}
    for child in map(int, children):
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found[child] = next(
            entry.removeprefix(b"RANK=").decode() for entry in environment if entry.startswith(b"RANK=")
        )
    return found


def test_wrong_input_is_told_once(tmp_path: Path) -> None:
    wrong = ["distill", "digits", "--method.networks", "3", "--out", str(tmp_path / "run")]
    code, _, told = together("-m", "datastill", *wrong)
    assert code != 0
    (line,) = (line for line in told.splitlines() if line.startswith("datastill: error"))
    assert "networks per iteration is 3, which 2 processes cannot share evenly; take a multiple of 2" in line


def test_a_process_that_cannot_reach_the_others_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timedelta(minutes=1) >= distributed.START_TIMEOUT
    monkeypatch.setattr(distributed, "START_TIMEOUT", timedelta(seconds=1))
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29617"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UserError, match=r"rank 1 of 2 did not reach the others at 127\.0\.0\.1:29617"),
        distributed.process_group(),
    ):
        pass


def test_what_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "as torchrun sets it")
    assert main(["list"]) == 2
    assert "list works in one process; start it without torchrun" in capsys.readouterr().err
