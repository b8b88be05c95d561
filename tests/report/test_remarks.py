"""A score near chance or below random real images is remarked on, in the terminal and on the page."""

import json
import re
from dataclasses import asdict, replace

import pytest

from datastill.cli import main
from datastill.methods import METHODS
from datastill.report import remarks, write_report


@pytest.mark.parametrize(
    ("mean", "baseline", "said"),
    [
        (0.95, None, ""),
        (0.95, 0.6, ""),
        (0.6, 0.6, ""),
        (0.59, 0.6, "worse than the baseline: 59.0 % with the set, 60.0 % with as many real images (random real)"),
        (0.0, None, "0.0 % is no better than guessing, which reaches 25.0 % with 4 classes"),
        (0.26, None, "26.0 % is hardly better than guessing, which reaches 25.0 % with 4 classes"),
        (0.1, 0.05, "no better than guessing"),
    ],
)
def test_a_bad_score_is_said_with_what_to_try(make, mean, baseline, said):
    score = {"mean": mean, "sd": 0.0, "n": 1}
    if baseline is not None:
        score["baseline"] = {"kind": "random real", "mean": baseline, "sd": 0.0}
    text = " ".join(remarks(make(score=score)))
    assert said in text
    assert bool(said) == ("--loop.iterations" in text)


def test_a_set_that_was_chosen_without_iterations_is_not_advised_to_iterate_more(make):
    made = make(score={"mean": 0.26, "sd": 0.0, "n": 1})
    chosen = replace(made, header=replace(made.header, provenance={"iterations": 0}))
    assert "--loop" not in " ".join(remarks(chosen))
    assert "a method that learns" in " ".join(remarks(chosen))


def by_method(made, **settings):
    return replace(made, header=replace(made.header, config={"method": settings}))


def test_where_networks_diverged_the_one_advice_is_a_smaller_step_size(make):
    made = by_method(make(classes=10), ipc=1, step_size=0.1)
    found = remarks(made, {"mean": 0.05, "accuracies": [0.0, 0.1]})
    assert "smaller step size (--method.step-size" in found[-1]
    assert "more" not in " ".join(found)


@pytest.mark.parametrize("name", ["gradient-matching", "kernel-ridge", "trajectory-matching", "dataset-distillation"])
def test_advice_names_only_settings_of_the_method(make, name):
    settings = asdict(METHODS[name]())
    made = by_method(make(classes=10), **settings)
    said = " ".join(remarks(made, {"mean": 0.1}) + remarks(made, {"mean": 0.05, "accuracies": [0.0, 0.1]}))
    options = re.findall(r"--method\.([a-z-]+)", said)
    assert "ipc" in options
    assert {option.replace("-", "_") for option in options} <= settings.keys()


def test_many_classes_are_not_near_chance_at_a_few_times_chance(make):
    score = {"mean": 0.09, "sd": 0.0, "n": 1}
    assert not remarks(make(steps=1, classes=100, score=score))


@pytest.mark.usefixtures("without_charts")
def test_a_bad_score_is_said_by_show_and_on_the_page(run_of, make, score_of, capsys):
    bad = {"mean": 0.26, "sd": 0.0, "accuracies": [0.26] * 20}
    folder = run_of(by_method(make(score=score_of() | bad), ipc=1))
    assert main(["show", str(folder / "distilled.safetensors")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "hardly better than guessing" in shown
    assert "worse than the baseline" in shown
    page = write_report(folder).read_text(encoding="utf-8")
    assert "hardly better than guessing" in page
    assert "--method.ipc" in page
    main(["show", str(folder / "distilled.safetensors"), "--json"])
    assert len(json.loads(capsys.readouterr().out)["remarks"]) == 3
