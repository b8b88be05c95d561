"""Train a network on a distilled set with plain PyTorch, exactly as the set is meant to be used, without datastill.

    python fit.py                          train one network and print its loss on the examples

    from fit import fit, make_model        train in a program of your own
    model = fit(make_model())

All numbers are read from program.json. A NumPy archive holds all files in one: give its path as `source`. The packages
torch and numpy are needed, and Pillow for PNG images, pyarrow for parquet, safetensors to check pretrained weights.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, one_hot
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
    """Read the normalised examples, e.g. images of shape (n, channels, height, width)."""
    program = read_program(source)
    if program["kind"] == "npz":
        return _from_archive(source)
    if program["kind"] == "csv":
        return _from_rows(source, program)
    return _from_images(source, program) if program["kind"] == "png" else _from_parquet(source, program)


def _from_archive(source: str | Path) -> torch.Tensor:
    with np.load(source, allow_pickle=False) as archive:
        return torch.from_numpy(archive["inputs"])


def _from_images(source: str | Path, program: dict[str, Any]) -> torch.Tensor:
    """Read and normalise the 8-bit images. They differ from the exact examples because they were rounded and cut."""
    from PIL import Image

    images = [np.asarray(Image.open(Path(source) / name)) for name in program["files"]]
    pixels = torch.from_numpy(np.stack(images)).reshape(-1, *_image_shape(program))
    pixels = pixels.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)
    return normalise(pixels.to(torch.float32) / 255, program, source)


def _image_shape(program: dict[str, Any]) -> tuple[int, int, int]:
    channels, height, width = program["shape"]
    return height, width, channels


def _from_parquet(source: str | Path, program: dict[str, Any]) -> torch.Tensor:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(Path(source) / "data" / "train-00000-of-00001.parquet").read()
    values = np.array(table.column("example").to_pylist(), dtype=program["example_type"])
    return torch.from_numpy(values).reshape(-1, *program["shape"])


def _from_rows(source: str | Path, program: dict[str, Any]) -> torch.Tensor:
    """Read and normalise the last columns in double precision, which gives the exact values."""
    with (Path(source) / "rows.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))[1:]
    size = math.prod(program["shape"])
    values = np.array([[float(each) for each in line[-size:]] for line in lines])
    values = torch.from_numpy(values).reshape(-1, *program["shape"])
    if "mean" in program["space"]:
        mean, std = (each.double() for each in _statistics(program, torch.float32))
        values = (values - mean) / std
    return values.to(getattr(torch, program["example_type"]))


def _statistics(program: dict[str, Any], dtype: torch.dtype) -> list[torch.Tensor]:
    """Return the mean and the standard deviation of each channel or column, in a shape that fits examples."""
    trailing = [1] * (len(program["shape"]) - 1)
    return [torch.tensor(program["space"][key], dtype=dtype).view(-1, *trailing) for key in ("mean", "std")]


def read_labels(program: dict[str, Any], like: torch.Tensor) -> torch.Tensor:
    """Read the labels: classes (n,), or numbers for each class (n, classes), or of each epoch (epochs, n, classes)."""
    return torch.tensor(program["labels"], dtype=torch.int64 if program["label_kind"] == "hard" else like.dtype)


def read_initial_weights(source: str | Path = HERE) -> dict[str, torch.Tensor]:
    """Read the stored initial weights by parameter name; empty if the set is not for fixed initial weights."""
    program = read_program(source)
    if not program["initial_weights_are_stored"]:
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


def derive(seed: int, purpose: str, *index: int) -> int:
    """Return a seed for one purpose, e.g. the order of the examples in an epoch."""
    text = repr((seed, purpose, *index))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def steps(program: dict[str, Any], count: int, seed: int) -> Iterator[tuple[slice | torch.Tensor, float, int, int]]:
    """Yield each gradient step: the places of its examples, its step size, its epoch, and the seed of its draw."""
    batch, t = program["order"].get("batch", count // len(program["step_sizes"][0])), 0
    for epoch, sizes in enumerate(program["step_sizes"]):
        places: Any = [slice(i * batch, (i + 1) * batch) for i in range(len(sizes))]
        if program["order"]["kind"] == "shuffled":
            generator = torch.Generator().manual_seed(derive(seed, "order of the examples", epoch))
            places = torch.randperm(count, generator=generator).split(batch)
        for which, size in zip(places, sizes, strict=True):
            yield which, size, epoch, derive(seed, "augmentation", t)
            t += 1


def read_augmentation(source: str | Path, program: dict[str, Any]) -> Any:
    """Return the augmentation of the examples, which is drawn anew in each step; None if there is none."""
    settings = program["augmentation"]
    if settings is None:
        return None
    code: dict[str, Any] = {}
    exec(compile(read_text(source, "augmentation.py"), "augmentation.py", "exec"), code)
    return code["make_augmentation"](**settings)


def loss_of(program: dict[str, Any], logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of a batch."""
    settings = program["loss"]
    if settings["kind"] == "cross-entropy":
        return cross_entropy(logits, targets)
    if settings["kind"] == "squared-error":
        classes = logits.shape[1]
        hard = not targets.is_floating_point()
        wanted = settings["scale"] * (one_hot(targets, classes).to(torch.float64) - 1 / classes) if hard else targets
        return ((logits - wanted.to(logits)).square().sum(1) / 2).mean()
    heat = settings["temperature"]
    teacher, ours = (log_softmax(each / heat, 1) for each in (targets, logits))
    return (heat**2 * kl_div(ours, teacher, reduction="none", log_target=True).sum(1)).mean()


def limit_gradient(parameters: list[nn.Parameter], limit: float) -> None:
    """Limit the norm of the gradient of all parameters together; 0 is no limit."""
    gradients = [each.grad for each in parameters if each.grad is not None]
    if limit:
        norm = torch.stack([each.norm() for each in gradients]).norm().clamp(min=1e-30)
        for each in gradients:
            each.mul_((limit / norm).clamp(max=1))


def fit(model: nn.Module, source: str | Path = HERE, seed: int = 0) -> nn.Module:
    """Train the model in place on the set, and return it in evaluation mode.

    Args:
        model: the network, e.g. of `make_model`.
        source: the folder or the NumPy archive of the export.
        seed: seed of what is random in the training, if the examples are shuffled or augmented.

    Raises:
        ValueError: the model lacks a parameter of the stored initial weights, or does not have the pretrained or frozen
            weights that the set is for.
    """
    program = read_program(source)
    examples = read_examples(source)
    labels, augmentation = read_labels(program, examples), read_augmentation(source, program)
    load_initial_weights(model, source)
    check_weights(model, program)
    norms = [module for module in model.eval().modules() if isinstance(module, _BatchNorm)]
    for module in norms:  # batch normalisation uses the statistics of the batch; dropout and the like stay off
        module.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = getattr(torch.optim, program["optimiser"]["torch_optim"])(
        parameters, **program["optimiser"]["arguments"]
    )
    for which, step_size, epoch, draw in steps(program, len(examples), seed):
        images, targets = examples[which], (labels[epoch % len(labels)] if labels.dim() == 3 else labels)[which]
        if augmentation is not None:
            stream = torch.Generator().manual_seed(derive(draw, "draw"))
            images = augmentation.draw(len(images), tuple(program["shape"]), stream)(images)
        optimiser.param_groups[0]["lr"] = step_size
        optimiser.zero_grad()
        loss_of(program, model(images), targets).backward(inputs=parameters)
        limit_gradient(parameters, program["clip"])
        optimiser.step()
    optimiser.zero_grad()
    recalibrate(model, norms, examples)
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
    for kind in ("weights", "frozen"):
        if program[f"{kind}_sha256"]:
            _check_sha256(model, program[f"{kind}_sha256"], frozen_only=kind == "frozen")


def _check_sha256(model: nn.Module, wanted: str, *, frozen_only: bool) -> None:
    from safetensors.torch import save

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


def normalise(real: Any, program: dict[str, Any], source: str | Path = HERE) -> torch.Tensor:
    """Normalise real examples: images (n, channels, height, width) with pixels in [0, 1], rows, or a list of texts."""
    if program["space"]["kind"] == "tokens":
        return _normalise_texts(real, program["space"], source)
    mean, std = _statistics(program, real.dtype)
    values = (real - mean) / std
    return _whitened(values, program, source) if program["space"]["kind"] == "whitened" else values


def _whitened(images: torch.Tensor, program: dict[str, Any], source: str | Path) -> torch.Tensor:
    """Whiten images of normalised pixels, by the matrix that the export holds."""
    with np.load(source if program["kind"] == "npz" else Path(source) / "normalise.npz", allow_pickle=False) as archive:
        mean, matrix = (torch.from_numpy(archive[f"whitening.{name}"]).to(images) for name in ("mean", "matrix"))
    return ((images.flatten(1) - mean) @ matrix).view(images.shape)


def _normalise_texts(texts: list[str], space: dict[str, Any], source: str | Path) -> torch.Tensor:
    code: dict[str, Any] = {}
    exec(compile(read_text(source, "normalise.py"), "normalise.py", "exec"), code)
    return torch.from_numpy(
        code["normalise"](texts, **{name: space[name] for name in ("vocabulary", "length", "dim", "seed")})
    )


def main(source: str | Path = HERE) -> None:
    """Train one network and print its loss on the synthetic examples."""
    program, model = read_program(source), fit(make_model(source), source)
    images = read_examples(source)
    labels = read_labels(program, images)
    with torch.no_grad():
        loss = loss_of(program, model(images), labels[-1] if labels.dim() == 3 else labels)
    print(f"trained {program['network']}; mean loss on the synthetic examples: {loss:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
