"""The examples run as they stand."""

import runpy
from pathlib import Path

from datastill import distill

from .toys import toy_config

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_use_a_set_gives_what_the_set_promises(tmp_path: Path) -> None:
    config = toy_config(data=toy_config().data.__class__(name="digits"))
    distilled = distill(config, tmp_path / "run")
    found = runpy.run_path(str(EXAMPLES / "use_a_set.py"))["main"](str(tmp_path / "run" / "distilled.safetensors"))
    assert 0 < found <= 1
    assert abs(found - distilled.header.score["mean"]) < 0.3


def test_your_own_data_beats_random_images(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    import your_own_data

    assert your_own_data.main(str(tmp_path / "run"), iterations=100) > 0
