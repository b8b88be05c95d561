"""Pages for everybody: labels, headings in order, regions that scroll with the keyboard, colours that can be read."""

import itertools
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest

from datastill.report import write_comparison, write_report

from .conftest import counted, distilled_set, metrics, write_run
from .test_comparison import without_curves

STYLE = files("datastill.report").joinpath("style.css").read_text(encoding="utf-8")
SCROLLS = set(re.findall(r"^\.(\w+) \{[^}]*overflow-[xy]: auto", STYLE, re.MULTILINE)) | {"paper"}
__all__ = ["without_curves"]


class Elements(HTMLParser):
    """The start tags of a page, each with its attributes."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


@pytest.fixture
def pages(tmp_path: Path, undrawn: None, without_curves: None) -> list[Elements]:
    """The page of a run with everything but pictures of real data, and a comparison."""
    one = distilled_set(score=counted(4))
    first, second = (write_run(tmp_path / name, one, lines=metrics()) for name in ("first", "second"))
    return [Elements(write_report(first)), Elements(write_comparison([first, second]))]


def test_each_page_has_a_language_a_title_and_headings_in_order(pages: list[Elements]) -> None:
    for page in pages:
        tags = [tag for tag, _ in page.found]
        assert page.of("html") == [{"lang": "en"}]
        assert (tags.count("title"), tags.count("main"), tags.count("h1")) == (1, 1, 1)
        levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h\d", tag)]
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels


def test_inputs_pictures_and_columns_have_names(pages: list[Elements]) -> None:
    for page in pages:
        named = {each["for"] for each in page.of("label")}
        assert {each["id"] for each in page.of("input")} <= named
        assert all(each.get("alt") for each in page.of("img"))
        assert all(each.get("scope") in ("row", "col") for each in page.of("th"))
        ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
        assert len(set(ids)) == len(ids)
        references = {attributes["aria-labelledby"] for _, attributes in page.found if "aria-labelledby" in attributes}
        assert references <= set(ids)


def test_what_may_scroll_is_reached_by_the_keyboard_and_has_a_name(pages: list[Elements]) -> None:
    for page in pages:
        scrolling = [each for each in page.of("div") if SCROLLS & set((each.get("class") or "").split())]
        within = [each for each in scrolling if each.get("role") or "tabindex" in each]
        assert within
        for each in within:
            assert (each.get("tabindex"), each.get("role")) == ("0", "region")
            assert each.get("aria-label") or each.get("aria-labelledby")


def colours(block: str) -> dict[str, tuple[float, float, float]]:
    found = re.findall(r"--([\w-]+): #([0-9a-f]{3}|[0-9a-f]{6});", block)
    wide = {name: "".join(2 * c for c in code) if len(code) == 3 else code for name, code in found}
    return {name: tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)) for name, code in wide.items()}


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The contrast of two colours in sRGB, from 1 to 21 (WCAG 2.2)."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


LIGHT, DARK = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)


@pytest.mark.parametrize("block", [LIGHT, DARK], ids=["light", "dark"])
def test_text_can_be_read_on_every_ground(block: str) -> None:
    found = colours(block)
    texts = ("ink", "soft", "accent", "warn-ink", "chart-ink", "chart-label", "chart-tick")
    least = {(text, ground): contrast(found[text], found[ground]) for text in texts for ground in ("card", "back")}
    assert all(value >= 4.5 for value in least.values()), {pair for pair, value in least.items() if value < 4.5}
    assert contrast(found["accent"], found["card"]) >= 3  # bars, the slider and what has the focus
    share = int(re.search(r"--most: (\d+)%", block)[1]) / 100
    fullest = tuple(share * a + (1 - share) * b for a, b in zip(found["accent"], found["code"], strict=True))
    assert contrast(found["ink"], fullest) >= 4.5, "the number in a cell of the matrix"


def test_the_contrast_is_that_of_the_standard() -> None:
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert contrast((119 / 255,) * 3, (1, 1, 1)) == pytest.approx(4.48, abs=0.01)
