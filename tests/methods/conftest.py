"""What the tests of methods share."""

from pathlib import Path

import pytest

from datastill.pretraining import PoolSettings, pretrain

from ..toys import toy_data


@pytest.fixture(scope="session")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of two networks of `toy_task`, with snapshots after each of four epochs."""
    path = tmp_path_factory.mktemp("experts") / "experts.safetensors"
    settings = PoolSettings(network="mlp(width=8,depth=1)", count=2, held_out=1, epochs=4, batch=16, snapshots=4)
    pretrain(settings, toy_data(), path)
    return path
