import re
import xml.etree.ElementTree as ET

import pytest
import torch

from datastill.report.charts import accuracy_chart, learning_chart, program_chart, step_size_chart


def texts(svg):
    root = ET.fromstring(svg.replace("xlink:href", "href"))
    return [text for element in root.iter("text") if (text := "".join(element.itertext()).strip())]


@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (7, 1), (3, 10), (1, 300), (100, 30)])
def test_step_sizes_are_drawn_with_named_axes(shape):
    shown = texts(step_size_chart(torch.rand(shape) + 0.01))
    assert "step size" in shown
    assert ("epoch" in shown) == (shape[0] > 1)
    assert ("step" in shown) == (shape[0] == 1 or shape[1] > 1)


def test_a_small_heat_map_has_every_step_size_written_in():
    sizes = torch.tensor([[0.011, 0.022, 0.033], [0.044, 0.055, 0.066]])
    assert {f"{value:.2g}" for value in sizes.flatten().tolist()} <= set(texts(step_size_chart(sizes)))


def test_the_learning_chart_has_a_panel_for_what_there_is():
    objective = [{"iteration": i, "objective": 1.0 / i} for i in range(1, 20)]
    validation = [{"iteration": i, "validation": {"mean": 0.5, "sd": 0.1, "n": 3}} for i in (5, 10)]
    both, first, second = (texts(learning_chart(lines)) for lines in (objective + validation, objective, validation))
    assert {"objective", "validation accuracy", "outer iteration"} <= set(both)
    assert "validation accuracy" not in first
    assert "objective" not in second
    assert learning_chart([]) is None
    assert learning_chart([{"iteration": 3, "seconds": 1.0}]) is None


def test_values_that_are_not_finite_leave_the_rest_standing():
    lines = [{"iteration": i, "objective": v} for i, v in enumerate((1.0, float("nan"), float("inf"), None, 0.5))]
    assert learning_chart(lines) == learning_chart([lines[0], lines[4]])
    assert learning_chart(lines[1:4]) is None


def test_the_program_chart_marks_the_ends_of_epochs_and_counts_steps():
    curve = {"split": "validation", "mean": [0.1, 0.3, 0.5, 0.6, 0.7], "sd": [0.0, 0.1, 0.1, 0.1, 0.1]}
    assert "gradient steps taken (of 4, dashed: end of an epoch)" in texts(program_chart(curve, steps=2))
    assert "gradient steps taken (of 4)" in texts(program_chart(curve, steps=4))
    assert "validation accuracy" in texts(program_chart(curve, steps=2))


def test_the_spread_has_the_baseline_when_it_was_measured():
    baseline = {"kind": "random real", "mean": 0.6, "best": 0.7, "accuracies": [0.5, 0.7]}
    shown = texts(accuracy_chart([0.8, 0.9], baseline, split="test"))
    assert {"distilled (n = 2)", "random real (n = 2)", "random real, best", "test accuracy", "networks"} <= set(shown)
    assert not [text for text in texts(accuracy_chart([0.8, 0.9], None, split="test")) if "random" in text]


@pytest.mark.parametrize("accuracies", [[0.5], [1.0] * 200, [0.0, 1.0]])
def test_any_spread_can_be_drawn(accuracies):
    assert "networks" in texts(accuracy_chart(accuracies, None, split="test"))


def test_charts_are_the_same_each_time_and_name_no_address():
    sizes = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    assert step_size_chart(sizes) == step_size_chart(sizes)
    assert "http" not in step_size_chart(sizes)


@pytest.fixture(scope="module")
def charts():
    """One chart of each kind."""
    return [
        step_size_chart(torch.rand(1, 4)),
        learning_chart([{"iteration": i, "objective": 1.0 / i} for i in range(1, 200)]),
        program_chart({"mean": [0.1, 0.2, 0.3], "sd": [0.1, 0.1, 0.1]}, steps=1),
        accuracy_chart([0.8, 0.9], {"kind": "random real", "mean": 0.6}, split="test"),
    ]


def test_no_two_charts_share_an_id(charts):
    ids = [set(re.findall(r'\bid="([^"]+)"', chart)) for chart in charts]
    assert sum(map(len, ids)) == len(set.union(*ids))
    for chart, own in zip(charts, ids, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([^")]+)', chart)) <= own


def test_text_from_outside_is_escaped():
    chart = accuracy_chart([0.8], {"kind": "<script>alert(1)</script>", "mean": 0.5}, split="test")
    assert "<script" not in chart


def test_every_colour_but_those_of_the_data_is_one_that_the_page_sets_for_light_and_dark(charts):
    for chart in charts:
        fixed = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", chart))
        assert fixed <= {"#8a929c"}, fixed  # a grey that can be read on both
        assert "var(--chart-blue, #0072b2)" in chart


@pytest.mark.parametrize("name", ["$x_{$", "$\\frac{$", "[red]x[/red]"])
def test_charts_take_any_name_as_it_is(name):
    assert f"{name}, mean" in texts(accuracy_chart([0.8], {"kind": name, "mean": 0.5}, split="test"))


def test_the_labels_of_a_logarithmic_axis_are_plain_numbers() -> None:
    chart = learning_chart([{"iteration": i, "objective": 100.0 if i % 40 == 0 else 0.5} for i in range(1, 200)])
    assert chart
    assert ">10</text>" in chart
    assert "mathdefault" not in chart
