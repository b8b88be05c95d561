import io
import json

import pytest
from rich.console import Console

from datastill.program import PROGRAMS
from datastill.report import as_json, summary, write_report
from datastill.report.figures import as_bytes, caption
from datastill.report.words import times_smaller


def shown(distilled, *, width=100, colours=True):
    console = Console(
        file=io.StringIO(),
        force_terminal=colours,
        color_system="truecolor" if colours else None,
        width=width,
        record=True,
    )
    console.print(summary(distilled))
    return console.export_text(styles=colours)


def test_the_summary_says_what_is_needed_to_use_the_set(make, score_of):
    text = shown(make(epochs=2, score=score_of(), fixed=True), colours=False)
    for said in (
        "digits, 4 classes",
        "12 (3 per class): images of 1 × 8 × 8",
        "hard",
        "3 steps × 2 epochs, ordered, batches of 4",
        "mlp",
        "fixed(xavier): training starts from the initial weights stored with it",
        "87.7 ± 1.2 % (20 networks, 360 test images)",
        "61.0 ± 5.0 % (random real, best 70.0 %)",
        "48 bytes of initial weights",
        "datastill.load(FILE).fit(model)",
        "datastill verify FILE",
    ):
        assert said in text


def test_a_set_without_a_score_says_how_to_get_one(make):
    text = shown(make(), colours=False)
    assert "not measured yet; datastill pack FILE --to NEW writes" in text
    assert "verify" not in text


def test_the_picture_needs_colours_and_width(make):
    assert "▀" not in shown(make(), colours=False)
    assert "▀" in shown(make())
    narrow = shown(make(classes=10), width=40)
    assert "▀" not in narrow
    assert "60 columns" in " ".join(narrow.split())


def test_no_line_is_wider_than_the_terminal(make, score_of):
    for width in (30, 60, 100, 200):
        lines = Console(width=width, color_system="truecolor", force_terminal=True, record=True, file=io.StringIO())
        lines.print(summary(make(classes=10, score=score_of())))
        assert max(map(len, lines.export_text().splitlines())) <= width


def test_half_blocks_carry_the_pixels_of_the_examples_in_class_order(make):
    distilled = make(steps=1, labels=[[1, 0, 3, 2]], shape=(1, 3, 5), scale=0.1)
    tiles = as_bytes(distilled)
    text = shown(distilled)
    for index in range(4):
        upper, lower = tiles[0, index, 0, 0], tiles[0, index, 1, 0]
        colours = f"38;2;{upper[0]};{upper[1]};{upper[2]};48;2;{lower[0]};{lower[1]};{lower[2]}m▀"
        assert colours in text
    first = text[text.index("▀") - 40 : text.index("▀")]
    assert f"38;2;{tiles[0, 1, 0, 0, 0]};" in first  # the example of class 0


def test_many_steps_are_cut_and_counted(make):
    assert "(the first 10 of 12 steps)" in shown(make(steps=12))


@pytest.mark.parametrize("soft", [False, True])
def test_the_json_is_plain_and_true(make, score_of, soft):
    distilled = make(epochs=2, soft=soft, score=score_of())
    told = json.loads(json.dumps(as_json(distilled)))
    assert told["labels"] == ("soft" if soft else "hard")
    assert (told["examples"], told["steps"], told["epochs"], told["batch"]) == (12, 3, 2, 4)
    assert told["shape"] == [1, 8, 8]
    assert told["step_sizes"]["values"] == distilled.step_sizes.tolist()
    assert told["step_sizes"]["max"] == distilled.step_sizes.max().item()
    assert told["bytes"] == distilled.nbytes
    assert told["score"]["mean"] == 0.8768


@pytest.mark.parametrize(
    ("ratio", "text"), [(5.678, "5.68 ×"), (99.96, "100 ×"), (1338.7, "1\u202f340 ×"), (4e6, "4\u202f000\u202f000 ×")]
)
def test_a_ratio_is_written_in_full_with_three_digits(ratio: float, text: str) -> None:
    assert times_smaller(ratio) == text


@pytest.mark.usefixtures("undrawn")
def test_a_set_of_shuffled_batches_is_shown_as_it_is_used(make, tmp_path):
    distilled = make().with_program(PROGRAMS["shuffled-300"])
    assert "1 step × 300 epochs, shuffled, batches of 12" in " ".join(shown(distilled, colours=False).split())
    assert PROGRAMS["shuffled-300"].augmentation.words in " ".join(shown(distilled, colours=False).split())
    assert "Rows are gradient steps" not in caption(distilled)
    assert as_json(distilled)["program"]["order"]["kind"] == "shuffled"
    distilled.save(tmp_path / "distilled.safetensors")
    assert "300 gradient steps, on shuffled batches" in write_report(tmp_path).read_text(encoding="utf-8")
