"""Kill tiny runs, pools and studies again and again, and check that each ends as if it had never been killed.

    python -m tests.kill --seconds 240 --seed 0

A chain gives one of three commands, sends SIGKILL, SIGTERM or SIGINT to it, and gives the command that goes on, until
it has finished. Half of the signals come after a random time, half at a random step of writing (a file is opened,
locked, renamed or removed). In the end tensors, measured accuracies and the log must be those of an uninterrupted one,
bit for bit, and no other file may be there.

Prints counts as JSON; the exit code is 1 if any chain was stuck, lost a record, left a file or ended otherwise. Not
part of the ordinary tests, as it depends on time. Each attempt is a fork of this process, which has imported the
program already: otherwise nearly all of the time would go into imports, in which there is nothing to lose.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits

import datastill.pretraining
from datastill.cli import main as command_line
from datastill.networks.start import Random
from datastill.storage.files import read_tensors
from datastill.studies import STUDIES
from datastill.studies.curves import Point, Sweep

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "fcntl.flock"}
"""Python's names for what a run does to files, besides opening one to write to it."""
MOST_STEPS = {"distill": 90, "pretrain": 80, "study": 100}
"""The latest step at which a signal is sent: about as many as a whole one takes."""
MOST_ATTEMPTS = 60
"""Attempts after which a chain counts as stuck."""
PATIENCE = 300.0
"""Seconds after which an attempt counts as hanging."""
TIMES = {"seconds", "part_seconds", "outer_seconds", "hardware"}
"""Names of values that differ between two equal runs."""
WRONG = ("stuck", "hanging", "different", "stray files", "records lost or twice", "tracebacks", "refused")
"""Counts that must be zero."""
DISTIL = ("distill", "digits", "--method.networks", "2", "--method.epochs", "2", "--method.real-batch", "32",
          "--method.engine.together", "2", "--loop.iterations", "12", "--loop.checkpoint-every", "2",
          "--loop.validate-every", "4", "--random-sets", "0", "--protocol.networks", "3", "--out", "run")  # fmt: skip
PRETRAIN = ("pretrain", "digits", "--network", "mlp(width=8)", "--count", "9", "--held-out", "3", "--epochs", "1",
            "--snapshots", "2", "--out", "pool/pool.safetensors")  # fmt: skip
COMMANDS = {"distill": DISTIL, "pretrain": PRETRAIN, "study": ("study", "tiny", "--out", "study")}


@dataclass(frozen=True)
class Whole:
    """An uninterrupted one."""

    folder: Path
    seconds: float


@dataclass(frozen=True)
class Blow:
    """A signal and when it is sent: after some seconds, or at a step of writing, counted from 1."""

    signum: signal.Signals
    seconds: float = PATIENCE
    step: int = 0


def main() -> int:
    """Run chains until the time is over; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    prepare()
    counts, draw = Counter[str](), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        whole = {kind: uninterrupted(kind, Path(name) / kind) for kind in COMMANDS}
        until = time.monotonic() + options.seconds
        with contextlib.suppress(KeyboardInterrupt):  # whoever stops the campaign sees the counts so far
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            while time.monotonic() < until:
                for kind in COMMANDS:
                    chain(kind, Path(tempfile.mkdtemp(dir=name)), whole[kind], draw, counts)
    wrong = {name: counts[name] for name in WRONG}
    print(json.dumps({**dict(sorted(counts.items())), **wrong}, indent=2))
    return int(any(wrong.values()))


def prepare() -> None:
    """Make the attempts quick, and what is measured in each process (the faster way to compute) fixed."""
    for name in ("matplotlib.backends.backend_svg", "torch._dynamo", "tyro.constructors"):
        importlib.import_module(name)  # imported by the program only when needed
    load_digits()
    points = [Point(line="steps", at=at, ipc=1, steps=1, epochs=at, start=Random()) for at in (1, 2)]
    STUDIES["tiny"] = Sweep(name="tiny", title="Tiny", axis="steps", recipe="digits", points=points, iterations=5,
                            networks=2)  # fmt: skip
    datastill.pretraining.faster = lambda *_: 4


def uninterrupted(kind: str, folder: Path) -> Whole:
    """One that nobody stops."""
    folder.mkdir()
    began = time.monotonic()
    code, said = attempt(COMMANDS[kind], folder, None)
    if code:
        raise RuntimeError(f"{kind} fails without any signal: {said}")
    return Whole(folder, time.monotonic() - began)


def chain(kind: str, folder: Path, whole: Whole, draw: random.Random, counts: Counter[str]) -> None:
    """One of them, stopped again and again until it has finished."""
    for _ in range(MOST_ATTEMPTS):
        resume = ("--resume",) if (folder / "run" / "config.json").exists() else ()
        blow = drawn(draw, whole.seconds, MOST_STEPS[kind])
        code, said = attempt((*COMMANDS[kind], *resume), folder, blow)
        if code == 0:
            counts[f"{kind}: chains"] += 1
            compare(folder, whole.folder, counts)
            shutil.rmtree(folder)
            return
        judge(kind, folder, code, said, counts)
    counts["stuck"] += 1
    print(f"stuck with {sorted(map(str, files(folder)))}", file=sys.stderr)


def drawn(draw: random.Random, seconds: float, steps: int) -> Blow:
    """A signal at a random moment, early ones more often, as each attempt has a beginning and few have an end."""
    share, signum = draw.random() ** 2, draw.choice(SIGNALS)
    if draw.random() < 0.5:
        return Blow(signum, seconds=share * seconds)
    return Blow(signum, step=1 + int(share * steps))


def attempt(words: tuple[str, ...], folder: Path, blow: Blow | None) -> tuple[int, str]:
    """Give a command in a process of its own; its exit code (minus the signal that ended it) and what it said."""
    with tempfile.TemporaryFile("w+") as said:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # a signal while Python forks is not the program's matter
        child = os.fork()
        if child == 0:
            in_child(words, folder, blow, said.fileno())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            if blow and not ended(child, blow.seconds):
                os.kill(child, blow.signum)
            status = waited(child)
        except KeyboardInterrupt:
            os.kill(child, signal.SIGKILL)
            raise
        said.seek(0)
        return status, said.read()


def in_child(words: tuple[str, ...], folder: Path, blow: Blow | None, said: int) -> None:
    """Do as the program does that is started with these words in this folder."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told this process to ignore it
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        os.dup2(said, 2)
        os.chdir(folder)
        if blow and blow.step:
            sys.addaudithook(striking(blow))
        code = unblocked() or command_line(words)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def unblocked() -> int:
    """Let signals in; the exit code if one came before the program began, and otherwise 0."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    except KeyboardInterrupt:
        return 130
    return 0


def striking(blow: Blow) -> Callable[[str, Any], None]:
    """A hook that sends the signal to its own process just before a step of writing."""
    left = blow.step

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in STEPS or (event == "open" and is_writing(arguments[2])):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), blow.signum)

    return hook


def is_writing(flags: object) -> bool:
    """Whether a file is opened with these flags to write to it."""
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def ended(child: int, seconds: float) -> bool:
    """Whether a process ends within this time; if so, it is still to be waited for."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        time.sleep(0.002)
    return False


def waited(child: int) -> int:
    """The exit code of a process, or minus the number of the signal that ended it; 99 where it had to be ended."""
    if ended(child, PATIENCE):
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 99


def judge(kind: str, folder: Path, code: int, said: str, counts: Counter[str]) -> None:
    """Count how and where a command ended that did not finish."""
    endings = {-9: "SIGKILL", -15: "SIGTERM", -2: "SIGINT", 143: "SIGTERM", 130: "SIGINT", 99: "hanging"}
    ending = endings.get(code, "refused")
    wrong = ending in WRONG or "Traceback" in said
    counts[ending if ending in WRONG else f"{kind}: {ending}"] += 1
    counts[f"{kind}: stopped after {newest(folder)}"] += 1
    counts["tracebacks"] += "Traceback" in said
    counts["stops that left a temporary file"] += any(path.name.endswith(".partial") for path in files(folder))
    if wrong:
        print(f"{kind}: exit code {code} after {newest(folder)}\n{said}", file=sys.stderr)


def newest(folder: Path) -> str:
    """The last file that was finished, which says how far a command had come."""
    finished = [each for each in folder.rglob("*") if each.is_file() and not each.name.startswith(".")]
    written = [each for each in finished if each.name != "metrics.jsonl"]
    last = max(written, key=lambda each: each.stat().st_mtime_ns, default=Path("nothing")).name
    return re.sub(r"^\d{5}\.", "one network, ", last)


def compare(folder: Path, whole: Path, counts: Counter[str]) -> None:
    """Count what differs from the uninterrupted one."""
    stray = files(folder) ^ files(whole)
    counts["stray files"] += len(stray)
    shared = sorted(files(folder) & files(whole))
    different = [path for path in shared if not is_same(folder / path, whole / path)]
    lost = [path for path in different if path.name == "metrics.jsonl"]
    counts["records lost or twice"] += len(lost)
    counts["different" if len(different) > len(lost) else "bit-identical"] += 1
    if stray or different:
        print(f"stray or missing: {sorted(map(str, stray))}; different: {list(map(str, different))}", file=sys.stderr)


def files(folder: Path) -> set[Path]:
    """All files and folders below a folder, relative to it."""
    return {path.relative_to(folder) for path in folder.rglob("*")}


def is_same(one: Path, other: Path) -> bool:
    """Whether two files hold the same numbers; pages and pictures are drawn from these, and say how long it took."""
    if one.suffix == ".safetensors":
        return same_tensors(read_tensors(one)[1], read_tensors(other)[1])
    if one.suffix in (".json", ".jsonl"):
        return without_times(one) == without_times(other)
    return True


def same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether names and all bits are the same."""
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def without_times(path: Path) -> list[Any]:
    """The values of a file of JSON, or of one with a value in each line, without the seconds that something took."""
    content = path.read_text()
    texts = content.splitlines() if path.suffix == ".jsonl" else [content]
    return [json.loads(text, object_hook=lambda found: {k: v for k, v in found.items() if k not in TIMES})
            for text in texts]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
