"""Golden curves: the first outer iterations of each recipe give the numbers on record.

What is recorded is the real loop on the recipe's own network and settings; only what costs time is made smaller, and
`golden/RECIPE.json` says how. All is computed in float64, so that the numbers do not depend on the processor: noise of
1e-13 on the initial weights, a thousand times what rounding does, moves them by less than a tenth of `TOLERANCE`
(measured by `noise` below: at most 4e-7, in unrolled-cifar10; in most recipes less than 1e-9). An outer rate that is
wrong by 3 % moves them by 3 % at the least.

A change that is meant to change the curves, or a recipe, is recorded anew, and the difference is part of the review:

    DATASTILL_DATA=../shared/data python -m tests.test_golden              all recipes
    DATASTILL_DATA=../shared/data python -m tests.test_golden digits       some
    DATASTILL_DATA=../shared/data python -m tests.test_golden noise        what noise and wrong settings change
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import datastill.methods.dataset_distillation
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.recipes import RECIPES, recipe
from datastill.storage.files import write_json
from datastill.training import Hypergradient

from .curves import ITERATIONS, changes, curve, distance, missing, small

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-5
"""Relative."""
ITERATED = [name for name in sorted(RECIPES) if recipe(name).method.rates()]
"""The recipes that have outer iterations."""


@pytest.mark.parametrize("name", ITERATED)
def test_the_first_iterations_of_a_recipe_are_those_on_record(name: str) -> None:
    if reason := missing(name):
        pytest.skip(reason)
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert golden["changes"] == changes(name), f"record anew: python -m tests.test_golden {name}"
    assert len(golden["curve"]["objective"]) == ITERATIONS
    found = curve(name)
    assert found.keys() == golden["curve"].keys()
    for what, numbers in golden["curve"].items():
        assert found[what] == pytest.approx(numbers, rel=TOLERANCE), what


def test_every_record_is_that_of_a_recipe() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(ITERATED)


def test_a_wrong_rate_or_hypergradient_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    golden = json.loads((GOLDEN / "digits.json").read_text())["curve"]
    rates = small("digits").method
    assert isinstance(rates, DatasetDistillation)
    assert distance(curve("digits", examples_rate=1.02 * rates.examples_rate), golden) > 1e-2
    assert distance(curve("digits", step_sizes_rate=1.02 * rates.step_sizes_rate), golden) > 1e-2
    exact = datastill.methods.dataset_distillation.differentiated

    def wrong(*arguments: object, **settings: object) -> Hypergradient:
        found = exact(*arguments, **settings)
        return replace(found, batches={"inputs": 1.02 * found.examples})

    monkeypatch.setattr(datastill.methods.dataset_distillation, "differentiated", wrong)
    assert distance(curve("digits"), golden) > 1e-2


def record(names: list[str]) -> None:
    """Write the curves as they are now."""
    for name in names:
        found = {what: [float(f"{number:.10g}") for number in numbers] for what, numbers in curve(name).items()}
        write_json(GOLDEN / f"{name}.json", {"changes": changes(name), "curve": found})
        print(f"{name}: {found['objective']}")


def noise(names: list[str]) -> None:
    """Print how much noise of 1e-13, and an outer rate that is 3 % too large, change the numbers of each curve."""
    for name in names:
        right, rate = curve(name), small(name).method.examples_rate  # type: ignore[attr-defined]
        found = max(distance(curve(name, noise=1e-13, seed=seed), right) for seed in range(3))
        wrong = distance(curve(name, examples_rate=1.03 * rate), right)
        print(f"{name}: noise {found:.0e}, wrong rate {wrong:.0e}, tolerance {TOLERANCE:.0e}")


if __name__ == "__main__":
    asked = [name for name in sys.argv[1:] if name != "noise"] or ITERATED
    (noise if "noise" in sys.argv else record)(asked)
