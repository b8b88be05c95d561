"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest

from datastill import Protocol, distill

from .toys import toy_config

pytestmark = pytest.mark.usefixtures("operations_not_counted")

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_use_a_set_gives_what_the_set_promises(tmp_path: Path) -> None:
    config = toy_config(data=toy_config().data.__class__(name="digits"))
    distilled = distill(config, tmp_path / "run")
    found = runpy.run_path(str(EXAMPLES / "use_a_set.py"))["main"](str(tmp_path / "run" / "distilled.safetensors"))
    assert 0 < found <= 1
    assert abs(found - distilled.header.score["mean"]) < 0.3


@pytest.mark.usefixtures("one_program_to_choose")
def test_your_own_data_beats_random_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    import your_own_data

    monkeypatch.setattr(your_own_data, "Protocol", lambda networks: Protocol(networks=networks // 5))
    assert your_own_data.main(str(tmp_path / "run"), iterations=100) > 0
