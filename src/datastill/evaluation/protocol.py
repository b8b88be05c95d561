"""The protocol of an evaluation: which networks, how many, and how they are trained on the set."""

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from jaxtyping import Shaped
from torch import Tensor

from .. import trust
from ..artifact import DistilledSet, Signed
from ..artifact.scores import MOST_NETWORKS
from ..errors import UserError, at_least, at_most
from ..label_source import TeacherOnce
from ..networks.start import START, Start
from ..program import (
    AUGMENTATIONS,
    PROGRAMS,
    AugmentationName,
    CrossEntropy,
    Divergence,
    OptimiserName,
    Program,
    ProgramName,
    SquaredError,
    augmentation_name,
    known_name,
    optimiser,
    suited,
)
from ..storage.files import as_read
from ..storage.records import LARGEST_VALUE, must_have_types, optional
from .answerers import Answerer, answerer

MOST_EPOCHS = 100_000
"""The largest number of epochs that a network is trained for."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The settings of an evaluation: networks that distilling never saw are trained on the set and then measured."""

    networks: int = 200
    """How many networks are trained and measured. Always 1 if training starts from weights that the set stores or that
    the network already has."""
    network: str = ""
    """The architecture. Empty: the one that the set was made for. nearest-neighbours(k=1,norm=2) trains no network."""
    start: Annotated[Start | None, optional(START)] = None
    """Initial weights. Empty: as the set asks for. random(xavier): a fresh draw of an initialiser (datastill list
    initialisers) for each network. pool:FILE: trained networks of a pool; scores on test images use its held-out
    networks."""
    program: Literal["", ProgramName] = ""
    """How networks are trained on the set. Empty or own: as the set says. shuffled-300 is the program of most papers
    since 2020, with 300 epochs of shuffled batches of 256, momentum 0.9, weight decay 0.0005, step size 0.01 (in the
    second half of the epochs a tenth of it) and siamese augmentation. Labels that a teacher gave once keep the loss of
    their set; labels of any sign become probabilities, or keep it if the program has the squared error, too. The
    settings that follow edit the program."""
    step_size: float = 0.0
    """One step size for all gradient steps (shuffled-300: the first step size). 0: the step sizes of the program."""
    epochs: int = 0
    """Passes over the examples. 0: as many as the program has. Any epoch more than a set has step sizes for repeats the
    step sizes of its last epoch."""
    optimiser: Literal["", OptimiserName] = ""
    """The optimiser of the training. Empty: the optimiser of the program, which may have settings without a name."""
    augmentation: Literal["", AugmentationName] = ""
    """Augmentation of the synthetic examples, drawn anew in each step, with equal draws for all networks. Empty: that
    of the program. siamese-no-flip is for digits and letters."""
    clip: float = 0.0
    """Largest norm of the gradient of one network; a longer gradient is scaled to it, a defence against poisoned sets.
    0: no limit."""
    labels: Literal["", "hard", "soft"] = ""
    """Type of the labels. hard: the most probable class of each soft label. Empty: the labels of the set."""
    seed: int = 0
    """Seed of initial weights and of augmentation. Evaluation never draws the initial weights used for distilling."""

    def __post_init__(self) -> None:
        must_have_types(self)
        for name, most in (("networks", MOST_NETWORKS), ("epochs", MOST_EPOCHS)):
            if getattr(self, name) > most:
                raise UserError(f"{name} is {getattr(self, name)}, but at most {most} are allowed; use fewer")
        at_most("step_size", self.step_size, LARGEST_VALUE)
        at_least("networks to evaluate on", self.networks, 1)
        at_least("step_size", self.step_size, 0)
        at_least("epochs", self.epochs, 0)
        at_least("clip", self.clip, 0)

    @property
    def answerer(self) -> Answerer:
        """Who answers for real images: networks that are trained on the set, or its nearest examples."""
        return answerer(self.network)

    def must_train(self, what: str) -> None:
        """Raise a `UserError` if no network is trained; `what` needs networks that are trained."""
        if not self.answerer.trains:
            raise UserError(f"{self.network} trains no network, so there is no {what}; name a network instead")

    def resolved(self, distilled: DistilledSet) -> "Protocol":
        """Return the protocol with every empty setting filled in from the set.

        Raises:
            UserError: the set was read from a file that is not trusted, and its network or its initial weights would
                import a module or open another file; the protocol asks for soft labels, but the set has hard labels;
                it has an augmentation, but the set holds no images; or it trains no network, but has a setting of
                training.
        """
        if self.labels == "soft" and distilled.hard:
            raise UserError("labels is 'soft', but the set has hard labels; leave labels out")
        if AUGMENTATIONS.get(self.augmentation) and len(distilled.shape) != 3:
            raise UserError(
                f"augmentation is {self.augmentation!r}, which changes images, but the set holds "
                f"{distilled.header.space.nouns}; leave augmentation out"
            )
        header = distilled.header
        start = self._start(distilled)
        if not distilled.trusted:
            if not self.network:
                trust.check_network(header.network)
            if self.start is None and not (distilled.theta_0 and start == header.start):
                trust.check_start(start)
        program = self.program_of(distilled)
        resolved = replace(
            self,
            networks=1 if start.is_one else self.networks,
            network=self.network or header.network,
            start=start,
            program=self.program or "own",
            epochs=self.epochs or program.order.epochs,
            optimiser=self.optimiser or known_name(program.optimiser),
            augmentation=self.augmentation or augmentation_name(program.augmentation),
            labels=self.labels or ("hard" if distilled.hard else "soft"),
        )
        return resolved if self.answerer.trains else self._without_training(resolved, distilled)

    def _without_training(self, resolved: "Protocol", distilled: DistilledSet) -> "Protocol":
        """Return the resolved protocol of an answerer that trains no network.

        Raises:
            UserError: this protocol has a setting that only the training of networks uses. The settings of the set's
                own program are no error.
        """
        own = {
            "program": "own",
            "epochs": distilled.program.order.epochs,
            "optimiser": known_name(distilled.program.optimiser),
            "augmentation": augmentation_name(distilled.program.augmentation),
        }
        for name in ("start", "program", "step_size", "epochs", "optimiser", "augmentation", "clip", "seed"):
            value = getattr(self, name)
            if value not in (getattr(Protocol(), name), own.get(name)):
                raise UserError(
                    f"{name} is {value}, but has no effect: {self.network} trains no network; leave {name} out, or "
                    "measure nearest neighbours in another command"
                )
        return replace(resolved, networks=1, start=None)

    def as_plain(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, as a score stores them."""
        plain: dict[str, Any] = as_read(asdict(self))
        return plain

    def _start(self, distilled: DistilledSet) -> Start:
        """Return the start of the networks: of the set, or the one that the protocol asks for instead."""
        own = distilled.header.start
        if self.network not in ("", distilled.header.network):
            own = own.fresh()
        return own if self.start is None or str(self.start) == str(own) else self.start

    def program_of(self, distilled: DistilledSet) -> Program:
        """Return the program that networks are trained by: of the set or the named one, as this protocol edits it.

        Nothing of the set is changed or copied.
        """
        named = PROGRAMS.get(self.program)
        base = suited(named, distilled.shape, mirror=True) if named else distilled.program
        if self.labels == "hard" and isinstance(base.loss, Divergence):
            base = replace(base, loss=CrossEntropy())  # the divergence needs logits
        elif self.labels != "hard" and isinstance(distilled.header.labels, TeacherOnce):
            base = replace(base, loss=distilled.program.loss)  # its labels may be logits
        elif self.labels != "hard" and isinstance(distilled.header.labels, Signed) and _squared(base):
            base = replace(base, loss=distilled.program.loss)  # its targets have a scale of their own
        order = base.order.with_epochs(self.epochs) if self.epochs else base.order
        return replace(
            base,
            order=order.with_step_size(self.step_size) if self.step_size else order,
            optimiser=optimiser(self.optimiser) if self.optimiser else base.optimiser,
            augmentation=AUGMENTATIONS[self.augmentation] if self.augmentation else base.augmentation,
            clip=self.clip or base.clip,
        )

    def targets_of(self, distilled: DistilledSet) -> Shaped[Tensor, "*epochs_n_classes"]:
        """Return the labels of the set, as this protocol asks for them: hard labels are the most probable classes.

        Targets of the squared error become probabilities for a program with another loss.

        Raises:
            UserError: the labels come from a teacher, and the protocol does not ask for hard ones.
        """
        if self.labels == "hard":
            return distilled.class_of_each
        distilled.teacher_of_labels()
        own, signed = distilled.program.loss, isinstance(distilled.header.labels, Signed)
        if signed and isinstance(own, SquaredError) and not _squared(self.program_of(distilled)):
            return own.probabilities(distilled.targets)
        return distilled.targets


def _squared(program: Program) -> bool:
    """Return whether networks are trained by the squared error, which takes targets of any sign."""
    return isinstance(program.loss, SquaredError)


def start_words(plain: Any) -> str:
    """Write the start of a stored protocol as a user writes it; empty for none."""
    return "" if plain is None else str(START(plain, "start"))
