"""The finished artifact: a distilled set in one safetensors file that says everything needed to use it.

Reading a file executes nothing, and needs none of the code that made it: this module imports no stage of the library.
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
from .files import digest, must_be_unchanged, read_tensors, write_whole
from .header import Header, check_header, check_tensors, read_header
from .modes import usual_modes
from .optimisers import make_optimiser
from .user_images import as_pixels

FORMAT = "datastill/1"
NAME = "distilled.safetensors"
"""Name of the file in the folder of a run."""
INITIAL = "initial."  # prefix of the tensors of theta_0
PACKED = ("examples.scale", "examples.offset")
"""What belongs to examples of 8 bits: one power of two and one multiple of it for each image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DistilledSet:
    """S steps of B synthetic examples each, with the step sizes to train on them for E epochs.

    Example:
        >>> distilled = DistilledSet.load("distilled.safetensors")
        >>> model = distilled.fit(my_model)
        >>> logits = model(distilled.normalise(images))
    """

    examples: Float[Tensor, "steps b c h w"]
    """Normalised synthetic images; see `pixels`."""
    labels: Shaped[Tensor, "steps b *classes"]
    """Integer classes, or one probability per class."""
    step_sizes: Float[Tensor, "epochs steps"]
    """Positive inner learning rates, one per gradient step."""
    header: Header
    theta_0: Mapping[str, Tensor] | None = None
    """The initial weights by parameter name, where the set was made for fixed ones."""
    trusted: bool = True
    """Whether names in the header may import modules and open other files. Sets made in this process are trusted; a set
    read from a file is not, unless it was loaded with ``trust=True``. Never stored."""

    def __post_init__(self) -> None:
        check_header(self.header)
        check_tensors(self.examples, self.labels, self.step_sizes, self.theta_0, self.header)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = self.examples.shape[2:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.header.class_names)

    @property
    def hard(self) -> bool:
        """Whether the labels are classes rather than probabilities."""
        return self.labels.dim() == 2

    @property
    def size(self) -> int:
        """Number of examples."""
        return self.labels.shape[0] * self.labels.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of examples, labels and step sizes, as stored."""
        return sum(t.numel() * t.element_size() for name, t in self.tensors().items() if not name.startswith(INITIAL))

    @property
    def initial_nbytes(self) -> int:
        """Bytes of the stored initial weights, 0 where there are none."""
        return sum(t.numel() * t.element_size() for t in (self.theta_0 or {}).values())

    def normalise(self, pixels: Any) -> Float[Tensor, "... c h w"]:
        """Images as the networks of this set take them: float32 tensors of shape (..., channels, height, width).

        Args:
            pixels: one image or a batch: a tensor, a NumPy array, a PIL image, or a list of these. Integers are in
                0..255, floats in [0, 1]. Channels may come last, and may be left out for grey images.

        Raises:
            UserError: other channels, sizes, types or ranges than the set's.
        """
        values = as_pixels(pixels, self.shape)
        mean, std = self._statistics(values.device)
        return (values - mean) / std

    def pixels(self) -> Float[Tensor, "steps b c h w"]:
        """The examples in pixel space, where real images lie in [0, 1]; synthetic ones may leave it."""
        mean, std = self._statistics(self.examples.device)
        return self.examples * std + mean

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (
            torch.tensor(value, dtype=torch.float32, device=device)[:, None, None]
            for value in (self.header.mean, self.header.std)
        )
        return mean, std

    def as_dataset(self) -> TensorDataset:
        """(normalised image, label) pairs in program order, for a `torch.utils.data.DataLoader` of your own."""
        return TensorDataset(self.examples.flatten(0, 1), self.labels.flatten(0, 1))

    @usual_modes()
    def fit(self, model: nn.Module, *, use_initial: bool = True) -> nn.Module:
        """Train `model` in place on the set as it is meant to be used: ordered steps with the learned step sizes.

        Dropout is off during these steps, as it was while distilling. The model may be wrapped in `DataParallel` or
        `torch.compile`, may be float64, and is trained right inside `no_grad`, `inference_mode` or autocast as well.

        Args:
            model: takes normalised images (see `normalise`), returns one logit per class. Where the set was made for
                random initial weights, initialise it like `header.initialiser` does. Where it was made for those that a
                network comes with, e.g. pretrained ones, it must come with them: ``build_network(...).factory()`` does.
            use_initial: where the set was made for fixed initial weights, load them first, or where it was made for the
                network's own, insist on them. The set is worth little from others.

        Returns:
            The same model, in evaluation mode; the running statistics of batch normalisation are those of the examples.

        Raises:
            UserError: the model does not take the set's images or gives other outputs than one logit per class; all
                of its parameters are frozen, or not float32 or float64; the stored initial weights do not fit it, or
                it does not come with the weights that the set is for.
        """
        core = fitting.checked(model, self.examples[0])
        optimiser = make_optimiser(self.header.optimiser, [p for p in core.parameters() if p.requires_grad])
        if self.theta_0 is not None and use_initial:
            fitting.load_weights(core, self.theta_0, self.header.network)
        if self.header.initial == "own" and use_initial:
            fitting.must_have(core, self.header.weights, self.header.network)
        fitting.train(core, optimiser, self.examples, self.labels, self.step_sizes, self.classes)
        return model.eval()

    def with_score(self, score: Mapping[str, Any]) -> "DistilledSet":
        """The same set with what was measured of it."""
        return replace(self, header=replace(self.header, score=score))

    def packed(self) -> "DistilledSet":
        """The set with its examples rounded to 8 bits, a quarter of the bytes; the score is to be measured again."""
        examples = unpack(*pack(self.examples.float()))
        return replace(self, examples=examples, header=replace(self.header, bits=8, score=None))

    def with_trust(self, trust: bool) -> "DistilledSet":
        """The set, trusted if `trust` is True; see `trusted`."""
        return replace(self, trusted=True) if trust else self

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by the names that they have in the file."""
        named = {"examples": self.examples, "labels": self.labels, "step_sizes": self.step_sizes}
        if self.header.bits == 8:
            named |= dict(zip(("examples", *PACKED), pack(self.examples), strict=True))
        named |= {INITIAL + name: value for name, value in (self.theta_0 or {}).items()}
        return {name: value.detach().cpu().contiguous() for name, value in named.items()}

    def save(self, path: str | Path) -> None:
        """Write the set to one file, completely or not at all.

        Raises:
            UserError: the file cannot be written; an older one stays as it was.
        """
        tensors = self.tensors()
        header = json.dumps(asdict(self.header), sort_keys=True)
        metadata = {"format": FORMAT, "header": header, "sha256": digest(header, tensors)}
        write_whole(Path(path), save(tensors, metadata))

    @classmethod
    @usual_modes()
    def load(cls, path: str | Path, *, trust: bool = False) -> "DistilledSet":
        """Read a set. Every byte is checked against the digest in the file, and every value by its type and range.

        What a file may hold is bounded: 4 GiB in all, 8 MiB of safetensors header (`files`), 12 levels and 200,000
        values of JSON (`schema`), 100,000 classes, a million gradient steps (`header`).

        Args:
            path: the file, or the folder of a finished run.
            trust: let names in the file import modules and open other files when the set is evaluated. Reading alone
                never does either.

        Raises:
            UserError: the file is missing, not readable, cut short, changed, of another kind, of a newer format, or
                holds a value that it must not.
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
    """The file of the set at a path, which may be the folder of a finished run."""
    return path / NAME if os.path.isdir(path) else path  # noqa: PTH112 (which raises where a folder is closed)


def pack(
    examples: Float[Tensor, "steps b c h w"],
) -> tuple[UInt8[Tensor, "steps b c h w"], Float[Tensor, "steps b"], Float[Tensor, "steps b"]]:
    """Codes of 8 bits with the scale and offset of each image: the value is code * scale + offset.

    Scales are powers of two and offsets multiples of them, so that values survive any number of rounds exactly.
    """
    low, high = examples.amin((2, 3, 4)), examples.amax((2, 3, 4))
    scale = ((high - low).clamp(min=1e-6) / 254).log2().ceil().exp2()  # 254, as the offset is rounded down
    offset = (low / scale).floor() * scale
    wide = (..., None, None, None)
    return ((examples - offset[wide]) / scale[wide]).round().to(torch.uint8), scale, offset


def unpack(codes: Tensor, scale: Tensor, offset: Tensor) -> Float[Tensor, "steps b c h w"]:
    """The values of codes."""
    wide = (..., None, None, None)
    return codes * scale[wide] + offset[wide]


def _examples(tensors: dict[str, Tensor], header: Header) -> Tensor:
    """The examples of a file, unpacked where they are of 8 bits."""
    packed = PACKED if header.bits == 8 else ()
    for name in tensors:
        if name not in ("examples", "labels", "step_sizes", *packed) and not name.startswith(INITIAL):
            raise UserError(f"it holds a tensor {name!r}, which this version of datastill does not know")
    if not packed:
        return tensors["examples"]
    codes, scales = tensors["examples"], [tensors[name] for name in packed if name in tensors]
    if codes.dtype != torch.uint8 or len(scales) < 2 or any(each.shape != codes.shape[:2] for each in scales):
        raise UserError(f"its examples are of 8 bits, for which {' and '.join(packed)} do not fit")
    if codes.dim() != 5 or any(each.dtype != torch.float32 for each in scales):
        raise UserError("its examples of 8 bits do not have five dimensions, or scales that are not float32")
    return unpack(codes, *scales)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with contextlib.suppress(OSError):  # reading says which
        if not path.exists():
            raise UserError(f"there is no distilled set at {path}")
    metadata, tensors = read_tensors(path)
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")
        raise UserError(f"{path} is not a distilled set of format {FORMAT} (format found: {found})")
    missing = {"examples", "labels", "step_sizes"} - tensors.keys()
    if missing or "header" not in metadata:
        raise UserError(f"{path} lacks {', '.join(sorted(missing)) or 'its header'}; it is not a whole distilled set")
    return metadata, tensors
