"""Files that strangers changed: each ends in a set or in one line, and everything that takes a set works on it.

    python -m tests.fuzz_sets 10000

prints how many tries ended in a set, in one line, or in a traceback (by place), and how many ran code of a file.
"""

import copy
import io
import json
import random
import sys
import tempfile
import traceback
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from rich.console import Console
from torch import Tensor, nn

from datastill import DistilledSet, Header, Protocol, load_data, score, verify
from datastill.baselines import Setting
from datastill.errors import UserError
from datastill.evaluation import check_command
from datastill.evaluation.verify import packed
from datastill.export import export
from datastill.files import digest
from datastill.records import CONTROL_CATEGORIES
from datastill.report import as_json, grid, summary
from datastill.report.page import Run, render

CANARY = "tests.fuzz_canary"
"""A module that nothing but a hostile file asks for."""
DRAW = torch.Generator().manual_seed(0)
DATA = load_data((torch.randint(0, 256, (60, 4, 4), generator=DRAW, dtype=torch.uint8).numpy(), [0, 1, 2] * 20))
SCORE: dict[str, Any] = {
    "split": "test",
    "images": len(DATA.test),
    "mean": 0.3,
    "sd": 0.1,
    "n": 3,
    "accuracies": [0.2, 0.3, 0.4],
    "seconds": 1.0,
    "hardware": "2-core CPU",
    "protocol": asdict(Protocol(networks=3, network="mlp(width=4)", initialiser="xavier", epochs=2)),
    "curve": {"steps": [0, 1], "split": "validation", "images": 9, "networks": 3, "mean": [0.1, 0.2], "sd": [0, 0.1]},
    "baseline": {"kind": "random real", "sets": 2, "best": 0.3, "mean": 0.2, "sd": 0.1414213562373095,
                 "accuracies": [0.1, 0.3]},
}  # fmt: skip
SHARES = {"misread": [0.1, 0.2, 0.3], "overall": [0.1, 0.2, 0.3], "others": [0.1, 0.2, 0.3]}
ATTACK = {"attack_class": "0", "target_class": "1", "split": "test", "images": len(DATA.test), "n": 3}
HEADER = Header(
    data="digits",
    class_names=DATA.class_names,
    mean=(0.5,),
    std=(0.3,),
    network="mlp(width=4)",
    initialiser="xavier",
    initial="random",
    method="dataset-distillation",
    config={"data": {"name": "digits", "resize": None, "pad": 0}, "loop": {"betas": [0.9, 0.99]}, "seed": 0},
    provenance={"datastill": "0.1.0", "real_images": 1000, "seconds": 3.5, "hardware": "CPU", "validation": 0.5},
    score=SCORE,
)


def _plain(**changes: Any) -> DistilledSet:
    return DistilledSet(
        examples=torch.randn(2, 3, 1, 4, 4, generator=DRAW),
        labels=torch.arange(3).expand(2, 3).contiguous(),
        step_sizes=torch.rand(2, 2, generator=DRAW) + 0.01,
        header=replace(HEADER, **changes),
    )


def _bases() -> list[DistilledSet]:
    plain = _plain()
    weights = dict(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).state_dict())
    attack = {**SCORE, "attack": {**ATTACK, "before": SHARES, "after": SHARES}}
    return [
        plain,
        replace(plain, labels=torch.softmax(torch.randn(2, 3, 3, generator=DRAW), -1)),
        replace(plain, header=replace(HEADER, initial="fixed"), theta_0=weights),
        plain.packed().with_score(SCORE),
        _plain(attack=(0, 1), score=attack),
    ]


BASES = _bases()
STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 10**9, 2**63, 10**400, 0.0, -0.0, 1e308, 0.5, -0.5, float("nan"),
    float("inf"),
    "", "x", "digits", "mnist", "/", "..", "\x1b[31mred\x1b[0m", "a\nb", "\u202egnp", "\ud800", "x" * 5000, "[/bold]",
    f"{CANARY}:run", f"{CANARY}:run(a=1)", "alexnet(weights=/etc/passwd)", "pool:/etc/passwd", "pool:",
    "mlp(depth=100000)", "mlp(width=1e9)", "mlp(width=-1)", "mlp(width=4", "nearest-neighbours(k=1)", "fixed", "own",
    "none", "sgd", "adam", "lion",
    "validation", [], [[]],
    [0], [1, 1], [0, 99], ["a", "a"], ["a"] * 300, [None], [1e999], {}, {"": 1}, {"a": {"b": []}},
]  # fmt: skip
TYPES = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool)
NAMES = [
    "network",
    "data",
    "score",
    "n",
    "mean",
    "accuracies",
    "x",
    "",
    "\x1b]0;x\x07",
    "attack",
    "weights",
    "steps",
    "bits",
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [place for key, each in inside for place in _places(each, (*path, key))]


def _changed(value: Any, draw: random.Random) -> Any:
    """JSON with one to three changes at any depth."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        *path, last = draw.choice(_places(value)[1:] or [("x",)])
        holder = value
        for key in path:
            holder = holder[key]
        match draw.randrange(5):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, dict):
                holder[draw.choice(NAMES)] = draw.choice(STRANGE)
            case 2 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case 3 if isinstance(holder[last], int | float) and not isinstance(holder[last], bool):
                holder[last] = holder[last] * draw.choice((-1, 0, 2, 1000, 1e30))
            case _:
                holder[last] = copy.deepcopy(draw.choice(STRANGE))
        if not value:
            break
    return value


def _changed_tensors(tensors: dict[str, Tensor], draw: random.Random) -> dict[str, Tensor]:
    tensors = dict(tensors)
    name = draw.choice(sorted(tensors))
    value = tensors[name]
    changes: list[Callable[[], Tensor]] = [
        lambda: value.to(
            draw.choice((torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool))
        ),
        lambda: value.flatten(),
        lambda: value[None],
        lambda: value[:0],
        lambda: value[..., :0],
        lambda: value.repeat(2, *(1 for _ in value.shape[1:])),
        lambda: value.transpose(0, -1).contiguous(),
        lambda: torch.full_like(value, draw.choice((-100, 3, 100))),
        lambda: torch.full_like(value.float(), draw.choice((float("nan"), float("inf"), -1e30, 1e-30, 0.0))),
        lambda: torch.zeros(()),
        lambda: torch.zeros(2**20, 0, dtype=value.dtype),
    ]
    match draw.randrange(6):
        case 0:
            del tensors[name]
        case 1:
            tensors[draw.choice(("more", "initial.w", "initial.", "examples.scale", "initial.\x1b"))] = value.clone()
        case _:
            tensors[name] = draw.choice(changes)()
    return tensors


def write(path: Path, draw: random.Random) -> None:
    """A changed file; most have a valid digest."""
    base = draw.choice(BASES)
    header, tensors = json.loads(json.dumps(asdict(base.header))), base.tensors()
    kind = draw.randrange(10)
    if kind < 6:
        header = _changed(header, draw)
    elif kind < 8:
        tensors = _changed_tensors(tensors, draw)
    text = json.dumps(header)
    if kind == 8 and draw.random() < 0.3:
        text = draw.choice(("[" * 100_000, "{}", "[]", "null", "", text[:50], "1" * 5000, '{"a":' * 5000, text + "x"))
    try:
        metadata = {"format": "datastill/1", "header": text, "sha256": digest(text, tensors)}
        content = safetensors.torch.save(tensors, metadata)
    except UnicodeEncodeError:  # half a character cannot be written
        content = b""
    if kind == 8 and draw.random() < 0.5:
        content = content[: draw.randrange(len(content) + 1)]
    if kind == 9:
        broken = bytearray(content or b"x")
        for _ in range(draw.choice((1, 2, 20))):
            broken[draw.randrange(min(len(broken), draw.choice((8, 3000, 10**6))))] = draw.randrange(256)
        content = bytes(broken)
    path.write_bytes(content)


class ControlCharacterError(Exception):
    """Something of a file would command the terminal."""


def use(distilled: DistilledSet, folder: Path, draw: random.Random) -> None:
    """Everything that takes a set; `UserError` is an answer, too, where a file asks for what is not there."""
    said = io.StringIO()
    Console(file=said, width=100).print(summary(distilled))
    _no_commands(said.getvalue().replace("\n", ""))
    json.dumps(as_json(distilled), allow_nan=False)
    check_command(distilled, folder)
    distilled.normalise(torch.zeros(1, *distilled.shape, dtype=torch.uint8))
    model = nn.Sequential(nn.Flatten(), nn.Linear(distilled.examples[0, 0].numel(), distilled.classes))
    calls: list[Callable[[], object]] = [
        lambda: distilled.fit(model),
        lambda: distilled.fit(model, use_initial=False),
        lambda: score(distilled, DATA, Protocol(networks=2)),
        lambda: verify(distilled, DATA, networks=1),
        lambda: packed(distilled, DATA),
        lambda: Setting.like(distilled, DATA).header,
        lambda: grid(distilled),
        lambda: export(distilled, folder / "png", "png"),
        lambda: export(distilled, folder / "npz", "npz"),
    ]
    if draw.random() < 0.03:  # a second each
        calls += [
            lambda: render(
                Run(folder=folder, distilled=distilled, config=None, lines=[], score=distilled.header.score)
            ),
            lambda: export(distilled, folder / "parquet", "parquet"),
        ]
    for call in calls:
        try:
            call()
        except UserError as error:
            _no_commands(str(error))


def _no_commands(text: str) -> None:
    if any(unicodedata.category(each) in CONTROL_CATEGORIES for each in text):
        raise ControlCharacterError(ascii(text))


def attempt(seed: int) -> str:
    """One file: ``set``, ``one line``, or the place of a traceback."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.safetensors"
        write(path, draw)
        try:
            try:
                distilled = DistilledSet.load(path)
            except UserError as error:
                _no_commands(str(error))
                return "one line"
            use(distilled, Path(folder), draw)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in last if "datastill/" in frame.filename.replace("site-packages", "")] or list(
                last
            )
            return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
    return "set"


def main(tries: int, start: int = 0) -> int:
    """Print the counts of a campaign; the exit code is 1 if anything but a set or one line came out."""
    counts: Counter[str] = Counter()
    first: dict[str, int] = {}
    for seed in range(start, start + tries):
        found = attempt(seed)
        counts[found] += 1
        if found not in first:
            first[found] = seed
            print(f"seed {seed}: {found}", flush=True)
    good = counts["set"] + counts["one line"]
    print(f"{tries} files: {counts['set']} sets, {counts['one line']} errors of one line, {tries - good} tracebacks")
    for place, count in counts.most_common():
        if place not in ("set", "one line"):
            print(f"  {count:6d} {place} (seed {first[place]})")
    print(f"modules of files that were run: {int(CANARY in sys.modules)}")
    return int(good < tries or CANARY in sys.modules)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, *map(int, sys.argv[2:3])))
