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


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of one network with batch normalisation, for images of `toy_task`."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    network = "convnet(width=4,depth=1,norm=batch)"
    pretrain(PoolSettings(network=network, count=1, held_out=0, epochs=8, batch=16, rate=0.01), toy_data(), path)
    return path
