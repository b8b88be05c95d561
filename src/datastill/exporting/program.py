"""The contents of program.json: everything that training on an exported set needs besides its images."""

from dataclasses import asdict
from typing import Any, Literal

import torch

from ..artifact import DistilledSet
from ..program import as_plain, optimiser_numbers
from .images import png_loss

Kind = Literal["png", "npz", "parquet", "csv"]

BATCH_NORM = (
    "Keep the model in evaluation mode, so that dropout is off, but batch normalisation layers in training mode. "
    "After the last step set their running statistics to the statistics of all examples in one batch."
)
FIGURES = ("split", "images", "mean", "sd", "n")


def program(distilled: DistilledSet, kind: Kind) -> dict[str, Any]:
    """Return everything about training on the set, as plain JSON values."""
    header, used = distilled.header, distilled.program
    parts = as_plain(used)
    return {
        "objective": _objective(distilled),
        "kind": kind,
        "data": header.data,
        "data_sha256": header.provenance.get("data_sha256"),
        "class_names": list(header.class_names),
        "shape": list(distilled.shape),
        "example_type": str(exported_type(distilled)).removeprefix("torch."),
        "examples": distilled.size,
        "stored_images": len(distilled.images),
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
        "space": asdict(header.space),
        "normalisation": header.space.normalisation,
        "network": header.network,
        "start": str(header.start),
        "initialiser": header.start.drawn_by,
        "initial_weights": initial_words(distilled),
        "initial_weights_are_stored": distilled.theta_0 is not None,
        "weights_sha256": header.start.required_sha256,
        "frozen_sha256": header.frozen,
        "batch_normalisation": BATCH_NORM,
        "decode": header.decode.kind,
        "score": {name: header.score[name] for name in FIGURES if name in header.score} if header.score else None,
        "png_loss": asdict(png_loss(distilled)) if "png" in header.space.exports else None,
    }


def loss_words(distilled: DistilledSet) -> str:
    """Return the loss of a gradient step in words."""
    return f"mean {distilled.program.loss.words} over the examples of the step"


def exported_type(distilled: DistilledSet) -> torch.dtype:
    """Return the type of the exported examples: float32 for bfloat16, which NumPy lacks; the values stay exact."""
    return torch.float32 if distilled.inputs.dtype == torch.bfloat16 else distilled.inputs.dtype


def initial_words(distilled: DistilledSet) -> str:
    """Say in words where the initial weights come from, exactly enough to make them again."""
    header = distilled.header
    frozen = f" The frozen weights of the network have SHA-256 {header.frozen}." if header.frozen else ""
    return header.start.in_full(header.network) + frozen


def _objective(distilled: DistilledSet) -> dict[str, str]:
    """Return the objective with the names of its classes, and a warning if it has one."""
    objective, names = distilled.header.objective, distilled.header.class_names
    warning = objective.warning(names)
    return ({"warning": warning} if warning else {}) | objective.about(names)
