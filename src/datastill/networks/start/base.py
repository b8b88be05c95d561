"""The contract of a start: where the initial weights of networks come from, p(theta_0), said once for everything."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...space import Space
from ...storage.files import digest
from ..functional import Network

LOWER = "Expect a much lower accuracy from other weights."


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Initial weights for training: a start that is bound to a network."""

    start: "Start"
    """The start, with the SHA-256 of what it reads or draws once; a set stores this one."""
    draw: Callable[[int, int, Sequence[int]], Float[Tensor, "networks size"]]
    one: Float[Tensor, " size"] | None = None
    """The weights that every draw gives; None if draws differ."""

    def __call__(self, seed: int, iteration: int, which: Sequence[int]) -> Float[Tensor, "networks size"]:
        """Return initial weights on the CPU. Weights of one network do not depend on the other networks in `which`.

        Args:
            seed: the seed of the run.
            iteration: the outer iteration, from 0.
            which: numbers of networks within the iteration.
        """
        return self.draw(seed, iteration, which)


def one_draw(start: "Start", theta: Float[Tensor, " size"]) -> Draws:
    """Return initial weights that are equal for every network and iteration."""
    return Draws(start=start, one=theta, draw=lambda seed, iteration, which: theta.expand(len(which), -1))


@dataclass(frozen=True)
class Start(abc.ABC):
    """Where initial weights come from: a frozen record of plain values.

    Everything that deals with initial weights (configurations, sets, protocols, baselines, pools, exports, pages) has
    one of these and asks it; nothing else knows the kinds. A new kind is a subclass in a file of its own, listed in
    `KINDS`. Its first field is ``kind``, which names it in JSON. A record that a user gives has no SHA-256; the record
    in a set has (`Draws.start`).
    """

    kind: str = field(init=False, repr=False)
    """Its name in JSON, e.g. ``pool``; see `KINDS`."""
    spelling: ClassVar[str]
    """How a user writes it, e.g. ``pool:FILE, pool:FILE#3@5``. ``str(start)`` writes it so, and `parse_start` reads it.
    SHA-256 and seeds have no spelling."""

    @abc.abstractmethod
    def __str__(self) -> str: ...

    @classmethod
    @abc.abstractmethod
    def spelled(cls, text: str) -> "Start | None":
        """Return the start that a text spells; None if the text is no spelling of this kind.

        Raises:
            UserError: the text is nearly a spelling of this kind; the message says what is wrong with it.
        """

    # What it needs

    @property
    def opens(self) -> str:
        """Path of the file that it opens; empty if it opens none. A set that asks for a file needs trust."""
        return ""

    def files(self) -> dict[str, str]:
        """Return the SHA-256 of the files that it opens, each under the spelling of the start."""
        return {}

    def about(self) -> dict[str, Any]:
        """Return what is recorded about these files in the provenance of a set."""
        return {}

    def class_names(self) -> tuple[str, ...] | None:
        """Return the class names in the order of the outputs that the weights were trained for; None: any order."""
        return None

    def must_take(self, space: Space) -> None:  # noqa: B027
        """Raise a `UserError` if the weights were trained on examples of another kind, e.g. without whitening."""

    def must_have_order(self, class_names: Sequence[str]) -> None:
        """Raise a `UserError` if the weights were trained for these classes in another order.

        Weights for classes with other names can be used: class k of one data set then counts as class k of the other.
        """
        theirs, ours = self.class_names(), tuple(class_names)
        if theirs is not None and theirs != ours and sorted(theirs) == sorted(ours):
            k = next(k for k, name in enumerate(theirs) if name != ours[k])
            raise UserError(
                f"{self} has the classes in another order: class {k} is {theirs[k]!r} there, but {ours[k]!r} here; "
                "pretrain a pool on data with the order of this one"
            )

    def check(self, network: str) -> None:  # noqa: B027
        """Raise a `UserError` unless networks of this name can start so, e.g. because no initialiser has the name."""

    # How it is drawn from

    @property
    def drawn_by(self) -> str:
        """The initialiser of a network that is made before its weights are loaded, if the start loads any."""
        return "own"

    @property
    def is_one(self) -> bool:
        """Whether every network starts from equal weights, so that a second one measures nothing new."""
        return False

    @property
    def is_stored(self) -> bool:
        """Whether a set that is made for this start holds the weights."""
        return False

    @property
    def continues(self) -> bool:
        """Whether a run that goes on from a set takes the weights that this set stores, instead of a new draw."""
        return False

    @property
    def is_drawn_again(self) -> bool:
        """Whether the one theta_0 follows from the record and the network (`again`), so that no set must store it."""
        return False

    def again(self, network: Network) -> Float[Tensor, " size"] | None:
        """Return the one theta_0 that follows from the record alone; None if it does not, so that a set must store it.

        Raises:
            UserError: the network or the processor gives other weights than the set was made for.
        """
        return None

    @property
    def required_sha256(self) -> str:
        """SHA-256 of all weights that a user's network must already have; empty if it needs none, or it is unknown."""
        return ""

    @abc.abstractmethod
    def bound(
        self,
        network: Network,
        *,
        seed: int,
        networks: int = 1,
        dtype: torch.dtype = torch.float32,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Draws:
        """Return the initial weights to distil with.

        Args:
            network: the network.
            seed: the seed of the run, for what is drawn once; `Draws` take the seed for what they draw.
            networks: how many networks an outer iteration has.
            dtype: the type of the weights.
            stored: the weights by parameter name, from an earlier set that this start continues.

        Raises:
            UserError: the weights do not fit the network, or there are too few.
        """

    @abc.abstractmethod
    def unseen(
        self,
        network: Network,
        *,
        seed: int,
        purpose: str,
        networks: int,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "networks size"]:
        """Return initial weights to evaluate with, which distilling never saw unless they are the only ones.

        Args:
            network: the network.
            seed: the seed of the protocol.
            purpose: a name for the draw, e.g. ``test networks``; other names give other weights.
            networks: how many at most; there may be fewer.
            stored: the weights that the set holds, by parameter name.

        Raises:
            UserError: the weights do not fit the network, or the set was made for other ones.
        """

    def first(
        self, network: Network, *, seed: int, which: Sequence[int], counts: Mapping[str, int]
    ) -> Float[Tensor, "networks size"]:
        """Return the initial weights of the networks of a pool, before they are trained on real data.

        Args:
            network: the network.
            seed: the seed of the pool.
            which: numbers of networks within the pool; the networks to distil with come first, then the held-out ones.
            counts: how many networks of the new pool are ``training`` and ``held_out``.
        """
        return self.bound(network, seed=seed)(seed, 0, which)

    def fresh(self) -> "Start":
        """Return the start of other networks of the kind that a set for this start is for; nothing is stored."""
        return self

    def must_agree(self, stored: Mapping[str, Tensor] | None) -> None:
        """Raise a `UserError` unless a set of this start may hold these weights, or may do without any."""
        if stored:
            raise UserError(f"the set holds initial weights, but its start is {self}; leave theta_0 out")

    # How it is said in words

    @property
    @abc.abstractmethod
    def made_for(self) -> str:
        """The weights that a set was made for, e.g. ``any xavier initial weights``."""

    @property
    @abc.abstractmethod
    def measured(self) -> str:
        """The weights that its score was measured with, e.g. ``fresh initial weights, unseen in distillation``."""

    @property
    @abc.abstractmethod
    def advice(self) -> str:
        """A sentence about other weights, e.g. ``Expect a much lower accuracy from other weights.``."""

    @abc.abstractmethod
    def in_full(self, network: str) -> str:
        """Say where the weights come from, exactly enough to make them again without this library."""

    @property
    def imports(self) -> str:
        """Line of Python that `code` needs first; empty if it needs none."""
        return ""

    @property
    def code(self) -> str:
        """Python code that makes a ``model`` with these weights, from a ``network`` (`build_network`)."""
        return f"model = network.factory()  # with {self.made_for}"


def stored_weights(stored: Mapping[str, Tensor], network: Network) -> Float[Tensor, " size"]:
    """Return weights by parameter name as one vector.

    Raises:
        UserError: the names or shapes of the weights do not fit the network.
    """
    if {name: value.shape for name, value in stored.items()} != dict(zip(network.names, network.shapes, strict=True)):
        raise UserError(f"the initial weights stored in the set do not fit network {network.name!r}")
    return network.flat(dict(stored))


def weights_sha256(named: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights by parameter name, in safetensors format."""
    return digest("", {name: value.detach().cpu().contiguous() for name, value in named.items()})


def argument(text: str, word: str) -> str | None:
    """Return the text in brackets of ``word(text)``, empty for ``word`` alone; None if the text has another form.

    Raises:
        UserError: the closing bracket is missing.
    """
    name, bracket, inside = text.partition("(")
    if name != word:
        return None
    if bracket and not inside.endswith(")"):
        raise UserError(f"the start {text!r} has no closing bracket; write {word}(NAME)")
    return inside.removesuffix(")")
