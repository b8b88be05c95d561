"""Distilled sets, changed at random, most with a valid digest; all that takes a set must work on what is read."""

import io
import json
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from rich.console import Console
from torch import nn

from datastill import DistilledSet, Header, Protocol, load_data, score, verify
from datastill.artifact import FORMAT, PerEpoch, PixelBytes, Teacher, examples_of
from datastill.baselines import Beside
from datastill.errors import UserError
from datastill.evaluation import check_command
from datastill.evaluation.verify import packed
from datastill.exporting import export
from datastill.networks.start import Fixed, Random
from datastill.objectives import Misread
from datastill.program import Program, Shuffled, Siamese, SquaredError
from datastill.report import as_json, grid, summary
from datastill.report.page import Run, render
from datastill.space import Pixels, Signals, Space, Tokens, Vectors
from datastill.storage.files import digest, read_tensors

from ..sets import set_of_steps
from .mutations import changed, changed_bytes, storable
from .text import must_be_one_line

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
    "protocol": asdict(Protocol(networks=3, network="mlp(width=4)", start=Random(), epochs=2)),
    "curve": {"steps": [0, 1], "split": "validation", "images": 9, "networks": 3, "mean": [0.1, 0.2], "sd": [0, 0.1]},
    "baseline": {"kind": "random real", "sets": 2, "best": 0.3, "mean": 0.2, "sd": 0.1414213562373095,
                 "accuracies": [0.1, 0.3]},
}  # fmt: skip
STAGES = {"before": [0.1, 0.2, 0.3], "after": [0.1, 0.2, 0.3]}
HEADER = Header(
    data="digits",
    class_names=DATA.class_names,
    space=Pixels(mean=(0.5,), std=(0.3,), shape=(1, 4, 4)),
    network="mlp(width=4)",
    start=Random(),
    method="dataset-distillation",
    config={"data": {"name": "digits", "resize": None, "pad": 0}, "loop": {"betas": [0.9, 0.99]}, "seed": 0},
    provenance={"datastill": "0.1.0", "real_images": 1000, "seconds": 3.5, "hardware": "CPU", "validation": 0.5},
    score=SCORE,
)


PARTS = replace(HEADER, enlarged=2)


def _plain(**changes: Any) -> DistilledSet:
    return set_of_steps(
        torch.randn(2, 3, 1, 4, 4, generator=DRAW),
        torch.arange(3).expand(2, 3).contiguous(),
        torch.rand(2, 2, generator=DRAW) + 0.01,
        header=replace(HEADER, **changes),
    )


def _bases() -> list[DistilledSet]:
    plain = _plain()
    weights = dict(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).state_dict())
    attack = {**SCORE, "measures": dict.fromkeys(("misread", "accuracy", "others"), STAGES)}
    return [
        plain,
        replace(plain, targets=torch.softmax(torch.randn(6, 3, generator=DRAW), -1)),
        replace(plain, header=replace(HEADER, start=Fixed()), theta_0=weights),
        plain.packed().with_score(SCORE),
        _plain(objective=Misread(0, 1), score=attack),
        plain.with_program(Program(order=Shuffled(epochs=2, batch=4), loss=SquaredError(), augmentation=Siamese())),
        replace(plain, targets=torch.rand(2, 6, 3, generator=DRAW), header=replace(HEADER, labels=PerEpoch())),
        replace(plain, header=replace(HEADER, labels=Teacher(sha256="a" * 64, network="lenet", where="a shelf"))),
        *(_of(space, plain) for space in OTHER_SPACES),
        _of_bytes(plain),
        replace(plain, **examples_of(plain.inputs, 2), targets=plain.targets.repeat_interleave(4), header=PARTS),
    ]


def _of_bytes(plain: DistilledSet) -> DistilledSet:
    """A set of real images, which are stored as their bytes."""
    space = plain.header.space
    inputs = space.scaled(torch.randint(0, 256, plain.inputs.shape, generator=DRAW).byte(), torch.float32)
    return replace(plain, inputs=inputs, header=replace(plain.header, decode=PixelBytes()))


OTHER_SPACES = (
    Vectors(mean=(0.5, 9.0), std=(0.3, 2.0), columns=("height", "weight")),
    Signals(mean=(0.5,), std=(0.3,), columns=("pressure",), length=5),
    Tokens.of(("who", "is", "it"), length=4, dim=3, seed=0),
)


def _of(space: Space, plain: DistilledSet) -> DistilledSet:
    """A set of examples in another space, without a score: the data at hand are images."""
    inputs = torch.randn(6, *space.shape, generator=DRAW)
    return replace(plain, inputs=inputs, header=replace(HEADER, space=space, score=None))


FIRST_FORMAT = Path(__file__).parent.parent / "format1"


def _files() -> list[tuple[str, dict[str, Any], dict[str, torch.Tensor]]]:
    """Format, header and tensors of whole files, of every kind and of every format."""
    found = [(FORMAT, each.plain(), each.tensors()) for each in BASES]
    for name in ("hard", "soft", "fixed", "pool", "attack", "8-bits", "first"):
        metadata, tensors = read_tensors(FIRST_FORMAT / f"{name}.safetensors")
        found.append((metadata["format"], json.loads(metadata["header"]), tensors))
    return found


BASES = _bases()
FILES = _files()


def distilled_set(folder: Path, draw: random.Random) -> None:
    """A set whose header, tensors or bytes are changed, and all that can be done with it."""
    path = folder / "set.safetensors"
    _write(path, draw)
    use(DistilledSet.load(path), folder, draw)


def _write(path: Path, draw: random.Random) -> None:
    written, header, tensors = draw.choice(FILES)
    header = json.loads(json.dumps(header))
    kind = draw.randrange(10)
    if kind < 6:
        header = changed(header, draw)
    elif kind < 8:
        tensors = storable(changed(tensors, draw))
    text = json.dumps(header)
    if kind == 8 and draw.random() < 0.3:
        text = draw.choice(("[" * 100_000, "{}", "[]", "null", "", text[:50], "1" * 5000, '{"a":' * 5000, text + "x"))
    metadata = {"format": written, "header": text, "sha256": digest(text, tensors)}
    content = safetensors.torch.save(tensors, metadata)
    path.write_bytes(changed_bytes(content, draw) if kind == 9 or draw.random() < 0.02 else content)


def use(distilled: DistilledSet, folder: Path, draw: random.Random) -> None:
    """Everything that takes a set; `UserError` is an answer, too, where a file asks for what is not there."""
    said = io.StringIO()
    Console(file=said, width=100).print(summary(distilled))
    must_be_one_line(said.getvalue().replace("\n", ""))
    json.dumps(as_json(distilled), allow_nan=False)
    check_command(distilled, folder)
    model = nn.Sequential(nn.Flatten(), nn.Linear(distilled.inputs[0].numel(), distilled.classes))
    calls: list[Callable[[], object]] = [
        lambda: distilled.normalise(torch.zeros(1, *distilled.shape, dtype=torch.uint8)),
        lambda: distilled.normalise(["who is it"]),
        lambda: distilled.fit(model),
        lambda: distilled.fit(model, use_initial=False),
        lambda: score(distilled, DATA, Protocol(networks=2)),
        lambda: verify(distilled, DATA, networks=1),
        lambda: packed(distilled, DATA),
        lambda: Beside.of(distilled, DATA),
        lambda: grid(distilled),
        lambda: export(distilled, folder / "png", "png"),
        lambda: export(distilled, folder / "npz", "npz"),
        lambda: export(distilled, folder / "csv", "csv"),
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
            must_be_one_line(str(error))
