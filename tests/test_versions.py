"""What is promised of versions is what is tested with."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pinned(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def promised() -> list[Requirement]:
    return [Requirement(line) for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"])]


def floors(requirements: Iterable[Requirement]) -> dict[str, Version]:
    return {canonicalize_name(each.name): Version(next(iter(each.specifier)).version) for each in requirements}


def test_the_oldest_releases_that_are_promised_are_those_of_test_oldest() -> None:
    oldest = pinned("constraints-oldest.txt")
    for name, floor in floors(promised()).items():
        assert oldest[name].release[: len(floor.release)] == floor.release, name


@pytest.mark.parametrize("constraints", ["constraints.txt", "constraints-oldest.txt"])
def test_every_dependency_is_pinned_to_a_release_that_is_promised(constraints: str) -> None:
    versions = pinned(constraints)
    for requirement in promised():
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier


def test_make_help_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = re.compile(re.search(r"grep -E '(.*)' Makefile", text)[1], re.MULTILINE)
    (targets,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert {line.partition(":")[0] for line in shown.findall(text)} == set(targets.split())
