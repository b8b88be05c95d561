"""The finished artifact: a distilled set in one safetensors file that says everything needed to use it.

Reading a file executes nothing, and needs none of the code that made it: this module imports no stage of the library.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
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
from .modes import usual_modes
from .optimisers import make_optimiser
from .user_images import as_pixels

FORMAT = "datastill/1"
INITIAL = "initial."  # prefix of the tensors of theta_0
PACKED = ("examples.scale", "examples.offset")
"""What belongs to examples of 8 bits: one power of two and one multiple of it for each image."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the tensors mean and where they come from. Plain JSON values only."""

    data: str
    """Name of the real data, or the path it was read from."""
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel; a pixel p in [0, 1] is normalised as (p - mean) / std."""
    std: tuple[float, ...]
    network: str
    """The network that the set was made for, e.g. ``lenet`` or ``convnet(depth=2)``."""
    initialiser: str
    """How its initial weights are drawn, e.g. ``xavier``."""
    initial: str
    """``fixed``: made for the initial weights stored in the file; ``random``: for any draw of the initialiser; ``own``:
    for those that the network comes with, e.g. pretrained ones, which the file does not hold."""
    weights: str = ""
    """SHA-256 of the weights that a network must come with: its frozen ones, and all where ``initial`` is ``own``."""
    space: str = "normalised"
    """The examples are stored normalised, as a network takes them."""
    bits: int = 32
    """Of a value of the examples in the file: 32, or 8 with a scale and an offset for each image."""
    order: str = "ordered"
    """Steps are taken in the stored order, each once in an epoch."""
    optimiser: str = "sgd"
    """Of the training: gradient descent (``sgd``), ``momentum`` of 0.9, or ``adam`` with an epsilon of 1e-5."""
    attack: tuple[int, int] | None = None
    """Of a set that poisons: the class that networks shall misread, and the one that they shall take it for."""
    method: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The resolved configuration of the run; the run can be repeated from it."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Versions, hardware class, seconds, iterations."""
    score: Mapping[str, Any] | None = None
    """What was measured on the test split, with its protocol; None before it was."""


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
        steps, batch = self.examples.shape[:2]
        if self.examples.dim() != 5 or self.labels.shape[:2] != (steps, batch):
            raise UserError(
                f"examples of shape {tuple(self.examples.shape)} and labels of shape {tuple(self.labels.shape)} do not "
                "belong together; expected (steps, batch, channels, height, width) and (steps, batch)"
            )
        if self.step_sizes.shape[1:] != (steps,):
            raise UserError(f"step sizes of shape {tuple(self.step_sizes.shape)} do not fit {steps} steps")
        if not bool((self.step_sizes >= 0).all()):
            raise UserError(f"step sizes must be positive numbers, but the smallest is {self.step_sizes.min():.3g}")
        if self.header.initial == "fixed" and self.theta_0 is None:
            raise UserError("the set was made for fixed initial weights, but holds none")

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
        examples = unpack(*pack(self.examples))
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
        """Read a set; every byte is checked against the digest in the file.

        Args:
            path: the file.
            trust: let names in the file import modules and open other files when the set is evaluated. Reading alone
                never does either.

        Raises:
            UserError: the file is missing, cut short, changed, of another kind, or of a newer format.
        """
        metadata, tensors = _read(Path(path))
        must_be_unchanged(Path(path), metadata, tensors)
        stored = json.loads(metadata["header"])
        known = {f.name for f in fields(Header)}
        named: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items() if k in known}
        theta_0 = {name.removeprefix(INITIAL): t for name, t in tensors.items() if name.startswith(INITIAL)}
        examples = tensors["examples"]
        if stored.get("bits") == 8:
            examples = unpack(examples, *(tensors[name] for name in PACKED))
        return cls(
            examples=examples,
            labels=tensors["labels"],
            step_sizes=tensors["step_sizes"],
            header=Header(**named),
            theta_0=theta_0 or None,
            trusted=trust,
        )


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


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise UserError(f"there is no distilled set at {path}")
    metadata, tensors = read_tensors(path)
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")
        raise UserError(f"{path} is not a distilled set of format {FORMAT} (format found: {found})")
    missing = {"examples", "labels", "step_sizes"} - tensors.keys()
    if missing or "header" not in metadata:
        raise UserError(f"{path} lacks {', '.join(sorted(missing)) or 'its header'}; it is not a whole distilled set")
    return metadata, tensors
