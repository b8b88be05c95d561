"""What the page says about single classes."""

import re

import pytest

from datastill.errors import UserError
from datastill.report import write_report
from datastill.report.classes import classes

from .conftest import counted, measured
from .test_page import Page

pytestmark = pytest.mark.usefixtures("without_charts")
NAMES = ("cat", "dog", "owl", "bee")


def test_each_class_has_its_accuracy_and_its_most_frequent_mistake():
    found = classes(counted(4), NAMES)
    assert [row.accuracy for row in found.rows] == ["50.0 %", "66.7 %", "75.0 %", "80.0 %"]
    assert [row.mistaken for row in found.rows] == ["dog (50.0 %)", "owl (33.3 %)", "bee (25.0 %)", "cat (20.0 %)"]
    assert "Best: bee, 80.0 %. Worst: cat, 50.0 %. Most frequent mistake: 50.0 % of cat are answered as dog." in (
        found.summary
    )
    assert [cell.text for cell in found.matrix[0]] == ["50", "50", "", ""]
    assert found.matrix[1][2].title == "33.3 % of 'dog' are answered as 'owl'"


def test_a_score_that_counts_no_answers_has_no_such_part(run_of, make):
    assert classes(None, NAMES) is None
    assert classes(measured(), NAMES) is None
    assert "Class by class" not in Page(write_report(run_of(make(score=measured())))).text


def test_the_page_has_a_row_and_a_column_with_a_head_for_each_class(run_of, make):
    page = Page(write_report(run_of(make(score=counted(4)))))
    assert page.text.count("class 3 (25.0 %)") == 1
    scopes = [value for _, name, value in page.values if name == "scope"]
    assert scopes.count("col") >= 4 + 3
    assert "33.3 % of 'class 1' are answered as 'class 2'" in [v for _, n, v in page.values if n == "title"]


def test_many_classes_have_a_picture_of_one_pixel_for_each_pair(run_of, make):
    found = classes(counted(24), [f"name {i}" for i in range(24)])
    assert found.matrix == []
    assert found.picture.size == (24, 24)
    alpha = found.picture.getchannel("A")
    assert alpha.getpixel((0, 0)) == alpha.getpixel((1, 0)) == round(255 * 0.5**0.5)
    assert alpha.getpixel((5, 0)) == 0
    page = Page(write_report(run_of(make(classes=24, score=counted(24)))))
    assert any(re.match("Confusion matrix of 24 classes", v) for _, name, v in page.values if name == "alt")


def test_counts_of_other_classes_than_those_of_the_set_are_refused(run_of, make):
    with pytest.raises(UserError, match=r"score\.confusion is of 3 classes, but the set has 4"):
        write_report(run_of(make(score=counted(3))))
