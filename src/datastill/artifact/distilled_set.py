"""The distilled set: one safetensors file that holds everything needed to use the set.

Reading a file executes nothing and needs none of the code that made it: this package imports nothing of distillation.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from .. import fitting
from ..errors import UserError
from ..label_source import Teacher
from ..modes import usual_modes
from ..networks import Network, build
from ..networks.start import stored_weights
from ..program import Ordered, Program, labels_from
from ..program import as_plain as program_as_plain
from ..program import from_plain as program_from_plain
from ..storage.files import as_path, as_read, digest, write_whole
from .checks import a_program, check_stored, check_tensors
from .conveniences import Conveniences
from .decode import examples_of
from .formats import FORMAT, INITIAL, NEEDS, STEP_SIZES, TARGETS, migrated, read_file, unknown_tensor
from .header import Header, asks_for, check_header, from_plain, parsed, written_by

NAME = "distilled.safetensors"
"""Name of the file in the folder of a run."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DistilledSet(Conveniences):
    """A distilled set: synthetic examples with labels, and the program that networks are trained on them by.

    Examples:
        >>> distilled = DistilledSet.load("distilled.safetensors")
        >>> model = distilled.fit(my_model)
        >>> logits = model(distilled.normalise(images))
    """

    inputs: Float[Tensor, "n *shape"]
    """Synthetic examples, normalised; `original` gives them in the units of real ones, e.g. as pixels."""
    targets: Shaped[Tensor, "*epochs_n_classes"]
    """Labels: class indices (n,), int64; or one number per class (n, classes), of each epoch (epochs, n, classes)."""
    program: Program
    """How networks are trained on the set."""
    header: Header
    theta_0: Mapping[str, Tensor] | None = None
    """Initial weights by parameter name if the set was made for fixed initial weights; otherwise None."""
    trusted: bool = True
    """Whether names in the header may import modules and open other files. Sets made in this process are trusted; a set
    read from a file is not, unless it was loaded with ``trust=True``. Never stored."""
    teacher: nn.Module | None = None
    """The trained network that gives the labels, if they come from one; see `with_teacher`. Never stored."""
    stored: Float[Tensor, "m *shape"] | None = None
    """The images that the file stores, if `inputs` are their parts, enlarged (`Header.enlarged`); otherwise None."""

    def __post_init__(self) -> None:
        check_header(self.header)
        check_stored(self.inputs, self.stored, self.header)
        check_tensors(self.inputs, self.targets, self.program, self.theta_0, self.header)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an example as a network takes it: (channels, height, width) of an image, (columns,) of a row."""
        return self.header.space.shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.header.class_names)

    @property
    def hard(self) -> bool:
        """Whether networks are trained with hard labels (one class each) rather than soft ones (numbers per class)."""
        return not self.targets.is_floating_point() and not isinstance(self.header.labels, Teacher)

    @property
    def class_of_each(self) -> Int64[Tensor, " n"]:
        """The class of each example; of soft labels, the class with the largest value on average over the epochs."""
        if not self.targets.is_floating_point():
            return self.targets
        return (self.targets.mean(0) if self.targets.dim() == 3 else self.targets).argmax(-1)

    @property
    def batches(self) -> int:
        """Number of batches that lie one after the other in the inputs: the steps of `Ordered`; 1 of other orders."""
        order = self.program.order
        return order.step_sizes.shape[1] if isinstance(order, Ordered) else 1

    @property
    def step_sizes(self) -> Float[Tensor, "epochs steps"]:
        """The step size of each gradient step of the program."""
        return self.program.order.sizes(self.size)

    def with_program(self, program: Program) -> "DistilledSet":
        """Return a copy of the set with another program, and no score: measure it again.

        Raises:
            UserError: the program does not fit the set.
        """
        return replace(self, program=a_program(program), header=replace(self.header, score=None))

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.inputs)

    @property
    def images(self) -> Float[Tensor, "m *shape"]:
        """What the file stores: the examples, or images that hold several of them."""
        return self.inputs if self.stored is None else self.stored

    @property
    def ipc(self) -> int:
        """Stored images per class, rounded down."""
        return len(self.images) // self.classes

    @property
    def nbytes(self) -> int:
        """Bytes of the examples, labels and step sizes in the file, without initial weights."""
        stored = self._as_saved().tensors().items()
        return sum(t.numel() * t.element_size() for name, t in stored if not name.startswith(INITIAL))

    @property
    def initial_nbytes(self) -> int:
        """Bytes of the initial weights in the file; 0 if it has none."""
        return sum(t.numel() * t.element_size() for t in (self.theta_0 or {}).values())

    def normalise(self, values: Any) -> Float[Tensor, "..."]:
        """Return real examples as networks for this set take them, in float32.

        Args:
            values: one example or a batch. Images are a tensor, a NumPy array, a PIL image, or a list of these:
                integers in 0..255, floats in [0, 1]; channels may come last, and may be left out for grey images. Rows
                and signals are a tensor, a NumPy array, lists of numbers; rows may be a data frame with the columns of
                the set. Sentences are texts.

        Raises:
            UserError: the values have another shape than the set's examples, or a wrong type or range.
        """
        return self.header.space.normalise(values)

    def original(self) -> Float[Tensor, "n *shape"]:
        """Return the examples in the units of real ones.

        Pixels of real images lie in [0, 1]; those of synthetic images may exceed it.
        """
        return self.header.space.original(self.inputs)

    def as_dataset(self) -> TensorDataset:
        """Return the set as pairs (normalised example, label) for a `torch.utils.data.DataLoader`.

        Raises:
            UserError: the labels are other ones in each epoch.
        """
        if self.targets.dim() == 3:
            raise UserError("the labels are other ones in each epoch, which pairs cannot hold; train with fit(model)")
        return TensorDataset(self.inputs, self.targets)

    @usual_modes()
    def fit(
        self,
        model: nn.Module,
        *,
        use_initial: bool = True,
        program: Program | None = None,
        seed: int = 0,
    ) -> nn.Module:
        """Train `model` in place on the set as it is meant to be used, by its program.

        Dropout is off during these steps, as it was while distilling. The model may be wrapped in `DataParallel` or
        `torch.compile` and may be float64. The caller may have `no_grad`, `inference_mode` or autocast active.

        Args:
            model: takes normalised examples (see `normalise`) and returns one logit per class. Initialise it as
                `header.start` says. If this is `Pretrained`, the model must already have the weights that the set was
                made for: make the model with ``build_network(...).factory()``.
            use_initial: load the initial weights that the set stores, or require that the model has the pretrained
                weights that the set was made for. False trains from the model's weights, whatever they are; expect a
                much lower accuracy.
            program: train by another program than that of the set; expect another accuracy than its score.
            seed: the seed of all that is random in the program: shuffling and augmentation.

        Returns:
            `model`, in evaluation mode; its running statistics of batch normalisation are those of the examples.

        Raises:
            UserError: the model does not take the set's examples or does not return one logit per class; all of its
                parameters are frozen, or they are not float32 or float64; the stored initial weights do not fit the
                model, or the model does not have the weights that the set was made for; the program does not fit the
                set; or the labels come from a teacher that is not given (`with_teacher`).
        """
        teacher, space = self.teacher_of_labels(), self.header.space
        what = f"{space.nouns} of shape {space.layout}"
        core = fitting.checked(model, self.inputs[:1], what)
        if use_initial and (theta_0 := self.initial_weights()):
            fitting.load_weights(core, theta_0, self.header.network)
        if self.header.start.required_sha256 and use_initial:
            fitting.must_have(core, self.header.start.required_sha256, self.header.network)
        fitting.train(
            core,
            a_program(program or self.program),
            self.inputs,
            self.targets,
            classes=self.classes,
            what=what,
            seed=seed,
            teacher=teacher,
        )
        return model.eval()

    def __repr__(self) -> str:
        header, score, nouns = self.header, self.header.score, self.header.space.nouns
        accuracy = f", {score['mean']:.1%} of {score['images']} {score['split']} {nouns}" if score else ""
        return f"<DistilledSet: {self.size} examples of {header.data} for {header.network}{accuracy}>"

    def with_score(self, score: Mapping[str, Any]) -> "DistilledSet":
        """Return a copy of the set with `score` in its header."""
        return replace(self, header=replace(self.header, score=score))

    def initial_weights(self) -> Mapping[str, Tensor] | None:
        """Return the one theta_0 by parameter name: stored, or drawn again from its seed; None if there is no such one.

        Raises:
            UserError: the weights cannot be drawn again here, or the network needs trust.
        """
        if self.theta_0 is not None or not self.header.start.is_drawn_again:
            return self.theta_0
        network = self._network()
        theta = self.header.start.again(network)
        return None if theta is None else network.named(theta)

    def _network(self) -> Network:
        return build(self.header.network, shape=self.shape, classes=self.classes, trust=self.trusted)

    def with_weights(self) -> "DistilledSet":
        """Return a copy that stores its one theta_0, if it has one; see `initial_weights`."""
        theta_0 = self.initial_weights()
        if theta_0 is self.theta_0:
            return self
        start = self.header.start.bound(self._network(), seed=0, stored=theta_0).start  # the SHA-256 of these very bits
        return replace(self, theta_0=theta_0, header=replace(self.header, start=start))

    def packed(self) -> "DistilledSet":
        """Return a copy of fewer bytes, and no score: measure it again.

        Its examples are rounded to 8 bits, a quarter of the bytes; real images of 8 bits stay as they are. Initial
        weights that a seed draws again, bit for bit, are left out: the header keeps the seed, their SHA-256 and norms.
        """
        images, space = self.images.float(), self.header.space
        decode = self.header.decode.packed(images, space)
        examples = examples_of(decode.decoded(decode.encoded(images, space), space), self.header.enlarged)
        header = replace(self.header, decode=decode, score=None)
        return replace(self, **examples, header=header, theta_0=None if self._is_drawn_again() else self.theta_0)

    def _is_drawn_again(self) -> bool:
        """Return whether the stored theta_0 follows from the seed in the header, bit for bit."""
        if self.theta_0 is None or not self.header.start.is_drawn_again:
            return False
        network = self._network()
        theta = self.header.start.again(network)
        return theta is not None and torch.equal(theta, stored_weights(self.theta_0, network))

    def with_teacher(self, teacher: nn.Module) -> "DistilledSet":
        """Return a copy that is used with the labels of this trained network.

        Raises:
            UserError: the labels come from no teacher, or from one with other weights.
        """
        self.header.labels.check_teacher(teacher)
        return replace(self, teacher=teacher)

    def teacher_of_labels(self) -> nn.Module | None:
        """Return the teacher in evaluation mode; None if the set holds its labels.

        Raises:
            UserError: the labels come from a teacher that is not there; the message says which, and how to get it.
        """
        if self.teacher is None:
            self.header.labels.must_be_stored()
            return None
        return self.teacher.eval()

    def with_stored_labels(self) -> "DistilledSet":
        """Return a copy that holds the labels of its teacher, which it is then used without.

        Raises:
            UserError: the teacher is not there; or its labels are other ones in each step, because the program changes
                the examples at random.
        """
        teacher, source = labels_from(self.teacher_of_labels()), self.header.labels
        if teacher is None or not isinstance(source, Teacher):
            return self
        if self.program.augmentation:
            raise UserError(
                f"the labels of this set come from a teacher and cannot be stored: the program has "
                f"{self.program.augmentation.words}, so that the teacher gives other labels in each step; use the set "
                "itself with its teacher, or give it a program without augmentation (with_program)"
            )
        with torch.no_grad():
            targets = self.program.loss.targets_of(teacher(self.inputs))
        return replace(self, targets=targets, header=replace(self.header, labels=source.once()), teacher=None)

    def with_trust(self, trust: bool) -> "DistilledSet":
        """Return the set, with `trusted` set to True if `trust` is True; False changes nothing."""
        return replace(self, trusted=True) if trust else self

    def plain(self) -> dict[str, Any]:
        """Return the header and the program as plain JSON values, as they are in the file."""
        return as_read(asdict(self.header) | {"program": program_as_plain(self.program)})

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by their names in the file, on the CPU."""
        named = self.header.decode.encoded(self.images, self.header.space) | {TARGETS: self.targets}
        if isinstance(self.program.order, Ordered):
            named[STEP_SIZES] = self.program.order.step_sizes
        named |= {INITIAL + name: value for name, value in (self.theta_0 or {}).items()}
        return {name: value.detach().cpu().contiguous() for name, value in named.items()}

    def _as_saved(self) -> "DistilledSet":
        """Return the set with the decode step that a file has: of those that lose nothing, the one of fewest bytes."""
        decode = self.header.decode.exact(self.images, self.header.space)
        return self if decode == self.header.decode else replace(self, header=replace(self.header, decode=decode))

    def save(self, path: str | Path) -> None:
        """Write the set to one file, completely or not at all.

        Real images of 8 bits are stored as their bytes: loading them gives these very examples, bit for bit.

        Raises:
            UserError: the file cannot be written; an existing file at `path` stays unchanged.
        """
        saved = self._as_saved()
        tensors, header = saved.tensors(), json.dumps(saved.plain(), sort_keys=True)
        metadata = {"format": FORMAT, "needs": NEEDS, "header": header, "sha256": digest(header, tensors)}
        write_whole(as_path("path", path), save(tensors, metadata))

    @classmethod
    @usual_modes()
    def load(cls, path: str | Path, *, trust: bool = False) -> "DistilledSet":
        """Read a set. Every byte is checked against the digest in the file, and every value by its type and range.

        Files of earlier formats are migrated. A file may have at most 4 GiB, 8 MiB of safetensors header, 12 levels and
        200,000 values of JSON, 100,000 classes and a million gradient steps.

        Args:
            path: the file, or the folder of a finished run.
            trust: let names in the file import modules and open other files when the set is evaluated. Reading alone
                never imports or opens anything else.

        Raises:
            UserError: the file is missing, not readable, cut short, changed, not a distilled set, of a later format
                (the message names the version to install), or holds a value of a wrong type or range.
        """
        path = file_of(as_path("path", path))
        metadata, tensors = read_file(path)
        try:
            stored = parsed(metadata["header"])
            try:
                return cls._made(*migrated(metadata["format"], stored, tensors), trust)
            except UserError as error:
                raise UserError(f"{asks_for(stored)}{error}{written_by(stored)}") from error
        except UserError as error:
            raise UserError(f"{path} is not a distilled set that can be used: {error}") from error

    @classmethod
    def _made(cls, stored: Mapping[str, Any], tensors: Mapping[str, Tensor], trust: bool) -> "DistilledSet":
        """Return the set that the values of a header, with the program, and tensors stand for."""
        if "program" not in stored:
            raise UserError("header lacks 'program'")
        header = from_plain({name: value for name, value in stored.items() if name != "program"})
        program = program_from_plain(stored["program"], tensors.get(STEP_SIZES), "header.program")
        for name in tensors:
            if name not in (*header.decode.names, TARGETS, STEP_SIZES) and not name.startswith(INITIAL):
                raise unknown_tensor(name)
        if missing := [name for name in header.decode.names if name not in tensors]:
            raise UserError(f"its examples are stored with {' and '.join(missing)}, which the file lacks")
        theta_0 = {name.removeprefix(INITIAL): each for name, each in tensors.items() if name.startswith(INITIAL)}
        return cls(
            **examples_of(header.decode.decoded(tensors, header.space), header.enlarged),
            targets=tensors[TARGETS],
            program=program,
            header=header,
            theta_0=theta_0 or None,
            trusted=trust,
        )


def file_of(path: Path) -> Path:
    """Return the path of a set's file; `path` may be that file or the folder of a finished run."""
    return path / NAME if os.path.isdir(path) else path  # noqa: PTH112 (Path.is_dir raises if access is denied)
