"""Stored images that hold several examples: cutting, enlarging, their gradient, their file and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datastill import DistilledSet, Protocol, UserError, distill, load_rows, score
from datastill.artifact import EightBits, PixelBytes, Pixels, examples_of
from datastill.baselines import Beside
from datastill.evaluation import compare
from datastill.evaluation.clean import with_clean
from datastill.exporting import export
from datastill.methods import must_take
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.methods.distribution_matching import DistributionMatching
from datastill.methods.kernel_ridge import KernelRidge
from datastill.methods.selection import RandomReal
from datastill.parts import cut, decoded, enlarged, enlarged_gradient, reduced, together
from datastill.rng import generator
from datastill.storage.files import read_tensors
from datastill.synthetic import basis, start_examples, start_labels
from datastill.training import PLAIN, Unroll

from .test_artifact import HEADER
from .toys import toy_config, toy_data, toy_set, toy_task

DATA = toy_data()
DOUBLE = torch.float64


def halves(stored: torch.Tensor) -> DistilledSet:
    """A set of stored images with four examples each, of class 0, 1, 2, 0, ..."""
    labels = torch.arange(len(stored)).repeat_interleave(4) % 3
    header = replace(toy_set(DATA).header, enlarged=2, score=None)
    return replace(toy_set(DATA), **examples_of(stored, 2), targets=labels, header=header)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_cutting_is_the_inverse_of_putting_together(n: int, c: int, h: int, w: int, factor: int) -> None:
    parts = noise(n * factor**2, c, h, w)
    whole = together(parts, factor)
    assert whole.shape == (n, c, factor * h, factor * w)
    assert torch.equal(cut(whole, factor), parts)


def test_a_stored_image_holds_its_parts_in_rows() -> None:
    parts = noise(8, 3, 2, 5)
    whole = together(parts, 2)
    for i in range(2):
        for place, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
            found = whole[i, :, 2 * row : 2 * row + 2, 5 * column : 5 * column + 5]
            assert torch.equal(found, parts[4 * i + place])


def test_enlarging_interpolates_between_the_centres_of_pixels() -> None:
    """A ramp stays a ramp; beyond the outermost centres, values are those of the border."""
    line = torch.arange(4, dtype=DOUBLE).expand(1, 1, 4, 4)
    wanted = ((torch.arange(8, dtype=DOUBLE) + 0.5) / 2 - 0.5).clamp(0, 3)
    torch.testing.assert_close(enlarged(line, 2)[0, 0, 5], wanted)
    torch.testing.assert_close(enlarged(line.mT, 2)[0, 0, :, 3], wanted)


@given(st.integers(1, 4))
def test_constant_images_are_reduced_and_enlarged_to_themselves(factor: int) -> None:
    flat = torch.full((2, 1, 4 * factor, 4 * factor), 0.3, dtype=DOUBLE)
    torch.testing.assert_close(enlarged(reduced(flat, factor), factor), flat)


def test_decoding_commutes_with_normalisation() -> None:
    stored, space = noise(2, 1, 4, 4, dtype=DOUBLE), Pixels(mean=(0.25,), std=(0.5,), shape=(1, 4, 4))
    torch.testing.assert_close(decoded(space.original(stored), 2), space.original(decoded(stored, 2)))


@pytest.mark.parametrize("coordinates", ["pixels", "principal"])
@pytest.mark.parametrize("factor", [1, 2])
def test_the_gradient_through_decoding_is_that_of_finite_differences(coordinates: Any, factor: int) -> None:
    found = basis(DATA.in_precision(DOUBLE), coordinates, factor)
    side = 4 // factor
    z, weight = noise(2, 3, 1, side, side, dtype=DOUBLE), noise(2, 3, 1, 4, 4, dtype=DOUBLE)

    def value(z: torch.Tensor) -> torch.Tensor:
        return (weight * found.examples(z).sin()).sum()

    gradient = found.gradient(weight * found.examples(z).cos())
    step = 1e-5 * torch.eye(z.numel(), dtype=DOUBLE).view(-1, *z.shape)
    differences = torch.stack([(value(z + each) - value(z - each)) / 2e-5 for each in step]).view(z.shape)
    torch.testing.assert_close(gradient, differences, rtol=1e-7, atol=1e-7)


def test_the_gradient_of_several_networks_is_that_of_each() -> None:
    gradient = noise(3, 5, 1, 4, 4, dtype=DOUBLE)
    whole = enlarged_gradient(gradient, 2)
    torch.testing.assert_close(whole, torch.stack([enlarged_gradient(each, 2) for each in gradient]))


def test_an_iteration_gives_the_gradient_of_its_objective_for_stored_parts() -> None:
    """Of kernel ridge regression and of unrolled training, in float64, along a random direction."""
    exact = Unroll(networks=1, engine=replace(PLAIN, precision="float64"))
    for method in (
        KernelRidge(ipc=1, factor=2, real_batch=32, kernel="fully-connected", coordinates="principal"),
        DatasetDistillation(ipc=1, steps=1, epochs=2, factor=2, real_batch=32, coordinates="principal", unroll=exact),
    ):
        task = toy_task()
        task = replace(task, data=task.data.in_precision(DOUBLE))
        state = method.init(task)
        direction = torch.randn_like(state.learned["examples"])

        def objective(size: float) -> float:
            learned = state.learned | {"examples": state.learned["examples"] + size * direction}  # noqa: B023
            return method.step(task, replace(state, learned=learned), 0).objective  # noqa: B023

        slope = float((method.step(task, state, 0).gradients["examples"][0] * direction).sum())
        assert slope == pytest.approx((objective(1e-5) - objective(-1e-5)) / 2e-5, rel=1e-5, abs=1e-9)


def test_each_part_comes_from_another_real_image_of_its_class() -> None:
    draw = torch.Generator().manual_seed(0)
    parts = start_examples(DATA, ipc=4, steps=2, start="real", generator=draw, factor=2)
    labels = start_labels(DATA, ipc=4, steps=2, factor=2)
    assert parts.shape == (2, 24, 1, 2, 2)
    assert labels.tolist() == [[0] * 8 + [1] * 8 + [2] * 8] * 2
    small = reduced(DATA.normalise(DATA.train.images), 2)
    found = []
    for part, label in zip(parts.flatten(0, 1), labels.flatten(), strict=True):
        alike = [i for i, image in enumerate(small) if torch.equal(image, part)]
        assert {int(DATA.train.labels[i]) for i in alike} == {int(label)}
        found += alike
    assert len(set(found)) == 48


def test_a_stored_image_is_four_examples_in_its_file_and_out_of_it(tmp_path: Path) -> None:
    one = replace(halves(noise(1, 1, 4, 4)), targets=torch.tensor([0, 0, 0, 0]))
    one.save(tmp_path / "a.safetensors")
    again = DistilledSet.load(tmp_path / "a.safetensors")
    assert (one.size, len(one.images), again.size) == (4, 1, 4)
    assert again.header == one.header
    assert torch.equal(again.stored, one.stored)
    assert torch.equal(again.inputs, one.inputs)
    assert torch.equal(read_tensors(tmp_path / "a.safetensors")[1]["inputs"], one.stored)
    assert one.nbytes == 16 * 4 + 4 * 8 + one.step_sizes.numel() * 4
    again.save(tmp_path / "b.safetensors")
    one_digest, other = (read_tensors(tmp_path / f"{name}.safetensors")[0]["sha256"] for name in "ab")
    assert one_digest == other


def test_packing_rounds_what_is_stored() -> None:
    whole = halves(noise(3, 1, 4, 4))
    packed = whole.packed()
    assert packed.header.decode == EightBits()
    assert torch.equal(packed.inputs, decoded(packed.stored, 2))
    assert 0 < float((packed.stored - whole.stored).abs().max()) < 0.05
    real = halves(DATA.normalise(DATA.train.images[:3]))
    assert real.packed().header.decode == PixelBytes()
    assert torch.equal(real.packed().inputs, real.inputs)


def test_a_run_with_a_factor_is_scored_compared_and_continued(tmp_path: Path) -> None:
    method = replace(toy_config(engine=PLAIN).method, factor=2)
    distilled = distill(toy_config(engine=PLAIN, method=method, random_sets=1), tmp_path / "run", data=DATA)
    found = DistilledSet.load(tmp_path / "run")
    assert (found.size, len(found.images), found.ipc) == (24, 6, 2)
    assert torch.equal(found.inputs, distilled.inputs)
    beside = Beside.of(found, DATA).made(RandomReal(), tune=False)
    assert beside.inputs.shape == found.stored.shape, "a baseline has as many stored images"
    rows = list(compare({"learned": [found], "random": [beside]}, DATA, Protocol(networks=1)))
    assert [row.pixels for row in rows] == ["decoded", "plain"]
    assert score(found, DATA, Protocol(networks=1)).n == 1
    again = toy_config(engine=PLAIN, method=method, warm_start=str(tmp_path / "run"))
    begun = method.init(replace(toy_task(), warm_start=_start(again)))
    torch.testing.assert_close(
        basis(DATA, "principal", 2).examples(begun.learned["examples"]).flatten(0, 1), found.inputs
    )
    with pytest.raises(UserError, match="the warm start has factor 2, but this run has 1; take factor 2"):
        replace(method, factor=1).check(replace(toy_task(), warm_start=_start(again)))


def _start(config: Any) -> Any:
    from datastill.initial_weights import as_start, earlier_set

    earlier = earlier_set(config, DATA)
    assert earlier is not None
    return as_start(earlier, DATA)


def test_images_with_clean_ones_beside_them_are_plain() -> None:
    one = halves(noise(3, 1, 4, 4))
    poisoned = with_clean(one, DATA, ipc=1)
    assert (poisoned.size, poisoned.header.enlarged, poisoned.stored) == (15, 1, None)


@pytest.mark.parametrize("kind", ["png", "npz", "parquet"])
def test_an_export_holds_the_examples_and_says_so(kind: str, tmp_path: Path) -> None:
    import numpy as np

    one = halves(noise(3, 1, 4, 4))
    to = export(one, tmp_path / "out", kind)
    text = str(np.load(to)["README.md"]) if kind == "npz" else (to / "README.md").read_text()
    assert "12 examples are parts of 3 stored images, enlarged" in text
    if kind == "npz":
        assert np.array_equal(np.load(to)["inputs"], one.inputs.numpy())


def test_examples_and_stored_images_must_agree() -> None:
    one = halves(noise(3, 1, 4, 4))
    for change in ({"stored": None}, {"stored": one.stored + 1}, {"header": replace(one.header, enlarged=1)}):
        with pytest.raises(UserError, match="the examples are not those of the stored images"):
            replace(one, **change)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (0, "factor is 0, but must be at least 1"),
        (3, "factor is 3, but images of 4x4 cannot be divided into equal parts by it; take a factor that divides"),
        (17, "factor is 17, but must be at most 16"),
    ],
)
def test_a_factor_that_does_not_fit_is_one_clear_error(factor: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        must_take(DistributionMatching(factor=factor, ipc=1), toy_task())


def test_only_images_have_parts() -> None:
    values, labels = noise(90, 3).numpy(), [0, 1, 2] * 30
    splits = {"train": (values[:60], labels[:60]), "test": (values[60:], labels[60:])}
    rows = load_rows(splits, columns=("a", "b", "c"), name="rows")
    with pytest.raises(UserError, match="factor is 2, which is for images, but the examples are no images"):
        start_examples(rows, ipc=1, steps=1, start="real", generator=generator(0, "any"), factor=2)


def test_too_few_real_images_for_all_parts_are_named() -> None:
    with pytest.raises(UserError, match="80 images per class wanted, but class '0' has 48"):
        must_take(DistributionMatching(factor=2, ipc=20), toy_task())


def test_a_file_that_asks_for_too_much_memory_is_refused() -> None:
    with pytest.raises(UserError, match="are 2097152 examples, of more than"):
        decoded(torch.zeros(1, 1, 1, 1).expand(8192, 4, 16, 16), 16)
    assert HEADER.enlarged == 1
