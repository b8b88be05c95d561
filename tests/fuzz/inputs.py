"""Pools, checkpoints, weights and configurations, changed at random: what a run or an evaluation takes."""

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file
from torch import nn

from datastill.commands.resuming import resumed
from datastill.config import as_dict, from_dict
from datastill.networks import build
from datastill.networks.pool import FORMAT, Pool
from datastill.networks.snapshots import sha256_of
from datastill.networks.weights import fill
from datastill.pretraining import PoolSettings
from datastill.run import prepare
from datastill.storage.files import digest, read_json

from ..toys import toy_config, toy_data
from .loops import begin, go_on
from .mutations import changed, changed_bytes, storable

NETWORK = "mlp(width=4,depth=1)"
DATA = toy_data()


def pool(folder: Path, draw: random.Random) -> None:
    """A pool whose header and tensors are changed before the digest is taken."""
    network = build(NETWORK, shape=DATA.shape, classes=DATA.classes)
    header = {
        "settings": asdict(PoolSettings(network=NETWORK)),
        "shape": list(DATA.shape),
        "classes": DATA.classes,
        "class_names": list(DATA.class_names),
        "space": asdict(DATA.space),
        "parameters": {name: list(shape) for name, shape in zip(network.names, network.shapes, strict=True)},
        "accuracies": {"training": [0.5, 0.6], "held_out": [0.7]},
        "seconds": 1.0,
        "torch": "2",
    }
    tensors: Any = {"training": torch.randn(2, network.size), "held_out": torch.randn(1, network.size)}
    if draw.random() < 0.5:
        header["snapshots"] = [0, 3, 9]
        for split, count in (("training", 2), ("held_out", 1)):
            tensors[f"{split}.snapshots"] = torch.randn(count, 2, network.size)
            digests = [sha256_of(theta) for theta in tensors[f"{split}.snapshots"].flatten(0, 1)]
            tensors[f"{split}.sha256"] = torch.stack(digests).view(count, 2, -1)
    if draw.random() < 0.7:
        header = changed(header, draw)
    else:
        tensors = storable(changed(tensors, draw))
    text = json.dumps(header)
    read = {name: value for name, value in tensors.items() if not str(name).endswith(".snapshots")}
    save_file(tensors, folder / "pool", {"format": FORMAT, "header": text, "sha256": digest(text, read)})
    found = Pool.load(folder / "pool")
    if found.snapshots:
        assert len(found.at(1).held_out) == len(found.held_out)
    found.check(network)
    assert len(found.drawn)
    assert len(found.validating)


def pool_bytes(folder: Path, draw: random.Random) -> None:
    """A pool some of whose bytes are changed."""
    tensors = {"training": torch.randn(2, 5), "held_out": torch.randn(1, 5)}
    (folder / "pool").write_bytes(changed_bytes(save(tensors, {"format": FORMAT, "header": "{}"}), draw))
    Pool.load(folder / "pool")


def checkpoint(folder: Path, draw: random.Random) -> None:
    """The checkpoint of a run in which a value is changed, and the run goes on from it."""
    path = folder / "checkpoint.pt"
    begin(folder)
    if draw.random() < 0.7:
        torch.save(changed(torch.load(path, weights_only=True), draw), path)
    else:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))
    state = go_on(folder)
    assert all(bool(value.isfinite().all()) for value in state.learned.values())


def weights(folder: Path, draw: random.Random) -> None:
    """Weights of a small network as ``torch.save`` (archive or old format) and as safetensors."""
    module = nn.Sequential()
    module.features, module.classifier = nn.Linear(3, 2), nn.Linear(2, 2)
    kind, state = draw.choice(("archive", "old", "safetensors")), dict(module.state_dict())
    path, broken = folder / f"weights.{kind}", draw.random() < 0.5
    if not broken:
        state = changed(state, draw)
    if kind == "safetensors":
        save_file(storable(state), path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "archive")
    if broken:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))
    fill(module, str(path), "classifier")
    assert all(bool(value.isfinite().all()) for value in module.state_dict().values())


def configuration(folder: Path, draw: random.Random) -> None:
    """The settings of a run of somebody else, which a user resumes without trust."""
    record = {"recipe": "toy", "command": "datastill distill toy --out x", "config": as_dict(toy_config())}
    (folder / "config.json").write_text(json.dumps(changed(record, draw)), encoding="utf-8")
    prepare(resumed(folder, toy_config(), trust=False), DATA)


def configuration_bytes(folder: Path, draw: random.Random) -> None:
    """The settings of a run in a file some of whose bytes are changed."""
    content = json.dumps(as_dict(toy_config())).encode()
    (folder / "config.json").write_bytes(changed_bytes(content, draw))
    from_dict(read_json(folder / "config.json"))
