"""The optimiser that a set is for is named wherever its use is described, and everything show has is in its JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from datastill.artifact import EightBits
from datastill.cli import main
from datastill.objectives import Misread
from datastill.program import OPTIMISERS, optimiser, optimiser_code, torch_form
from datastill.report import as_json, grid, write_report
from datastill.report.page import Run, render


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize("name", list(OPTIMISERS))
def test_show_and_page_name_the_optimiser_with_its_numbers(run_of, make, name, capsys):
    distilled = make()
    folder = run_of(distilled.with_program(replace(distilled.program, optimiser=OPTIMISERS[name])))
    main(["show", str(folder / "distilled.safetensors")])
    assert OPTIMISERS[name].words in " ".join(capsys.readouterr().out.split())
    page = write_report(folder).read_text(encoding="utf-8")
    assert optimiser_code(OPTIMISERS[name]) in page.replace("&#39;", "'")
    assert page.count(OPTIMISERS[name].words) >= 3  # beside the score, in the snippet and below it


@pytest.mark.parametrize("name", list(OPTIMISERS))
def test_the_named_optimiser_is_the_one_that_sets_are_distilled_for(name):
    start, gradients = torch.tensor([[0.3, -0.2, 0.0]]).double(), torch.randn(4, 1, 3, dtype=torch.float64)
    state, rule = OPTIMISERS[name].start(start), OPTIMISERS[name]
    parameter = torch.nn.Parameter(start[0].clone())
    model = torch.nn.ParameterList([parameter])
    ours = torch_form(optimiser(name), list(model))
    code = eval(optimiser_code(OPTIMISERS[name]), {"torch": torch, "model": model, "step_size": 0.1})
    assert code.defaults == ours.defaults | {"lr": 0.1}
    for t, gradient in enumerate(gradients):
        state = rule.update(state, gradient, torch.tensor(0.1, dtype=torch.float64), t)
        ours.param_groups[0]["lr"] = 0.1
        parameter.grad = gradient[0]
        ours.step()
    assert torch.allclose(state[0][0], parameter.detach(), atol=1e-12)


def test_the_json_has_what_a_stranger_needs(make):
    distilled = make()
    header = replace(
        distilled.header,
        objective=Misread(1, 2),
        decode=EightBits(),
        frozen="ab" * 32,
        provenance={"data_sha256": {"test": "cd" * 32}},
    )
    program = replace(distilled.program, optimiser=optimiser("adam"))
    found = json.loads(json.dumps(as_json(replace(distilled, header=header, program=program))))
    assert found["optimiser"]["arguments"] == {
        "betas": [0.9, 0.999],
        "eps": 1e-5,
        "amsgrad": False,
        "weight_decay": 0.0,
    }
    assert found["objective"] == {"kind": "misread", "attacked_class": "class 1", "target_class": "class 2"}
    assert (found["decode"], found["frozen_sha256"], found["data_sha256"]) == (
        {"kind": "8-bits"},
        "ab" * 32,
        {"test": "cd" * 32},
    )


@pytest.mark.parametrize(("ending", "kind"), [(".png", "PNG"), (".jpg", "JPEG"), (".JPEG", "JPEG"), (".webp", "WEBP")])
def test_a_picture_is_what_its_ending_says(tmp_path, make, ending, kind):
    make().save(tmp_path / "set.safetensors")
    assert main(["show", str(tmp_path / "set.safetensors"), "--to", str(tmp_path / f"grid{ending}")]) == 0
    with Image.open(tmp_path / f"grid{ending}") as picture:
        assert picture.format == kind
        assert picture.size == grid(make()).size


@pytest.mark.parametrize("name", ["grid.gif", "grid", "grid.txt"])
def test_other_endings_are_refused_by_name(tmp_path, make, name, capsys):
    make().save(tmp_path / "set.safetensors")
    assert main(["show", str(tmp_path / "set.safetensors"), "--to", str(tmp_path / name)]) == 2
    assert ".png, .jpg, .jpeg, .webp" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / name).exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("evil", ["$x_{$", "$\\frac{$", "<b>x</b>", "[red]x[/red]"])
def test_any_name_leaves_page_and_picture_whole(make, score_of, evil):
    distilled = make(score=score_of())
    score = score_of() | {"baseline": {**score_of()["baseline"], "kind": evil}}
    header = replace(
        distilled.header, class_names=tuple(f"{evil}{k}" for k in range(4)), objective=Misread(0, 1), score=score
    )
    one = replace(distilled, header=header)
    assert grid(one).size[0] > 0
    assert as_json(one)["objective"] == {"kind": "misread", "attacked_class": f"{evil}0", "target_class": f"{evil}1"}
    run = Run(folder=Path(), distilled=one, config=None, lines=[], score=score)
    assert "<b>x</b>" not in render(run)
