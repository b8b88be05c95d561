"""Snapshots of the examples while they are learned: which are kept, how exactly, and the slider of the page."""

import base64
import hashlib
import itertools
import json
import re
import subprocess
from dataclasses import replace

import pytest
import torch

from datastill.errors import UserError
from datastill.report import write_report
from datastill.report.figures import shown_range
from datastill.report.snapshots import FILE, MOST_KEPT, MOST_VALUES, Keeper, changes, read

from .conftest import distilled_set, write_run
from .test_page import CHROMIUM, Page

pytestmark = pytest.mark.usefixtures("without_charts")


def at(iteration):
    """The set after an iteration: every pixel grows with it."""
    one = distilled_set()
    return replace(one, inputs=one.inputs * 0.1 + 0.01 * iteration)


def kept_by(folder, *, iterations, every, until=None, done=0):
    keeper = Keeper(folder, iterations, done)
    for iteration in range(done, (until or iterations) + 1, every):
        keeper.take(iteration, lambda: at(iteration))  # noqa: B023 (called at once)
    return [each.iteration for each in read(folder / FILE)]


@pytest.mark.parametrize(("iterations", "every"), [(1000, 10), (1000, 1), (90, 10), (400, 100), (7, 1)])
def test_at_most_ten_are_kept_from_the_first_to_the_last_iteration_about_evenly(tmp_path, iterations, every):
    kept = kept_by(tmp_path, iterations=iterations, every=every)
    assert (kept[0], kept[-1]) == (0, iterations)
    assert len(kept) == min(MOST_KEPT, iterations // every + 1)
    gaps = [b - a for a, b in itertools.pairwise(kept)]
    assert max(gaps) - min(gaps) <= max(every, 1)


def test_a_resumed_run_keeps_what_it_would_have_kept(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole = kept_by(tmp_path / "whole", iterations=90, every=10)
    kept_by(tmp_path / "stopped", iterations=90, every=10, until=60)  # and the last checkpoint is that of iteration 40
    assert kept_by(tmp_path / "stopped", iterations=90, every=10, done=40) == whole
    assert (tmp_path / "stopped" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_a_snapshot_has_the_pixels_to_eight_bits(tmp_path):
    Keeper(tmp_path, 10, 0).take(0, lambda: at(3))
    (found,) = read(tmp_path / FILE)
    pixels = at(3).header.space.pictures(at(3).inputs)
    low, high = shown_range(at(3))
    shown = found.low + found.pictures.double() / 255 * (found.high - found.low)
    step = (high - low) / 255
    assert torch.allclose(shown[..., 0], pixels[:, 0].double().clamp(low, high), atol=0.51 * step)


def test_large_sets_keep_only_their_first_examples_and_the_file_stays_small(tmp_path):
    large = distilled_set(steps=8, classes=10, shape=(3, 32, 32))
    keeper = Keeper(tmp_path, 1000, 0)
    for iteration in range(0, 1001, 10):
        keeper.take(iteration, lambda: large)
    assert len(read(tmp_path / FILE)[0].pictures) == MOST_VALUES // (3 * 32 * 32)
    assert (tmp_path / FILE).stat().st_size < MOST_KEPT * MOST_VALUES + 1000
    huge = distilled_set(steps=1, classes=2, shape=(3, 200, 200))
    Keeper(tmp_path / "none", 10, 0).take(0, lambda: huge)
    assert not (tmp_path / "none").exists()


@pytest.fixture
def run(tmp_path):
    folder = write_run(tmp_path / "run", at(90))
    kept_by(folder, iterations=90, every=30)
    return folder


def test_the_page_has_a_frame_for_each_snapshot_and_for_the_set(run):
    page = Page(write_report(run))
    frames = [value for _, name, value in page.values if name == "data-frame"]
    assert frames == [
        "before the first iteration",
        "after iteration 30",
        "after iteration 60",
        "after iteration 90",
        "the set",
    ]
    found = changes(run, at(90))
    assert found.frames[-1].picture == found.frames[-2].picture  # the set is the last of them
    assert len({frame.picture for frame in found.frames}) == 4
    (script,) = re.findall("<script>(.*?)</script>", page.source, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.source


@pytest.mark.parametrize("content", [b"no file of tensors", None])
def test_a_broken_file_is_named_on_the_page_and_costs_a_resumed_run_nothing(run, content):
    if content is None:
        Keeper(run / "other", 10, 0).take(0, lambda: distilled_set(classes=2))
        content = (run / "other" / FILE).read_bytes()
    (run / FILE).write_bytes(content)
    with pytest.raises(UserError, match=rf"{FILE}"):
        write_report(run)
    assert kept_by(run, iterations=90, every=30, done=30)[-1] == 90


PROBE = """addEventListener("load", () => {
  const slider = document.getElementById("frame"), e = document.documentElement;
  const seen = () => [...document.querySelectorAll("img[data-frame]")].filter((each) => each.offsetWidth > 0);
  const before = seen().map((each) => each.dataset.frame);
  slider.value = 1; slider.dispatchEvent(new Event("input"));
  document.title = "probe " + JSON.stringify([before, seen().map((each) => each.dataset.frame),
    slider.getAttribute("aria-valuetext"), slider.offsetWidth > 100, e.scrollWidth - e.clientWidth]) })"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome to open the page with")
def test_the_slider_shows_one_frame_at_a_time(run, tmp_path):
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    source = write_report(run).read_text(encoding="utf-8").replace("script-src ", f"script-src 'sha256-{digest}' ")
    probe = tmp_path / "probe.html"
    probe.write_text(source.replace("</head>", f"<script>{PROBE}</script></head>"), encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    options += "--disable-component-update --disable-sync --window-size=500,900"
    command = [CHROMIUM, *options.split(), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(re.search(r"<title>probe (.*?)</title>", done.stdout).group(1))
    assert found == [["the set"], ["after iteration 30"], "after iteration 30", True, 0]
