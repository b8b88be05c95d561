"""Kill tiny runs, pools and studies at random moments, and check that each ends as if it had not been killed.

    python -m tests.kill --seconds 240 --seed 0

Each chain begins one of them, sends SIGKILL, SIGTERM or SIGINT to it after a random time, and gives the command that
goes on, until it has finished. Then the weights or examples must be bit for bit those of an uninterrupted one, the log
must have every record once, and no other file may be there. Prints counts as JSON; the exit code is 1 if any chain was
stuck, lost a record, left a file or ended otherwise. Not part of the ordinary tests, as it depends on time.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}
COMMAND = (sys.executable, "-m", "datastill")
DISTIL = ("distill", "digits", "--method.networks", "2", "--method.epochs", "2", "--method.real-batch", "32",
          "--engine.together", "2", "--loop.iterations", "60", "--loop.checkpoint-every", "1", "--loop.validate-every",
          "20", "--random-sets", "1", "--protocol.networks", "3")  # fmt: skip
PRETRAIN = ("pretrain", "digits", "--network", "mlp(width=8)", "--count", "9", "--held-out", "3", "--epochs", "1")
STUDY = (sys.executable, "-m", "tests.kill", "--study")
WRONG = ("stuck", "different", "stray files", "records lost or twice", "tracebacks")
"""Counts that must be zero."""
MOST = 60
"""Attempts after which a chain counts as stuck."""


@dataclass(frozen=True)
class Victim:
    """What is killed, and the file that it makes."""

    begin: tuple[str, ...]
    result: str
    again: tuple[str, ...] | None = None
    """The command that goes on, where it is another one."""


VICTIMS = {
    "distill": Victim((*COMMAND, *DISTIL, "--out", "run"), "run/distilled.safetensors",
                      (*COMMAND, "distill", "--resume", "--out", "run")),
    "pretrain": Victim((*COMMAND, *PRETRAIN, "--out", "pool/pool.safetensors"), "pool/pool.safetensors"),
    "study": Victim((*STUDY, "study"), "study/work/steps-1/distilled.safetensors"),
}  # fmt: skip


def main() -> int:
    """Run chains until the time is over; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--study", help="run the tiny study in this folder, and nothing else")
    options = parser.parse_args()
    if options.study:
        return tiny_study(Path(options.study))
    counts, draw = Counter[str](), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        whole = {kind: uninterrupted(victim, Path(name) / kind) for kind, victim in VICTIMS.items()}
        number, until = 0, time.monotonic() + options.seconds
        while time.monotonic() < until:
            kind = list(VICTIMS)[number % len(VICTIMS)]
            number += 1
            chain(VICTIMS[kind], Path(name) / str(number), *whole[kind], draw, counts)
            shutil.rmtree(Path(name) / str(number), ignore_errors=True)
    wrong = {name: counts[name] for name in WRONG}
    print(json.dumps({**dict(sorted(counts.items())), **wrong}, indent=2))
    return int(any(wrong.values()))


def uninterrupted(victim: Victim, folder: Path) -> tuple[Path, float]:
    """The folder of a whole one, and the seconds that it took."""
    folder.mkdir()
    began = time.monotonic()
    subprocess.run(victim.begin, cwd=folder, check=True, capture_output=True, env=environment())
    return folder, time.monotonic() - began


def chain(victim: Victim, folder: Path, whole: Path, seconds: float, draw: random.Random, counts: Counter[str]) -> None:
    """One of them, killed again and again until it has finished."""
    folder.mkdir()
    for _ in range(MOST):
        began = (folder / "run" / "config.json").exists()
        command = victim.again if victim.again and began else victim.begin
        if attempt(command, folder, seconds, draw, counts):
            break
    else:
        counts["stuck"] += 1
        print("stuck:", sorted(map(str, files(folder))), file=sys.stderr)
        return
    counts["chains"] += 1
    compare(victim, folder, whole, counts)


def attempt(command: tuple[str, ...], folder: Path, seconds: float, draw: random.Random, counts: Counter[str]) -> bool:
    """Give the command and send a signal to it at a random moment; whether it had finished before."""
    name = draw.choice(list(SIGNALS))
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env=environment())  # fmt: skip
    try:
        said = process.communicate(timeout=draw.uniform(0.3, 1.0) * seconds)[1]
    except subprocess.TimeoutExpired:
        process.send_signal(SIGNALS[name])
        said = process.communicate()[1]
        counts[name] += 1
    finished = process.returncode == 0
    if not finished and "Traceback" in said and "datastill: " not in said and not while_importing(said):
        counts["tracebacks"] += 1
        print(said, file=sys.stderr)
    if not finished and process.returncode not in (-9, -15, -2, 130, 143):
        counts["refused"] += 1
        print(process.returncode, said, file=sys.stderr)
    return finished


def while_importing(said: str) -> bool:
    """Whether Python itself was stopped, before the program began."""
    return re.search(r"KeyboardInterrupt\s*$", said) is not None and "in main" not in said


def compare(victim: Victim, folder: Path, whole: Path, counts: Counter[str]) -> None:
    """Count what differs from the uninterrupted one."""
    ours, theirs = load_file(folder / victim.result), load_file(whole / victim.result)
    same = ours.keys() == theirs.keys() and all(bool((ours[key] == theirs[key]).all()) for key in theirs)
    counts["bit-identical" if same else "different"] += 1
    stray = files(folder) ^ files(whole)
    counts["stray files"] += len(stray)
    if stray:
        print("stray or missing:", sorted(map(str, stray)), file=sys.stderr)
    for log in whole.rglob("metrics.jsonl"):
        if records(folder / log.relative_to(whole)) != records(log):
            counts["records lost or twice"] += 1


def files(folder: Path) -> set[Path]:
    """All files below a folder, relative to it."""
    return {path.relative_to(folder) for path in folder.rglob("*")}


def records(log: Path) -> list[dict[str, object]]:
    """The lines of a log, without the time that they took."""
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in log.read_text().splitlines()]


def environment() -> dict[str, str]:
    """One thread for each process."""
    path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def tiny_study(folder: Path) -> int:
    """A study of two tiny distillations."""
    from dataclasses import replace

    import datastill.cli
    from datastill.studies import STUDIES
    from datastill.studies.curves import Point

    points = [Point(line="steps", at=at, ipc=1, steps=1, epochs=at, initial="random") for at in (1, 2)]
    tiny = replace(STUDIES["steps"], name="tiny", recipe="digits", points=points, iterations=20, networks=2)  # type: ignore[call-arg]
    STUDIES["tiny"] = tiny
    return datastill.cli.main(["study", "tiny", "--out", str(folder)])


if __name__ == "__main__":
    sys.exit(main())
