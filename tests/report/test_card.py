"""A set in a notebook: its picture, its facts, and nothing that a name in it could add to the page."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
from PIL import Image

from datastill.report import grid
from datastill.space import Tokens

from ..test_export import make
from ..test_to_datasets import of_space

BAD = '<script>alert("x")</script><img src=x onerror=y>\u202e&'


def test_the_card_holds_the_picture_the_program_and_the_score() -> None:
    distilled = make()
    page = distilled._repr_html_()
    content = re.search(r'src="data:image/png;base64,([^"]+)"', page)
    assert content
    shown = Image.open(io.BytesIO(base64.b64decode(content[1]))).convert("RGBA")
    assert (np.asarray(shown) == np.asarray(grid(distilled, transparent=True))).all()
    assert "50.0 ± 10.0 %" in page
    assert "3 steps × 2 epochs, ordered" in page


def test_names_are_text_and_never_html() -> None:
    distilled = make(names=(BAD, "b", "c", "d"))
    distilled = replace(distilled, header=replace(distilled.header, data=BAD, network=BAD, method=BAD))
    page = distilled._repr_html_()
    assert page.count("<img") == 1
    assert not re.search(r"<script|\u202e|&(?!amp;|lt;|gt;|quot;|#x27;)", page)
    assert set(re.findall(r"<(/?\w+)", page)) == {"div", "/div", "img", "table", "/table", "tr", "/tr", "th", "/th",
                                                  "td", "/td"}  # fmt: skip


def test_sentences_are_shown_as_text() -> None:
    distilled = of_space(Tokens.of(("<b>", "is", "it"), length=4, dim=3, seed=0))
    page = replace(distilled, inputs=distilled.normalise(["it is"] * 4))._repr_html_()
    assert page.count(">it is</td>") == 4
    assert "<img" not in page
