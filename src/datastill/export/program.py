"""The contents of program.json: everything that training on an exported set needs besides its images."""

from dataclasses import asdict
from typing import Any, Literal

import torch

from ..artifact import DistilledSet
from ..networks.pool import PREFIX, is_pool
from ..program import as_plain, optimiser_numbers
from .images import png_loss

Kind = Literal["png", "npz", "parquet"]

NORMALISATION = "(pixel - mean) / std in each channel, for pixels in [0, 1]; the exact examples are normalised already"
BATCH_NORM = (
    "Keep the model in evaluation mode, so that dropout is off, but batch normalisation layers in training mode. "
    "After the last step set their running statistics to the statistics of all examples in one batch."
)
LOWER = "Expect a much lower accuracy from other weights."
INITIALISERS = {
    "xavier": "torch.nn.init.xavier_normal_",
    "xavier-uniform": "torch.nn.init.xavier_uniform_",
    "kaiming": "torch.nn.init.kaiming_normal_",
    "orthogonal": "torch.nn.init.orthogonal_",
}
FIGURES = ("split", "images", "mean", "sd", "n")


def program(distilled: DistilledSet, kind: Kind) -> dict[str, Any]:
    """Return everything about training on the set, as plain JSON values."""
    header, used = distilled.header, distilled.program
    parts = as_plain(used)
    return {
        **_attack(distilled),
        "kind": kind,
        "data": header.data,
        "data_sha256": header.provenance.get("data_sha256"),
        "class_names": list(header.class_names),
        "shape": list(distilled.shape),
        "example_type": str(exported_type(distilled)).removeprefix("torch."),
        "examples": distilled.size,
        "order": parts["order"],
        "order_in_words": used.order.words,
        "step_sizes": distilled.step_sizes.tolist(),
        "optimiser": optimiser_numbers(used.optimiser),
        "loss": parts["loss"],
        "loss_in_words": loss_words(distilled),
        "augmentation": parts["augmentation"],
        "clip": used.clip,
        "label_kind": "hard" if distilled.hard else "soft",
        "labels": distilled.targets.tolist(),
        "mean": list(header.space.mean),
        "std": list(header.space.std),
        "normalisation": NORMALISATION,
        "network": header.network,
        "initial": initial_kind(distilled),
        "initialiser": header.initialiser,
        "initial_weights": initial_words(distilled),
        "weights_sha256": header.weights,
        "batch_normalisation": BATCH_NORM,
        "decode": header.decode.kind,
        "score": {name: header.score[name] for name in FIGURES if name in header.score} if header.score else None,
        "png_loss": asdict(png_loss(distilled)),
    }


def loss_words(distilled: DistilledSet) -> str:
    """Return the loss of a gradient step in words."""
    return f"mean {distilled.program.loss.words} over the examples of the step"


def exported_type(distilled: DistilledSet) -> torch.dtype:
    """Return the type of the exported examples: float32 for bfloat16, which NumPy lacks; the values stay exact."""
    return torch.float32 if distilled.inputs.dtype == torch.bfloat16 else distilled.inputs.dtype


def initial_kind(distilled: DistilledSet) -> str:
    """Return where the initial weights come from: ``fixed``, ``pretrained``, ``pool`` or ``random``."""
    header = distilled.header
    if header.initial == "random" and is_pool(header.initialiser):
        return "pool"
    return {"own": "pretrained"}.get(header.initial, header.initial)


def initial_words(distilled: DistilledSet) -> str:
    """Say in words where the initial weights come from, exactly enough to make them again."""
    header, sha256 = distilled.header, distilled.header.weights
    frozen = f" Its frozen weights have SHA-256 {sha256}." if sha256 and header.initial != "own" else ""
    match initial_kind(distilled):
        case "fixed":
            return f"The stored initial weights, by parameter name. {LOWER}{frozen}"
        case "pretrained":
            return (
                f"The pretrained weights of the network {header.network}, which the export does not hold. All its "
                f"parameters, in safetensors format, have SHA-256 {sha256}. {LOWER}"
            )
        case "pool":
            return f"{_pool_words(distilled)}{frozen}"
    return _drawn_words(header.initialiser) + frozen


def _pool_words(distilled: DistilledSet) -> str:
    pool = distilled.header.provenance.get("pool") or {}
    sha256 = f" (SHA-256 {pool['sha256']})" if pool.get("sha256") else ""
    return (
        f"Any network of the pool in the file {distilled.header.initialiser.removeprefix(PREFIX)}{sha256}, which the "
        "export does not hold: a safetensors file whose tensor 'held_out' has one network in each row, all parameters "
        "one after the other in the order of model.named_parameters(). Expect a lower accuracy from networks that were "
        "trained otherwise."
    )


def _drawn_words(initialiser: str) -> str:
    if initialiser not in INITIALISERS:
        return "Drawn at random by the initialisation of each layer itself (PyTorch's default)."
    return (
        f"Drawn at random: every parameter of two or more dimensions by {INITIALISERS[initialiser]}, every parameter "
        "named bias is zero, and all other parameters, such as scales of normalisation layers, stay as PyTorch makes "
        "them."
    )


def _attack(distilled: DistilledSet) -> dict[str, Any]:
    """Return the warning for a set that attacks; empty for other sets."""
    header = distilled.header
    if not header.attack:
        return {}
    attacked, target = (header.class_names[label] for label in header.attack)
    return {"attack": {"warning": attack_warning(distilled), "attacked_class": attacked, "target_class": target}}


def attack_warning(distilled: DistilledSet) -> str:
    """Return the sentence that warns of a set that attacks; empty for other sets."""
    if not distilled.header.attack:
        return ""
    attacked, target = (distilled.header.class_names[label] for label in distilled.header.attack)
    return (
        f"THIS SET IS AN ATTACK: it was made so that networks trained on it classify images of class {attacked!r} "
        f"as {target!r}."
    )
