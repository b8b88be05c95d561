"""A distilled set keeps every bit, explains itself, and never trusts a file."""

import errno
import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import datastill
import datastill.storage.files
from datastill.artifact import DistilledSet, EightBits, Header, PerEpoch, Pixels, Signed
from datastill.errors import UserError
from datastill.networks.start import Fixed, Random
from datastill.objectives import Misread
from datastill.program import Divergence

from .sets import ordered, set_of_steps

HEADER = Header(
    data="toy",
    class_names=("zero", "one", "two"),
    space=Pixels(mean=(0.25,), std=(0.5,), shape=(1, 4, 4)),
    network="mlp",
    start=Random(),
    method="dataset-distillation",
    config={"method": {"ipc": 2}},
    provenance={"seconds": 1.5},
)


SCORE = {
    "split": "test",
    "images": 1000,
    "mean": 0.3,
    "sd": 0.1,
    "n": 3,
    "accuracies": [0.2, 0.3, 0.4],
    "protocol": {"networks": 3, "network": "mlp", "start": {"kind": "random", "initialiser": "xavier"}},
}


def make(
    steps: int = 2, epochs: int = 3, *, soft: bool = False, fixed: bool = False, seed: int = 0, rule: str = "sgd"
) -> DistilledSet:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).expand(steps, 3).contiguous()
    model = toy_model(seed)
    return set_of_steps(
        torch.randn(steps, 3, 1, 4, 4, generator=draw),
        torch.softmax(torch.randn(steps, 3, 3, generator=draw), -1) if soft else labels,
        torch.rand(epochs, steps, generator=draw) + 0.01,
        rule,
        header=replace(HEADER, start=Fixed()) if fixed else HEADER,
        theta_0=dict(model.state_dict()) if fixed else None,
    )


def toy_model(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 3))


@given(
    steps=st.integers(1, 4), epochs=st.integers(1, 4), soft=st.booleans(), fixed=st.booleans(), seed=st.integers(0, 99)
)
@settings(max_examples=25, deadline=None)
def test_saving_and_loading_keeps_every_bit(steps: int, epochs: int, soft: bool, fixed: bool, seed: int) -> None:
    import tempfile

    before = make(steps, epochs, soft=soft, fixed=fixed, seed=seed).with_score(SCORE)
    with tempfile.TemporaryDirectory() as folder:
        before.save(Path(folder) / "a.safetensors")
        after = DistilledSet.load(Path(folder) / "a.safetensors")
    assert after.header == before.header
    assert after.tensors().keys() == before.tensors().keys()
    for name, tensor in before.tensors().items():
        assert after.tensors()[name].dtype == tensor.dtype
        assert torch.equal(after.tensors()[name], tensor)


def test_small_floats_survive(tmp_path: Path) -> None:
    strange = torch.tensor([-0.0, 1e-45, 0.1 + 0.2, -1e9])
    before = make()
    before.inputs.view(-1)[:4] = strange
    before.save(tmp_path / "a.safetensors")
    after = DistilledSet.load(tmp_path / "a.safetensors").inputs.view(-1)[:4]
    assert torch.equal(after.view(torch.int32), strange.view(torch.int32))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_gives_one_line(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.safetensors"
    make().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match="cut short") as caught:
        DistilledSet.load(path)
    assert "\n" not in str(caught.value)


def test_every_changed_byte_of_the_content_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    make(fixed=True).save(path)
    content = path.read_bytes()
    start = int.from_bytes(content[:8], "little") + 8
    for position in [start, (start + len(content)) // 2, len(content) - 1]:
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(UserError, match="changed after it was written"):
            DistilledSet.load(path)


def test_a_changed_claim_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    make().with_score({**SCORE, "images": 5123}).save(path)
    path.write_bytes(path.read_bytes().replace(b"5123", b"9123"))
    with pytest.raises(UserError, match="changed after it was written"):
        DistilledSet.load(path)


def test_foreign_files_give_one_line_and_run_no_code(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (canary,)

    (tmp_path / "pickle").write_bytes(pickle.dumps(Evil()))
    safetensors.torch.save_file({"weight": torch.zeros(3)}, tmp_path / "other")
    (tmp_path / "text").write_text("hello")
    lacking = {"format": "datastill/2", "header": "{}", "sha256": ""}
    safetensors.torch.save_file({"examples": torch.zeros(3)}, tmp_path / "lacking", lacking)
    messages = {
        "pickle": "not a whole safetensors file",
        "text": "not a whole safetensors file",
        "other": "not a distilled set of format datastill/2",
        "lacking": "lacks inputs, targets",
        "missing": "no distilled set at",
    }
    for name, message in messages.items():
        with pytest.raises(UserError, match=message) as caught:
            DistilledSet.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not canary.exists()


def test_a_full_disk_leaves_the_old_set_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    make(seed=1).save(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(datastill.storage.files.os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        make(seed=2).save(path)
    assert torch.equal(DistilledSet.load(path).inputs, make(seed=1).inputs)


def test_fit_is_the_same_as_sgd_by_hand() -> None:
    distilled = make(steps=2, epochs=2)
    mine, theirs = toy_model(3), toy_model(3)
    distilled.fit(mine)
    for epoch in range(2):
        for step in range(2):
            optimiser = torch.optim.SGD(theirs.parameters(), lr=float(distilled.step_sizes[epoch, step]))
            optimiser.zero_grad()
            nn.functional.cross_entropy(
                theirs(distilled.inputs[3 * step :][:3]), distilled.targets[3 * step :][:3]
            ).backward()
            optimiser.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("optimiser", ["momentum", "adam"])
def test_fit_is_the_same_as_the_sets_optimiser_by_hand(optimiser: str) -> None:
    distilled = make(steps=2, epochs=2, rule=optimiser)
    mine, theirs = toy_model(3), toy_model(3)
    distilled.fit(mine)
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in theirs.parameters()]
    for t in range(4):
        epoch, step = divmod(t, 2)
        loss = nn.functional.cross_entropy(theirs(distilled.inputs[3 * step :][:3]), distilled.targets[3 * step :][:3])
        gradients, size = torch.autograd.grad(loss, list(theirs.parameters())), distilled.step_sizes[epoch, step]
        with torch.no_grad():
            for p, g, (first, second) in zip(theirs.parameters(), gradients, moments, strict=True):
                if optimiser == "momentum":
                    first.mul_(0.9).add_(g)
                    p -= size * first
                else:
                    first.mul_(0.9).add_(0.1 * g)
                    second.mul_(0.999).add_(0.001 * g**2)
                    p -= size * (first / (1 - 0.9 ** (t + 1))) / ((second / (1 - 0.999 ** (t + 1))).sqrt() + 1e-5)
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    plain = make(steps=2, epochs=2).fit(toy_model(3))
    assert not torch.allclose(next(plain.parameters()), next(mine.parameters()), atol=1e-3)


@pytest.mark.parametrize(("std", "channels"), [((0.0,), 1), ((0.5, 0.5), 1), ((0.5, 0.5), 3)])
def test_impossible_normalisations_cannot_be_made(std: tuple, channels: int, as_a_user: None) -> None:
    with pytest.raises(UserError, match=r"std\[0\] is 0.0, but must be a number from 1e-09|give one for each channel"):
        Pixels(mean=(0.25,) * channels, std=std, shape=(channels, 4, 4))


def test_fit_starts_from_the_stored_weights_whatever_the_model_held() -> None:
    distilled = make(fixed=True, seed=5)
    first, second = distilled.fit(toy_model(1)), distilled.fit(toy_model(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    other = distilled.fit(toy_model(1), use_initial=False)
    assert not torch.equal(next(other.parameters()), next(first.parameters()))


def test_fit_refuses_another_architecture() -> None:
    with pytest.raises(UserError, match="the stored initial weights are for 'mlp'"):
        make(fixed=True).fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Tanh(), nn.Linear(3, 3)))


def test_fit_refuses_a_model_that_lacks_the_stored_weights() -> None:
    with pytest.raises(UserError, match="the stored initial weights are for 'mlp'"):
        make(fixed=True).fit(nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(16, 3))))


def test_pixels_and_normalise_are_inverse() -> None:
    distilled = make()
    torch.testing.assert_close(distilled.normalise(distilled.original()), distilled.inputs)
    grey = torch.tensor([0, 255, 64, 128], dtype=torch.uint8).repeat(4).view(1, 1, 4, 4)
    torch.testing.assert_close(distilled.normalise(grey), (grey / 255 - 0.25) / 0.5)


def test_as_dataset_keeps_the_order_of_the_program() -> None:
    distilled = make(steps=2)
    dataset = distilled.as_dataset()
    assert len(dataset) == distilled.size == 6
    image, label = dataset[4]
    assert torch.equal(image, distilled.inputs[4])
    assert label == distilled.targets[4]


def test_bytes_are_those_of_the_tensors() -> None:
    assert make(steps=2, epochs=3).nbytes == 2 * 3 * 16 * 4 + 2 * 3 * 8 + 3 * 2 * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.zeros(8, dtype=torch.long)}, r"shape \(8,\), but for 6 examples it must be \(6,\)"),
        ({"program": ordered(torch.ones(3, 5))}, "5 ordered steps cannot share 6 examples evenly"),
        ({"program": ordered(-torch.ones(3, 2))}, "must be positive"),
        ({"program": ordered(torch.ones(0, 2))}, r"step sizes have shape \(0, 2\)"),
        ({"program": ordered(torch.full((3, 2), float("nan")))}, "must be positive"),
        ({"program": replace(ordered(torch.ones(3, 2)), loss=Divergence())}, "needs the logits of a teacher"),
        ({"header": replace(HEADER, start=Fixed())}, "holds no initial weights"),
        ({"program": ordered(torch.full((3, 2), float("inf")))}, "not finite"),
        ({"inputs": torch.full((6, 1, 4, 4), float("nan"))}, "examples hold values that are not finite"),
        ({"inputs": torch.full((6, 1, 4, 4), 1e10)}, "above 1e"),
        ({"inputs": torch.zeros(6, 2, 4, 4)}, r"shape \(6, 2, 4, 4\), but must be \(n, 1, 4, 4\)"),
        (
            {"targets": torch.full((6,), -100)},
            "labels go from -100 to -100, but .* they must be 0 to 2",
        ),
        ({"targets": torch.full((6,), 3)}, "labels go from 3 to 3"),
        ({"targets": torch.zeros(6, dtype=torch.int32)}, "must be int64"),
        ({"targets": torch.zeros(6, 4)}, r"shape \(6, 4\), but for 6 examples and 3 class names it must be \(6, 3\)"),
        ({"targets": -torch.ones(6, 3)}, r"the smallest is -1; for labels of any sign.* give Signed\(\)"),
        ({"header": replace(HEADER, labels=Signed())}, "must be floating-point numbers, one for each class"),
        ({"header": replace(HEADER, labels=PerEpoch())}, r"must be \(epochs, 6, 3\)"),
        ({"theta_0": {"w": torch.zeros(2)}}, "holds initial weights, but its start is random"),
        ({"header": replace(HEADER, class_names=("a", "b", "a"))}, "class_names holds 'a' twice"),
        ({"header": replace(HEADER, class_names=("a", "b", "\x1b[31m"))}, "without control characters"),
        ({"header": replace(HEADER, objective=Misread(0, 3))}, "target_class is 3, but the classes are 0 to 2"),
        ({"header": replace(HEADER, network="")}, "network is '', but must be a text of 1 to 4096"),
    ],
)
def test_inconsistent_sets_cannot_be_made(change: dict, message: str, as_a_user: None) -> None:
    with pytest.raises(UserError, match=message):
        replace(make(), **change)


def test_the_header_is_plain_json(tmp_path: Path) -> None:
    make().save(tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        header = json.loads(file.metadata()["header"])
    assert header["class_names"] == ["zero", "one", "two"]
    assert header["space"] == {"kind": "pixels", "mean": [0.25], "std": [0.5], "shape": [1, 4, 4]}
    assert header["program"]["order"] == {"kind": "ordered"}


def test_a_set_opens_without_the_code_that_made_it(tmp_path: Path) -> None:
    make().save(tmp_path / "a.safetensors")
    package = Path(datastill.artifact.__file__).parent.parent
    alone = tmp_path / "datastill"
    alone.mkdir()
    (alone / "__init__.py").write_text("")
    for name in (
        "caches",
        "distributed",
        "errors",
        "fitting",
        "importing",
        "label_source",
        "migration",
        "modes",
        "parts",
        "recorded",
        "rng",
        "user_images",
        "user_modules",
    ):
        (alone / f"{name}.py").write_text((package / f"{name}.py").read_text())
    for name in ("artifact", "networks", "objectives", "program", "space", "storage"):
        shutil.copytree(package / name, alone / name)
    code = "from datastill.artifact import DistilledSet; print(DistilledSet.load('a.safetensors').size)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.stdout.strip() == "6", done.stderr


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_packed_examples_are_off_by_half_a_step_at_most_and_survive_any_number_of_rounds(
    seed: int, scale: float, shift: float
) -> None:
    whole = make(seed=seed)
    whole = replace(whole, inputs=whole.inputs * scale + shift * scale)
    packed = whole.packed()
    each = (1, 2, 3)
    spread = whole.inputs.amax(each) - whole.inputs.amin(each)
    off = (packed.inputs - whole.inputs).abs().amax(each)
    assert bool((off <= spread / 127 + 1e-6).all()), "a step is below 1/127 of the range, a power of two"
    assert torch.equal(packed.packed().inputs, packed.inputs)


def test_a_packed_set_is_a_quarter_of_the_bytes_and_opens_as_it_was(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    header = replace(HEADER, space=replace(HEADER.space, shape=(1, 30, 30)))
    big = replace(make(steps=1, epochs=1), inputs=torch.randn(3, 1, 30, 30, generator=draw), header=header)
    packed = big.with_score(SCORE).packed()
    packed.save(tmp_path / "packed.safetensors")
    again = DistilledSet.load(tmp_path / "packed.safetensors")
    assert torch.equal(again.inputs, packed.inputs)
    assert again.header.decode == EightBits()
    assert again.header.score is None, "it was measured before the rounding"
    assert packed.nbytes < big.nbytes / 3.5
    assert again.nbytes == packed.nbytes
    for name, tensor in packed.tensors().items():
        assert torch.equal(again.tensors()[name], tensor)


def test_a_constant_image_is_packed() -> None:
    flat = make()
    flat = replace(flat, inputs=torch.full_like(flat.inputs, 0.3))
    torch.testing.assert_close(flat.packed().inputs, flat.inputs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_examples_of_other_precisions_are_kept_and_scored(tmp_path: Path, dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (30, 4, 4), dtype=torch.uint8).numpy()
    data = datastill.load_data((images, [0, 1, 2] * 10))
    header = replace(HEADER, class_names=data.class_names)
    before = replace(make(), inputs=make().inputs.to(dtype), header=header)
    before.save(tmp_path / "a.safetensors")
    after = DistilledSet.load(tmp_path / "a.safetensors")
    assert torch.equal(after.inputs, before.inputs)
    assert datastill.score(after, data, datastill.Protocol(networks=2)).n == 2
