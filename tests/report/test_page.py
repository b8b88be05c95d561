import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

import datastill
from datastill.artifact import DistilledSet
from datastill.errors import UserError
from datastill.report import write_report
from datastill.report.figures import grid
from datastill.report.page import snippet
from datastill.report.words import times_smaller

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that tags nest, and keeps the text, the attributes and the tags."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open, self.tags, self.values, self.words = [], [], [], []
        self.feed(self.source)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


@pytest.mark.usefixtures("without_charts")
def test_the_page_tells_score_baseline_command_and_versions(finished):
    path = write_report(finished)
    text = Page(path).text
    assert path == finished / "report.html"
    for said in (
        "87.7 ± 1.2 %",
        "20 networks",
        "360 real images",
        "61.0 ± 5.0 %",
        "best 70.0 %",
        "9.8.7",
        "2-core",
    ):
        assert said in text
    assert "datastill distill digits --method.steps 3 --note '<b>&'" in text  # escaped in the source
    assert "<b>&'" not in Page(path).source
    assert f"datastill verify {finished / 'distilled.safetensors'}" in text
    assert "loop.decay 0.5, 100" in text
    assert "1 min 1 s" in text


def test_the_page_needs_nothing_from_outside(drawn):
    page = Page(drawn)
    source = re.sub(r'"data:image/png;base64,[^"]*"', "", page.source)
    assert not re.search(r"https?:|@import|//[a-z]", source, flags=re.IGNORECASE)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    for tag, name, value in page.values:
        if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith(("data:", "#")), (tag, name, value[:60])
    assert ("meta", "content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.values


@pytest.mark.usefixtures("without_charts")
def test_the_picture_on_the_page_is_the_grid(finished):
    source = write_report(finished).read_text(encoding="utf-8")
    encoded = re.search(r'src="data:image/png;base64,([^"]+)"', source).group(1)
    shown = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    expected = grid(DistilledSet.load(finished / "distilled.safetensors"), transparent=True)
    assert shown.tobytes() == expected.tobytes()


def test_ids_are_unique(drawn):
    ids = [value for _, name, value in Page(drawn).values if name == "id"]
    assert ids
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("without_charts")
def test_bytes_and_compression_are_counted(run_of, make, score_of):
    distilled = make(fixed=True, score=score_of())
    text = Page(write_report(run_of(distilled))).text
    stored = 3 * 4 * 64 * 4 + 3 * 4 * 8 + 3 * 4  # examples, labels, step sizes
    assert f"{stored / 1000:.3g} kB" in text
    assert "48 bytes of initial weights" in text
    assert times_smaller(1500 * 64 / (stored + 48)) in text
    assert "initial weights stored in the set" in text


@pytest.mark.usefixtures("undrawn")
def test_an_unfinished_run_has_a_page_that_says_what_is_missing(run_of, make):
    folder = run_of(make(), config=False, lines=None)
    text = Page(write_report(folder)).text
    for said in ("has no score", "no config.json", "no metrics.jsonl", "no score yet"):
        assert said in text
    assert "±" not in text


@pytest.mark.usefixtures("undrawn")
def test_empty_broken_or_odd_metrics_are_survived(run_of, make, score_of):
    folder = run_of(make(score=score_of()))
    for content in ("", "\n\n", '{"iteration": 1, "obj', "[1, 2]\n3\n", '{"iteration": 2, "objective": NaN}\n'):
        (folder / "metrics.jsonl").write_text(content)
        assert "without a single iteration" in Page(write_report(folder)).text
    (folder / "metrics.jsonl").write_text(
        '{"iteration": 1, "objective": 2.0}\n{"iteration": 2, "objective": 1.5}\n{"it'
    )
    assert "without a single iteration" not in Page(write_report(folder)).text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("method", ["dataset-distillation", "distribution-matching"])
def test_the_curve_of_a_run_is_that_of_what_its_own_method_lowers(run_of, make, score_of, method):
    """Only dataset distillation lowers the loss on real data: others match features, gradients or weights."""
    distilled = make(score=score_of())
    distilled = replace(distilled, header=replace(distilled.header, method=method))
    text = Page(
        write_report(run_of(distilled, lines=[{"iteration": 1, "objective": 2.0}, {"iteration": 2, "objective": 1.5}]))
    ).text
    assert f"The objective is what {method} lowers." in text


@pytest.mark.usefixtures("undrawn")
def test_a_score_without_details_beside_the_set_is_shown(run_of, make, score_of):
    folder = run_of(make())
    one = {"n": 1, "mean": 0.5, "sd": 0.0, "accuracies": [0.5]}
    short = {key: score_of()[key] for key in ("split", "images", "protocol")} | one
    short["protocol"]["networks"] = 1
    (folder / "score.json").write_text(json.dumps(short))
    text = Page(write_report(folder)).text
    assert "50.0 %" in text
    assert "test accuracy of 1 network" in text
    assert "there is no spread" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("score.json", '{"mean": 0.5}', "score.json: score lacks 'split'; remove it, or run again"),
        ("score.json", "[1]", "score.json: score is a list of 1, but must be a record of named values"),
        ("config.json", '{"config": 3}', "config.json: config.config is 3, but must be a record"),
        ("config.json", '{"command": "a\\u001b[2J"}', "config.command is .* without control characters"),
        ("metrics.jsonl", '{"iteration": 1}\n{"iteration": "x"}', "line 2: the record.iteration is 'x', but must be"),
    ],
)
def test_a_changed_file_of_a_run_is_named_with_what_is_wrong(run_of, make, name, content, message):
    folder = run_of(make())
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=message):
        write_report(folder)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "kind",
    [
        {"steps": 1, "classes": 10, "shape": (1, 28, 28), "epochs": 5},
        {"steps": 2, "shape": (3, 32, 32), "soft": True},
        {"steps": 1, "classes": 120, "shape": (1, 4, 4)},
    ],
)
def test_any_set_has_a_page(run_of, make, kind):
    assert "digits, distilled to" in Page(write_report(run_of(make(**kind)))).text


def test_names_cannot_smuggle_markup_into_the_page(run_of, make):
    distilled = make()
    evil = "<script>alert('x')</script>"
    names = tuple(f"{evil}{i}" for i in range(4))
    header = {**distilled.header.__dict__, "data": evil, "network": evil, "class_names": names, "method": evil}
    page = Page(
        write_report(run_of(DistilledSet(**{**distilled.__dict__, "header": type(distilled.header)(**header)})))
    )
    assert "script" not in page.tags


def test_the_snippet_runs_as_it_stands(tmp_path, monkeypatch, make):
    make().save(tmp_path / "distilled.safetensors")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(snippet(make()), names)
    assert names["predicted"].shape == (8,)
    assert not names["model"].training
    start = names["network"].named(names["theta"])
    assert all(not torch.equal(start[name], value) for name, value in names["model"].named_parameters())
    assert names["DistilledSet"] is datastill.DistilledSet


@pytest.mark.usefixtures("without_charts")
def test_the_page_can_be_written_elsewhere(finished, tmp_path):
    assert write_report(finished, tmp_path / "new" / "page.html").is_file()
    assert not (finished / "report.html").exists()


def test_a_missing_folder_or_set_says_what_to_do(tmp_path):
    (tmp_path / "file.txt").touch()
    with pytest.raises(UserError, match=r"file.txt is a file, not the folder of a run or of results"):
        write_report(tmp_path / "file.txt")
    with pytest.raises(UserError, match=r"no run folder at .*datastill distill"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no distilled\.safetensors; finish the run"):
        write_report(tmp_path)
    (tmp_path / "snapshots.safetensors").touch()  # of a run that is not finished
    with pytest.raises(UserError, match="finish the run first"):
        write_report(tmp_path)
    (tmp_path / "0.safetensors").touch()
    with pytest.raises(UserError, match=r"holds sets, but no run, .*; datastill evaluate .* compares sets"):
        write_report(tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome to open the page with")
def test_a_browser_opens_the_page_without_a_complaint(drawn, tmp_path):
    probe = tmp_path / "probe.html"  # the page's own policy forbids scripts, so a copy without it measures
    measure = """<script>addEventListener("load", () => { const e = document.documentElement;
      document.title = "probe " + JSON.stringify({broken: [...document.images].filter(i => !i.naturalWidth).length,
      images: document.images.length,
      charts: [...document.querySelectorAll("svg.chart")].filter(s => s.getBoundingClientRect().height > 100).length,
      spilled: [...document.querySelectorAll(".facts .value")].filter(v => v.scrollWidth > v.clientWidth).length,
      wide: e.scrollWidth - e.clientWidth}) })</script>"""
    source = re.sub(r"<meta http-equiv=[^>]*>", "", drawn.read_text(encoding="utf-8"))
    probe.write_text(source.replace("</head>", measure + "</head>"), encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    options += "--disable-component-update --disable-sync --enable-logging=stderr"
    for file, width in ((drawn, 500), (probe, 500), (probe, 1100)):
        profile, size = f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"
        command = [CHROMIUM, *options.split(), profile, size, "--dump-dom", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert "87.7 ± 1.2 %" in done.stdout
        assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        if file == probe:
            found = json.loads(re.search(r"<title>probe (.*?)</title>", done.stdout).group(1))
            assert found == {"broken": 0, "images": 1, "charts": 4, "spilled": 0, "wide": 0}
