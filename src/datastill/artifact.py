"""The distilled set: one safetensors file that holds everything needed to use the set.

Reading a file executes nothing and needs none of the code that made it: this module imports nothing of distillation.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Shaped, UInt8
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from . import fitting
from .errors import UserError
from .header import Header, check_header, check_tensors, read_header
from .modes import usual_modes
from .program import CrossEntropy, Ordered, Program, name_of, optimiser
from .storage.files import digest, must_be_unchanged, read_tensors, write_whole
from .user_images import as_pixels

FORMAT = "datastill/1"
NAME = "distilled.safetensors"
"""Name of the file in the folder of a run."""
INITIAL = "initial."
"""Prefix of the names of initial weights in the file."""
PACKING_TENSORS = ("examples.scale", "examples.offset")
"""Tensors that accompany examples of 8 bits: per image, a scale (a power of two) and an offset (a multiple of it)."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DistilledSet:
    """A distilled set: synthetic examples in steps of one batch each, with labels and one step size per gradient step.

    Example:
        >>> distilled = DistilledSet.load("distilled.safetensors")
        >>> model = distilled.fit(my_model)
        >>> logits = model(distilled.normalise(images))
    """

    examples: Float[Tensor, "steps b c h w"]
    """Normalised synthetic images; `pixels` gives them in pixel space."""
    labels: Shaped[Tensor, "steps b *classes"]
    """Class indices (int64), or one probability per class (float)."""
    step_sizes: Float[Tensor, "epochs steps"]
    """Positive inner learning rates, one per gradient step in each epoch."""
    header: Header
    theta_0: Mapping[str, Tensor] | None = None
    """Initial weights by parameter name if the set was made for fixed initial weights; otherwise None."""
    trusted: bool = True
    """Whether names in the header may import modules and open other files. Sets made in this process are trusted; a set
    read from a file is not, unless it was loaded with ``trust=True``. Never stored."""

    def __post_init__(self) -> None:
        check_header(self.header)
        check_tensors(self.examples, self.labels, self.step_sizes, self.theta_0, self.header)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image: (channels, height, width)."""
        channels, height, width = self.examples.shape[2:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.header.class_names)

    @property
    def hard(self) -> bool:
        """Whether the labels are hard (one class each) rather than soft (probabilities)."""
        return self.labels.dim() == 2

    @property
    def inputs(self) -> Float[Tensor, "n c h w"]:
        """The examples of all steps in one row, as `program` takes them."""
        return self.examples.flatten(0, 1)

    @property
    def targets(self) -> Shaped[Tensor, "n *classes"]:
        """The labels of all steps in one row, as `program` takes them."""
        return self.labels.flatten(0, 1)

    @property
    def program(self) -> Program:
        """How networks are trained on the set."""
        return Program(order=Ordered(step_sizes=self.step_sizes), optimiser=optimiser(self.header.optimiser))

    def with_program(self, program: Program) -> "DistilledSet":
        """Return a copy of the set with another program, and no score: measure it again.

        Raises:
            UserError: a file of this format cannot hold the program.
        """
        order = program.order
        plain = program.augmentation is None and not program.clip and program.loss == CrossEntropy()
        if not isinstance(order, Ordered) or not plain:
            raise UserError(
                "a set can store a program of ordered steps with cross-entropy, without augmentation and without a "
                "limit on gradients; train by another program with fit(model, program=...)"
            )
        header = replace(self.header, optimiser=name_of(program.optimiser), score=None)
        return replace(self, step_sizes=order.step_sizes, header=header)

    @property
    def size(self) -> int:
        """Number of examples."""
        return self.labels.shape[0] * self.labels.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the examples, labels and step sizes in the file, without initial weights."""
        return sum(t.numel() * t.element_size() for name, t in self.tensors().items() if not name.startswith(INITIAL))

    @property
    def initial_nbytes(self) -> int:
        """Bytes of the initial weights in the file; 0 if it has none."""
        return sum(t.numel() * t.element_size() for t in (self.theta_0 or {}).values())

    def normalise(self, pixels: Any) -> Float[Tensor, "... c h w"]:
        """Return images as networks for this set take them: float32 of shape (..., channels, height, width).

        Args:
            pixels: one image or a batch: a tensor, a NumPy array, a PIL image, or a list of these. Integers are in
                0..255, floats in [0, 1]. Channels may come last, and may be left out for grey images.

        Raises:
            UserError: the images have other channels or another size than the set's, or a wrong type or range.
        """
        values = as_pixels(pixels, self.shape)
        mean, std = self._statistics(values.device)
        return (values - mean) / std

    def pixels(self) -> Float[Tensor, "steps b c h w"]:
        """Return the examples in pixel space. Real images lie in [0, 1] there; synthetic images may exceed it."""
        mean, std = self._statistics(self.examples.device)
        return self.examples * std + mean

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (
            torch.tensor(value, dtype=torch.float32, device=device)[:, None, None]
            for value in (self.header.mean, self.header.std)
        )
        return mean, std

    def as_dataset(self) -> TensorDataset:
        """Return the set as pairs (normalised image, label) in training order, for a `torch.utils.data.DataLoader`."""
        return TensorDataset(self.inputs, self.targets)

    @usual_modes()
    def fit(
        self, model: nn.Module, *, use_initial: bool = True, program: Program | None = None, seed: int = 0
    ) -> nn.Module:
        """Train `model` in place on the set as it is meant to be used: ordered steps with the learned step sizes.

        Dropout is off during these steps, as it was while distilling. The model may be wrapped in `DataParallel` or
        `torch.compile` and may be float64. The caller may have `no_grad`, `inference_mode` or autocast active.

        Args:
            model: takes normalised images (see `normalise`) and returns one logit per class. If `header.initial` is
                ``random``, initialise the model as `header.initialiser` does. If it is ``own``, the model must already
                have the weights that the set was made for, e.g. pretrained weights: make the model with
                ``build_network(...).factory()``.
            use_initial: if `header.initial` is ``fixed``, load the stored initial weights first; if it is ``own``,
                require that the model has the weights that the set was made for. False trains from the model's
                weights, whatever they are; expect a much lower accuracy.
            program: train by another program than that of the set; expect another accuracy than its score.
            seed: the seed of all that is random in the program; the program of a set has nothing random.

        Returns:
            `model`, in evaluation mode; its running statistics of batch normalisation are those of the examples.

        Raises:
            UserError: the model does not take the set's images or does not return one logit per class; all of its
                parameters are frozen, or they are not float32 or float64; the stored initial weights do not fit the
                model, or the model does not have the weights that the set was made for.
        """
        core = fitting.checked(model, self.examples[0])
        if self.theta_0 is not None and use_initial:
            fitting.load_weights(core, self.theta_0, self.header.network)
        if self.header.initial == "own" and use_initial:
            fitting.must_have(core, self.header.weights, self.header.network)
        fitting.train(core, program or self.program, self.inputs, self.targets, classes=self.classes, seed=seed)
        return model.eval()

    def __repr__(self) -> str:
        header, score = self.header, self.header.score
        accuracy = f", {score['mean']:.1%} of {score['images']} {score['split']} images" if score else ""
        return f"<DistilledSet: {self.size} examples of {header.data} for {header.network}{accuracy}>"

    def with_score(self, score: Mapping[str, Any]) -> "DistilledSet":
        """Return a copy of the set with `score` in its header."""
        return replace(self, header=replace(self.header, score=score))

    def packed(self) -> "DistilledSet":
        """Return a copy with its examples rounded to 8 bits, a quarter of the bytes, and no score: measure it again."""
        examples = unpack(*pack(self.examples.float()))
        return replace(self, examples=examples, header=replace(self.header, bits=8, score=None))

    def with_trust(self, trust: bool) -> "DistilledSet":
        """Return the set, with `trusted` set to True if `trust` is True; False changes nothing."""
        return replace(self, trusted=True) if trust else self

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by their names in the file, on the CPU."""
        named = {"examples": self.examples, "labels": self.labels, "step_sizes": self.step_sizes}
        if self.header.bits == 8:
            named |= dict(zip(("examples", *PACKING_TENSORS), pack(self.examples), strict=True))
        named |= {INITIAL + name: value for name, value in (self.theta_0 or {}).items()}
        return {name: value.detach().cpu().contiguous() for name, value in named.items()}

    def save(self, path: str | Path) -> None:
        """Write the set to one file, completely or not at all.

        Raises:
            UserError: the file cannot be written; an existing file at `path` stays unchanged.
        """
        tensors = self.tensors()
        header = json.dumps(asdict(self.header), sort_keys=True)
        metadata = {"format": FORMAT, "header": header, "sha256": digest(header, tensors)}
        write_whole(Path(path), save(tensors, metadata))

    @classmethod
    @usual_modes()
    def load(cls, path: str | Path, *, trust: bool = False) -> "DistilledSet":
        """Read a set. Every byte is checked against the digest in the file, and every value by its type and range.

        A file may have at most 4 GiB, 8 MiB of safetensors header, 12 levels and 200,000 values of JSON, 100,000
        classes and a million gradient steps.

        Args:
            path: the file, or the folder of a finished run.
            trust: let names in the file import modules and open other files when the set is evaluated. Reading alone
                never imports or opens anything else.

        Raises:
            UserError: the file is missing, not readable, cut short, changed, not a distilled set, of a newer format, or
                holds a value of a wrong type or range.
        """
        path = file_of(Path(path))
        metadata, tensors = _read(path)
        must_be_unchanged(path, metadata, tensors)
        try:
            header = read_header(metadata["header"])
            theta_0 = {name.removeprefix(INITIAL): t for name, t in tensors.items() if name.startswith(INITIAL)}
            return cls(
                examples=_examples(tensors, header),
                labels=tensors["labels"],
                step_sizes=tensors["step_sizes"],
                header=header,
                theta_0=theta_0 or None,
                trusted=trust,
            )
        except UserError as error:
            raise UserError(f"{path} is not a distilled set that can be used: {error}") from error


def file_of(path: Path) -> Path:
    """Return the path of a set's file; `path` may be that file or the folder of a finished run."""
    return path / NAME if os.path.isdir(path) else path  # noqa: PTH112 (Path.is_dir raises if access is denied)


def pack(
    examples: Float[Tensor, "steps b c h w"],
) -> tuple[UInt8[Tensor, "steps b c h w"], Float[Tensor, "steps b"], Float[Tensor, "steps b"]]:
    """Return 8-bit codes with the scale and offset of each image: value = code * scale + offset, rounded.

    Scales are powers of two and offsets are multiples of their scale: packing unpacked values again changes nothing.
    """
    low, high = examples.amin((2, 3, 4)), examples.amax((2, 3, 4))
    scale = ((high - low).clamp(min=1e-6) / 254).log2().ceil().exp2()  # 254 and not 255: the offset is rounded down
    offset = (low / scale).floor() * scale
    per_image = (..., None, None, None)
    return ((examples - offset[per_image]) / scale[per_image]).round().to(torch.uint8), scale, offset


def unpack(codes: Tensor, scale: Tensor, offset: Tensor) -> Float[Tensor, "steps b c h w"]:
    """Return the values that 8-bit codes stand for: code * scale + offset, with one scale and one offset per image."""
    per_image = (..., None, None, None)
    return codes * scale[per_image] + offset[per_image]


def _examples(tensors: dict[str, Tensor], header: Header) -> Tensor:
    """Return the examples of a file, unpacked if they are stored in 8 bits."""
    packed = PACKING_TENSORS if header.bits == 8 else ()
    for name in tensors:
        if name not in ("examples", "labels", "step_sizes", *packed) and not name.startswith(INITIAL):
            raise UserError(f"it holds a tensor {name!r}, which this version of datastill does not know")
    if not packed:
        return tensors["examples"]
    codes, scales = tensors["examples"], [tensors[name] for name in packed if name in tensors]
    if codes.dtype != torch.uint8 or len(scales) < 2 or any(each.shape != codes.shape[:2] for each in scales):
        raise UserError(f"its examples have 8 bits, and {' and '.join(packed)} are missing or have another shape")
    if codes.dim() != 5 or any(each.dtype != torch.float32 for each in scales):
        raise UserError("its examples of 8 bits do not have five dimensions, or their scales are not float32")
    return unpack(codes, *scales)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with contextlib.suppress(OSError):  # read_tensors reports it
        if not path.exists():
            raise UserError(f"there is no distilled set at {path}")
    metadata, tensors = read_tensors(path)
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")
        raise UserError(f"{path} is not a distilled set of format {FORMAT} (format found: {found})")
    missing = {"examples", "labels", "step_sizes"} - tensors.keys()
    if missing or "header" not in metadata:
        raise UserError(f"{path} lacks {', '.join(sorted(missing)) or 'a header'}; it is not a whole distilled set")
    return metadata, tensors
