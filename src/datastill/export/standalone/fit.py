"""Train a network on a distilled set with plain PyTorch, exactly as the set is meant to be used, without datastill.

    python fit.py                          train one network and print its loss on the examples

    from fit import fit, make_model        train in a program of your own
    model = fit(make_model())

All numbers are read from program.json. A NumPy archive holds all files in one: give its path as `source`. The packages
torch and numpy are needed, and Pillow for PNG images, pyarrow for parquet, safetensors to check pretrained weights.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

HERE = Path(__file__).parent if "__file__" in globals() else Path()
INITIALISERS = {
    "xavier": nn.init.xavier_normal_,
    "xavier-uniform": nn.init.xavier_uniform_,
    "kaiming": nn.init.kaiming_normal_,
    "orthogonal": nn.init.orthogonal_,
}
"""Functions that fill parameters of two or more dimensions. Parameters named bias become 0, others stay unchanged."""


def read_program(source: str | Path = HERE) -> dict[str, Any]:
    """Read program.json: all settings and numbers of the training on the set."""
    return json.loads(read_text(source, "program.json"))


def read_text(source: str | Path, name: str) -> str:
    """Read one of the text files of an export, from a folder or from a NumPy archive."""
    if Path(source).is_file():
        with np.load(source, allow_pickle=False) as archive:
            return str(archive[name])
    return (Path(source) / name).read_text(encoding="utf-8")


def read_examples(source: str | Path = HERE) -> torch.Tensor:
    """Read normalised images of shape (steps, batch, channels, height, width), in the order of training."""
    program = read_program(source)
    if program["kind"] == "npz":
        return _from_archive(source)
    return _from_images(source, program) if program["kind"] == "png" else _from_parquet(source, program)


def _from_archive(source: str | Path) -> torch.Tensor:
    with np.load(source, allow_pickle=False) as archive:
        return torch.from_numpy(archive["examples"])


def _from_images(source: str | Path, program: dict[str, Any]) -> torch.Tensor:
    """Read and normalise the 8-bit images. They differ from the exact examples because they were rounded and cut."""
    from PIL import Image

    images = [np.asarray(Image.open(Path(source) / name)) for step in program["files"] for name in step]
    pixels = torch.from_numpy(np.stack(images)).reshape(program["steps"], program["batch"], *_image_shape(program))
    pixels = pixels.permute(0, 1, 4, 2, 3).clone(memory_format=torch.contiguous_format)
    mean, std = (torch.tensor(program[key], dtype=torch.float32)[:, None, None] for key in ("mean", "std"))
    return (pixels.to(torch.float32) / 255 - mean) / std


def _image_shape(program: dict[str, Any]) -> tuple[int, int, int]:
    channels, height, width = program["shape"]
    return height, width, channels


def _from_parquet(source: str | Path, program: dict[str, Any]) -> torch.Tensor:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(Path(source) / "data" / "train-00000-of-00001.parquet").read()
    values = np.array(table.column("example").to_pylist(), dtype=program["example_type"])
    return torch.from_numpy(values).reshape(program["steps"], program["batch"], *program["shape"])


def read_initial_weights(source: str | Path = HERE) -> dict[str, torch.Tensor]:
    """Read the stored initial weights by parameter name; empty if the set is not for fixed initial weights."""
    program = read_program(source)
    if program["initial"] != "fixed":
        return {}
    inside = program["kind"] == "npz"
    with np.load(source if inside else Path(source) / "initial_weights.npz", allow_pickle=False) as archive:
        names = [name for name in archive.files if name.startswith("initial.")]
        return {name.removeprefix("initial."): torch.from_numpy(archive[name]) for name in names}


def make_model(source: str | Path = HERE, seed: int = 0, **changes: Any) -> nn.Module:
    """Make the network that the set was made for. Random initial weights are drawn; `fit` loads stored ones.

    Args:
        source: the folder or the NumPy archive of the export.
        seed: seed of random initial weights; each seed gives other weights.
        changes: arguments of the network to replace, e.g. ``weights="FILE"`` for a file of pretrained weights.
    """
    program, code = read_program(source), {}
    exec(compile(read_text(source, "network.py"), "network.py", "exec"), code)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = code["make_network"](**changes)
        draw_initial_weights(model, program["initialiser"])
    return model


@torch.no_grad()
def draw_initial_weights(model: nn.Module, initialiser: str) -> None:
    """Draw initial weights in place; an initialiser that is not in `INITIALISERS` leaves the weights as they are."""
    if initialiser not in INITIALISERS:
        return
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if parameter.dim() >= 2:
                INITIALISERS[initialiser](parameter)
            elif name == "bias":
                parameter.zero_()


def fit(model: nn.Module, source: str | Path = HERE) -> nn.Module:
    """Train the model in place on the set, and return it in evaluation mode.

    Raises:
        ValueError: the model lacks a parameter of the stored initial weights, or does not have the pretrained or frozen
            weights that the set is for.
    """
    program = read_program(source)
    examples = read_examples(source)
    labels = torch.tensor(program["labels"], dtype=torch.int64 if program["label_kind"] == "hard" else examples.dtype)
    load_initial_weights(model, source)
    check_weights(model, program)
    norms = [module for module in model.eval().modules() if isinstance(module, _BatchNorm)]
    for module in norms:  # batch normalisation uses the statistics of the batch; dropout and the like stay off
        module.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = getattr(torch.optim, program["optimiser"]["torch_optim"])(
        parameters, **program["optimiser"]["arguments"]
    )
    for step_sizes in program["step_sizes"]:  # one row for each epoch
        for images, targets, step_size in zip(examples, labels, step_sizes, strict=True):
            optimiser.param_groups[0]["lr"] = step_size
            optimiser.zero_grad()
            cross_entropy(model(images), targets).backward(inputs=parameters)
            optimiser.step()
    optimiser.zero_grad()
    recalibrate(model, norms, examples.flatten(0, 1))
    return model.eval()


def load_initial_weights(model: nn.Module, source: str | Path = HERE) -> None:
    """Load the stored initial weights into the model, if the set is for fixed initial weights.

    Raises:
        ValueError: the model lacks a parameter of the stored initial weights.
    """
    unknown = model.load_state_dict(read_initial_weights(source), strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"the set has initial weights for {', '.join(unknown)}, which the model does not have")


@torch.no_grad()
def recalibrate(model: nn.Module, norms: list[_BatchNorm], examples: torch.Tensor) -> None:
    """Set the running statistics of batch normalisation to the statistics of all examples in one batch."""
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 1.0
    if norms:
        model(examples)
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum


def check_weights(model: nn.Module, program: dict[str, Any]) -> None:
    """Raise a ValueError unless the model has the pretrained or frozen weights that the set is for."""
    wanted = program["weights_sha256"]
    if not wanted:
        return
    from safetensors.torch import save

    frozen_only = program["initial"] != "pretrained"
    chosen = {
        name: value.detach().cpu().contiguous()
        for name, value in sorted(model.named_parameters())
        if not (frozen_only and value.requires_grad)
    }
    found = hashlib.sha256(save(chosen)).hexdigest()
    if found != wanted:
        raise ValueError(
            f"the model has weights with SHA-256 {found}, but the set is for weights with SHA-256 {wanted}"
        )


def normalise(images: torch.Tensor, program: dict[str, Any]) -> torch.Tensor:
    """Normalise real images with pixels in [0, 1], of shape (n, channels, height, width), for the network."""
    mean, std = (torch.tensor(program[key], dtype=images.dtype)[:, None, None] for key in ("mean", "std"))
    return (images - mean) / std


def main(source: str | Path = HERE) -> None:
    """Train one network and print its loss on the synthetic examples."""
    program, model = read_program(source), fit(make_model(source), source)
    images = read_examples(source).flatten(0, 1)
    labels = torch.tensor(program["labels"], dtype=torch.int64 if program["label_kind"] == "hard" else images.dtype)
    with torch.no_grad():
        loss = cross_entropy(model(images), labels.flatten(0, 1))
    print(f"trained {program['network']}; mean cross-entropy on the synthetic examples: {loss:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
