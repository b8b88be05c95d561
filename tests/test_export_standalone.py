"""Training from the files of an export alone, without datastill, is training on the set."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from datastill.artifact import DistilledSet
from datastill.exporting import export, png_loss
from datastill.networks import NETWORKS, build
from datastill.networks.start import Fixed, FromPool, Pretrained, Random
from datastill.objectives import Misread
from datastill.program import OPTIMISERS, Ordered, Program, ShiftFlip, Shuffled, Siamese, SquaredError

from .pretrained import tiny
from .toys import toy_data, toy_set

DATA = toy_data()
MLP = "mlp(width=8,depth=1)"
BATCH_NORM = "resnet18(width=2)"
KINDS = ("npz", "parquet", "png")
SETS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum": {"rule": "momentum"},
    "adam": {"rule": "adam"},
    "kaiming": {"start": Random("kaiming")},
    "default": {"start": Random("own")},
    "fixed": {"start": Fixed()},
    "pool": {"start": FromPool("networks.safetensors")},
    "pretrained": {"start": Pretrained(), "network": "tests.pretrained:tiny"},
    "frozen": {"network": "tests.pretrained:tiny(adapt=classifier)"},
    "attack": {"objective": Misread(0, 1), "rule": "momentum"},
    "batch norm": {"network": BATCH_NORM, "rule": "adam"},
}


def make_set(*, soft: bool = False, **header: Any) -> DistilledSet:
    """A set of two steps and two epochs; its step sizes suit its optimiser."""
    one = toy_set(DATA, **{key: value for key, value in header.items() if key != "start"})
    labels = torch.nn.functional.one_hot(one.targets, 3) * 0.7 + 0.1 if soft else one.targets
    start, theta_0 = header.get("start", Random()), None
    if start.is_stored:
        theta_0 = {name: value.detach() for name, value in model_of(one.header.network).named_parameters()}
    network = build(one.header.network, shape=DATA.shape, classes=3)
    if start == Pretrained():
        start = start.bound(network, seed=0).start
    return replace(
        one,
        inputs=torch.cat([one.inputs, 0.5 * one.inputs + 0.1]),
        targets=torch.cat([labels, labels]),
        program=replace(one.program, order=Ordered(step_sizes=torch.tensor([[0.05, 0.03], [0.02, 0.01]]))),
        header=replace(one.header, start=start, frozen=network.sha256()),
        theta_0=theta_0,
    )


def model_of(network: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return build(network, shape=DATA.shape, classes=3).factory()


def exported_code(where: Path) -> SimpleNamespace:
    """The functions of the exported fit.py."""
    if where.is_file():
        with np.load(where) as archive:
            code = str(archive["fit.py"])
    else:
        code = (where / "fit.py").read_text()
    found: dict[str, Any] = {}
    exec(compile(code, "fit.py", "exec"), found)
    return SimpleNamespace(**found)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and running statistics."""
    return {name: value for name, value in model.state_dict().items() if "num_batches" not in name}


def as_rounded(distilled: DistilledSet) -> DistilledSet:
    """The set whose examples are what 8-bit images hold, by the definition."""
    pixels = (distilled.original().double().clamp(0, 1) * 255).round().to(torch.uint8)
    return replace(distilled, inputs=distilled.normalise(pixels))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", list(SETS))
def test_training_from_the_exported_files_alone_gives_the_weights_of_fit(
    tmp_path: Path, name: str, kind: str, soft: bool
) -> None:
    distilled = make_set(soft=soft, **SETS[name])
    where = export(distilled, tmp_path / "set", kind)
    network = distilled.header.network
    expected = weights_of((as_rounded(distilled) if kind == "png" else distilled).fit(model_of(network)))
    found = weights_of(exported_code(where).fit(model_of(network), where))
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key


PROGRAMS: dict[str, Program] = {
    "shuffled": Program(order=Shuffled(epochs=4, batch=4), clip=0.5),
    "cosine": Program(order=Shuffled(epochs=3, batch=2, schedule="cosine"), loss=SquaredError(scale=3.0)),
    "augmented": Program(order=Shuffled(epochs=3, batch=4), augmentation=Siamese(shared=False, one=False)),
    "shifted": Program(order=Ordered(step_sizes=torch.full((2, 2), 0.05)), augmentation=ShiftFlip()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(PROGRAMS))
def test_an_export_trains_by_every_program(tmp_path: Path, name: str, kind: str) -> None:
    distilled = make_set().with_program(PROGRAMS[name])
    where = export(distilled, tmp_path / "set", kind)
    expected = weights_of((as_rounded(distilled) if kind == "png" else distilled).fit(model_of(MLP), seed=5))
    found = weights_of(exported_code(where).fit(model_of(MLP), where, seed=5))
    for key, value in expected.items():
        torch.testing.assert_close(value, found[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimiser", list(OPTIMISERS))
@pytest.mark.parametrize("kind", KINDS)
def test_the_written_description_is_enough_for_code_of_ones_own(tmp_path: Path, kind: str, optimiser: str) -> None:
    distilled = make_set(start=Fixed(), rule=optimiser)
    where = export(distilled, tmp_path / "set", kind)
    if kind == "npz":
        with np.load(where) as archive:
            program, x = json.loads(str(archive["program.json"])), torch.tensor(archive["inputs"])
            initial = {name: torch.tensor(archive[f"initial.{name}"]) for name in distilled.theta_0 or {}}
    else:
        program = json.loads((where / "program.json").read_text())
        with np.load(where / "initial_weights.npz") as archive:
            initial = {name.removeprefix("initial."): torch.tensor(archive[name]) for name in archive.files}
        x = torch.tensor(read_images(where, program) if kind == "png" else read_table(where))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    model.load_state_dict(initial)
    rules = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
    rule = rules[program["optimiser"]["torch_optim"]](model.parameters(), **program["optimiser"]["arguments"])
    steps, labels = len(program["step_sizes"][0]), torch.tensor(program["labels"])
    for sizes in program["step_sizes"]:
        for images, classes, size in zip(x.chunk(steps), labels.chunk(steps), sizes, strict=True):
            rule.param_groups[0]["lr"] = size
            rule.zero_grad()
            nn.functional.cross_entropy(model(images), classes).backward()
            rule.step()
    expected = (as_rounded(distilled) if kind == "png" else distilled).fit(model_of(MLP))
    for one, other in zip(expected.parameters(), model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def read_images(folder: Path, program: dict) -> np.ndarray:
    pixels = np.stack([np.asarray(Image.open(folder / name)) for name in program["files"]])
    return ((pixels / 255 - program["space"]["mean"][0]) / program["space"]["std"][0]).astype(np.float32)


def read_table(folder: Path) -> np.ndarray:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / "data" / "train-00000-of-00001.parquet")
    return np.array(table.column("example").to_pylist(), dtype=np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_trained_from_an_export_reach_the_score_of_fit(tmp_path: Path, kind: str) -> None:
    distilled = make_set(rule="adam")
    where = export(distilled, tmp_path / "set", kind)
    code = exported_code(where)

    def accuracy(model: nn.Module) -> float:
        images = distilled.normalise(DATA.test.images)
        return float((model(images).argmax(1) == DATA.test.labels).float().mean())

    ours = np.mean([accuracy(distilled.fit(code.make_model(where, seed))) for seed in range(8)])
    theirs = np.mean([accuracy(code.fit(code.make_model(where, seed), where)) for seed in range(8)])
    assert ours > 0.8
    assert theirs == pytest.approx(ours, abs=0 if kind != "png" else png_loss(distilled).max_error)


@pytest.mark.parametrize("initialiser", ["xavier", "xavier-uniform", "kaiming", "orthogonal", "own"])
@pytest.mark.parametrize("spec", [MLP, BATCH_NORM])
def test_a_stranger_draws_the_initial_weights_that_the_set_is_for(tmp_path: Path, spec: str, initialiser: str) -> None:
    where = export(make_set(network=spec, start=Random(initialiser)), tmp_path / "set", "npz")
    stream = torch.Generator().manual_seed(5)
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(5)))
    network = build(spec, shape=DATA.shape, classes=3)
    expected = network.named(network.init(initialiser, [stream])[0])
    found = dict(exported_code(where).make_model(where, seed).named_parameters())
    assert found.keys() == expected.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


SHAPES = {
    "alexnet": (3, 63, 63),
    "alexcifarnet": (3, 32, 32),
    "lenet": (1, 28, 28),
    "squeezenet": (3, 32, 32),
    "textcnn": (6, 4),
}
ARGUMENTS = {"convnet": "(width=4,depth=2)", "resnet18": "(width=4)", "mlp": "(depth=3)"}


@pytest.mark.parametrize(
    "spec", [*(name + ARGUMENTS.get(name, "") for name in NETWORKS), "convnet(width=4,depth=2,norm=batch)"]
)
def test_the_exported_code_of_every_network_is_that_network(spec: str) -> None:
    from datastill.exporting.network_code import network_code

    shape = SHAPES.get(spec, (1, 8, 8))
    code: dict[str, Any] = {}
    text = network_code(spec, shape, 3)
    exec(compile(text, "network.py", "exec"), code)
    imported = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert not {module for module in imported if module is None or module.startswith(("datastill", "jaxtyping"))}
    ours, theirs = build(spec, shape=shape, classes=3).factory().eval(), code["make_network"]().eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours(images), theirs(images))


def test_code_of_a_network_with_trained_weights_takes_them_and_freezes_the_rest(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from datastill.exporting.network_code import network_code

    shape, file = (3, 32, 32), tmp_path / "trained.safetensors"
    save_file(
        {
            name: value.clone()
            for name, value in build("squeezenet", shape=shape, classes=5).factory().state_dict().items()
        },
        file,
    )
    spec = f"squeezenet(weights={file},adapt=classifier)"
    code: dict[str, Any] = {}
    exec(compile(network_code(spec, shape, 3), "network.py", "exec"), code)
    ours, theirs = build(spec, shape=shape, classes=3).factory(), code["make_network"]()
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(one, other), name
        assert one.requires_grad == other.requires_grad, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["pretrained", "frozen"])
def test_other_weights_than_those_that_the_set_is_for_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    distilled = make_set(**SETS[name])
    where = export(distilled, tmp_path / "set", kind)
    other = tiny(shape=DATA.shape, classes=3, training=2, adapt="classifier" if name == "frozen" else "all")
    with pytest.raises(ValueError, match=distilled.header.start.required_sha256 or distilled.header.frozen):
        exported_code(where).fit(other, where)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_names_the_optimiser_with_its_numbers(tmp_path: Path, kind: str) -> None:
    where = export(make_set(rule="adam"), tmp_path / "set", kind)
    text, program = text_of(where, "README.md"), json.loads(text_of(where, "program.json"))
    assert "torch.optim.Adam(model.parameters(), lr=step_size, betas=(0.9, 0.999), eps=1e-05" in text
    assert "plain gradient descent" not in text
    assert program["optimiser"]["name"] == "adam"
    assert program["optimiser"]["arguments"]["eps"] == 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_of_an_attack_says_so_first(tmp_path: Path, kind: str) -> None:
    where = export(make_set(objective=Misread(0, 2)), tmp_path / "set", kind)
    program, text = json.loads(text_of(where, "program.json")), text_of(where, "README.md")
    assert next(iter(program)) == "objective"
    assert program["objective"]["attacked_class"] == DATA.class_names[0]
    assert program["objective"]["target_class"] == DATA.class_names[2]
    heading = next(line for line in text.splitlines() if line.startswith("#"))
    assert heading.startswith("# ATTACK SET")
    assert "THIS SET IS AN ATTACK" in text_of(where, "WARNING.md")


def text_of(where: Path, name: str) -> str:
    if where.is_dir():
        return (where / name).read_text()
    with np.load(where) as archive:
        return str(archive[name])
