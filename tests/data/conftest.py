"""Real data where it is at hand, and small images of a known kind."""

import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(os.environ.get("DATASTILL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


@pytest.fixture
def real(monkeypatch):
    """A function that skips the test where a real data set is absent, and makes names mean the folders there."""

    def need(name):
        if not (ROOT / name).is_dir():
            pytest.skip(f"no {name} in {ROOT}; set DATASTILL_DATA")
        monkeypatch.setenv("DATASTILL_DATA", str(ROOT))
        return name

    return need


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keeps the tables made from a test's own folders out of the user's cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def arrays():
    """60 RGB images of 6x5 pixels and three classes, as (n, h, w, c) bytes with labels."""
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (60, 6, 5, 3), dtype=np.uint8), np.arange(60) % 3
