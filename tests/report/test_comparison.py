"""The page that compares runs: its table, its curves, hostile names, and what a browser does with it."""

import base64
import hashlib
import json
import math
import re
import subprocess
from dataclasses import replace

import pytest

from datastill.cli import main
from datastill.errors import UserError
from datastill.report import write_comparison
from datastill.report.comparison import _validation
from datastill.report.reading import read_run

from .conftest import distilled_set, measured, metrics, write_run
from .test_page import CHROMIUM, Page

EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs: hard labels with score and log, soft labels, and one that was never measured."""
    folder = tmp_path_factory.mktemp("three") / "runs"
    soft = measured() | {"protocol": {**measured()["protocol"], "labels": "soft"}}
    sets = {
        "hard": distilled_set(score=measured()),
        "soft": distilled_set(soft=True, steps=2, score=soft),
        "unscored": distilled_set(steps=10),
    }
    logs = {"hard": metrics(), "soft": None, "unscored": metrics()}
    return [write_run(folder / name, one, lines=logs[name]) for name, one in sets.items()]


@pytest.fixture
def without_curves(monkeypatch):
    monkeypatch.setattr("datastill.report.comparison._curves", lambda runs: iter(()))


@pytest.fixture(scope="module")
def compared(runs):
    """The page that compares them."""
    return write_comparison(runs)


def test_each_run_has_a_row_and_kinds_of_labels_have_columns_of_their_own(runs, compared):
    assert compared == runs[0].parent / "comparison.html"
    page = Page(compared)
    for said in ("3 runs compared", "hard labels", "soft labels", "random real", "87.7 ± 1.2 %", "no score"):
        assert said in page.text
    heads = re.search("<thead>(.*?)</thead>", page.source, flags=re.DOTALL).group(1)
    titles = re.findall("<th[^>]*>(.*?)</th>", heads)
    row = re.search(r"<tr data-run=\"1\">(.*?)</tr>", page.source, flags=re.DOTALL).group(1)
    cells = dict(zip(titles, re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row), strict=True))
    assert cells["hard labels"] == ""
    assert cells["soft labels"] == "87.7 ± 1.2 %"
    assert cells["examples"] == "8"


def test_all_curves_are_in_one_chart_and_runs_without_one_are_named(compared):
    source = compared.read_text(encoding="utf-8")
    drawn = set(re.findall(r'id="([^"]*-run-\d)"', source))
    assert {f"outer-iteration-line-run-{i}" for i in (0, 2)} <= drawn
    assert {f"gradient-steps-taken-line-run-{i}" for i in (0, 1)} <= drawn
    assert "outer-iteration-line-run-1" not in drawn
    assert "Without a line: soft." in source
    ids = re.findall(r' id="([^"]+)"', source)
    assert len(ids) == len(set(ids))


def test_lines_of_a_log_that_lack_a_number_are_left_out(tmp_path):
    odd = [{"validation": {"mean": 0.5}}, {"iteration": 1, "validation": {}}, {"iteration": 3}]
    odd += [{"iteration": at, "validation": {"mean": mean, "sd": None}} for at, mean in ((4, 0.5), (2, math.nan))]
    run = read_run(write_run(tmp_path / "run", distilled_set(), lines=odd))
    line = _validation("run", run)
    assert (list(line.at), list(line.mean), list(line.sd)) == ([4], [0.5], [0.0])


def test_nothing_is_loaded_and_only_the_script_of_the_page_may_run(compared):
    page = Page(compared)
    source = re.sub(r'"data:image/png;base64,[^"]*"', "", page.source)
    assert not re.search(r"https?:|@import|src=\"[^\"]", source, flags=re.IGNORECASE)
    (script,) = re.findall("<script>(.*?)</script>", page.source, flags=re.DOTALL)
    (policy,) = [value for _, name, value in page.values if name == "content" and "default-src" in value]
    assert policy.endswith(f"; script-src {_allowed(script)}")


@pytest.mark.usefixtures("without_curves")
def test_names_cannot_smuggle_markup_into_the_page(tmp_path):
    distilled = distilled_set(score=measured())
    header = replace(
        distilled.header, data=EVIL, network=EVIL, method=EVIL, class_names=tuple(f"{EVIL}{i}" for i in range(4))
    )
    evil = replace(distilled, header=header)
    folders = [write_run(tmp_path / name, evil) for name in ("<img src=x onerror=alert(1)>", '" onclick="x', "_a\nb")]
    page = Page(write_comparison(folders, tmp_path / "page.html"))
    assert page.tags.count("script") == 1
    assert page.tags.count("img") == 3
    assert not [name for _, name, _ in page.values if name.startswith("on")]


@pytest.mark.usefixtures("without_curves")
def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path):
    folders = [write_run(tmp_path / name / "run", distilled_set()) for name in "ab"]
    text = Page(write_comparison(folders)).text
    assert all(str(folder) in text for folder in folders)


def test_a_run_given_twice_or_a_folder_without_a_set_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="are one folder; give each run once"):
        write_comparison([runs[0], runs[1], runs[0].parent / "." / "hard"])
    with pytest.raises(UserError, match=r"holds no distilled\.safetensors"):
        write_comparison([runs[0], tmp_path])


def test_the_command_compares_if_several_folders_are_given(runs, tmp_path, capsys, without_curves):
    assert main(["report", *map(str, runs), "--to", str(tmp_path / "c.html")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'c.html'}\n"
    assert main(["report"]) == 2


PROBE = """addEventListener("load", () => {
  const names = () => [...document.querySelectorAll(".runs tbody tr:not([hidden]) th")].map((each) => each.textContent);
  const head = (title) => [...document.querySelectorAll(".runs thead th")].find((each) => each.textContent === title);
  const found = {}, box = document.getElementById("filter"), e = document.documentElement;
  head("examples").querySelector("button").click();
  found.most = [names(), head("examples").getAttribute("aria-sort"), head("run").getAttribute("aria-sort")];
  head("examples").querySelector("button").click();
  found.fewest = names();
  head("hard labels").querySelector("button").click();
  found.missing = names()[0];
  box.value = "SOFT"; box.dispatchEvent(new Event("input"));
  found.filtered = [names(), document.getElementById("shown").textContent];
  found.figures = [...document.querySelectorAll("figure[data-run]")].filter((each) => each.offsetHeight).length;
  found.drawn = getComputedStyle(document.getElementById("gradient-steps-taken-line-run-0")).display;
  found.wide = e.scrollWidth - e.clientWidth;
  document.title = "probe " + JSON.stringify(found) })"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome to open the page with")
def test_a_browser_sorts_and_filters(compared, tmp_path):
    source, probe = compared.read_text(encoding="utf-8"), tmp_path / "probe.html"
    source = source.replace("script-src ", f"script-src {_allowed(PROBE)} ")
    probe.write_text(source.replace("</head>", f"<script>{PROBE}</script></head>"), encoding="utf-8")
    found = json.loads(re.search(r"<title>probe (.*?)</title>", _opened(probe, tmp_path)).group(1))
    assert found["most"] == [["unscored", "hard", "soft"], "descending", "none"]
    assert found["fewest"] == ["soft", "hard", "unscored"]
    assert found["missing"] == "hard"
    assert found["filtered"] == [["soft"], "1 of 3 runs shown"]
    assert (found["figures"], found["drawn"], found["wide"]) == (1, "none", 0)


def _allowed(script):
    """The words of a policy that allow this script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _opened(file, tmp_path):
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    options += "--disable-component-update --disable-sync --enable-logging=stderr --window-size=500,900"
    command = [CHROMIUM, *options.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout
