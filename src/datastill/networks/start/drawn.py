"""Starts that an initialiser draws: afresh for each network, or once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...rng import generator
from ...storage.records import list_of, number, optional, text, whole
from .. import must_keep_weights
from ..functional import Network
from ..initial import INITIALISERS, check_initialiser
from .base import LOWER, Draws, Start, argument, one_draw, stored_weights, weights_sha256

NAME = text(4096, 1)
PIECES = 8
"""Pieces of the weights whose norms are recorded."""
ROUNDING = 1e-5
"""Largest relative difference of two norms that rounding explains; processors differ by 1e-8."""
Kind = TypeVar("Kind", "Random", "Fixed")


@dataclass(frozen=True)
class Random(Start):
    """A fresh draw of an initialiser (datastill list initialisers) for each network."""

    spelling: ClassVar[str] = "random(xavier)"

    kind: Literal["random"] = field(default="random", init=False, repr=False)
    initialiser: Annotated[str, NAME] = "xavier"
    """The initialiser, by its name in `INITIALISERS`. ``own``: the random initialisation in the network's own code."""

    def __str__(self) -> str:
        return f"random({self.initialiser})"

    @classmethod
    def spelled(cls, text: str) -> "Random | None":
        """Read ``random(NAME)``, or ``random`` for the usual initialiser."""
        return _with_initialiser(cls, text, "random")

    def check(self, network: str) -> None:
        """Raise a `UserError` if no initialiser has the name, or it would replace weights loaded from a file."""
        check_initialiser(self.initialiser)
        must_keep_weights(network, self.initialiser)

    @property
    def drawn_by(self) -> str:
        """The initialiser."""
        return self.initialiser

    def bound(
        self,
        network: Network,
        *,
        seed: int,
        networks: int = 1,
        dtype: torch.dtype = torch.float32,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Draws:
        """Return draws of the initialiser."""
        check_initialiser(self.initialiser)

        def draw(seed: int, iteration: int, which: Sequence[int]) -> Float[Tensor, "networks size"]:
            streams = [generator(seed, "initial weights", iteration, i) for i in which]
            return network.init(self.initialiser, streams, dtype)

        return Draws(start=self, draw=draw)

    def unseen(
        self,
        network: Network,
        *,
        seed: int,
        purpose: str,
        networks: int,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "networks size"]:
        """Draw weights; the draw of a network depends only on the seed, the purpose and its number."""
        return network.init(self.initialiser, [generator(seed, purpose, i) for i in range(networks)])

    def first(
        self,
        network: Network,
        *,
        seed: int,
        which: Sequence[int],
        counts: Mapping[str, int],
    ) -> Float[Tensor, "networks size"]:
        """Draw weights for each network of the pool."""
        return network.init(self.initialiser, [generator(seed, "pool weights", i) for i in which])

    @property
    def made_for(self) -> str:
        """The weights that a set was made for."""
        return f"any {self.initialiser} initial weights"

    @property
    def measured(self) -> str:
        """The weights that its score was measured with."""
        return "fresh initial weights, unseen in distillation"

    @property
    def advice(self) -> str:
        """A sentence about other weights."""
        return "Expect a lower accuracy from other initialisers."

    def in_full(self, network: str) -> str:
        """Say which function of PyTorch fills which parameters."""
        return "Drawn at random" + _rule(self.initialiser)

    @property
    def code(self) -> str:
        """Python code that draws weights and loads them."""
        drawn = f"theta = network.init({self.initialiser!r}, [torch.Generator().manual_seed(0)])[0]"
        return f"{drawn}\nmodel = network.factory()\nmodel.load_state_dict(network.named(theta), strict=False)"


@dataclass(frozen=True)
class Fixed(Start):
    """One draw of an initialiser for all networks, which belongs to the set."""

    spelling: ClassVar[str] = "fixed(xavier)"

    kind: Literal["fixed"] = field(default="fixed", init=False, repr=False)
    initialiser: Annotated[str, NAME] = "xavier"
    """The initialiser, by its name in `INITIALISERS`."""
    sha256: Annotated[str, text(64)] = ""
    """SHA-256 of the weights by parameter name (`weights_sha256`), in float32; empty until they are drawn."""
    seed: Annotated[int | None, optional(whole(-(2**62), 2**62))] = None
    """The seed that draws them again in float32 (`again`); None if it is not known that one does."""
    norms: Annotated[tuple[float, ...], list_of(number(0, 1e18), 0, PIECES)] = ()
    """Norms of `PIECES` pieces of the weights; they tell other weights from the rounding of another processor."""

    def __str__(self) -> str:
        return f"fixed({self.initialiser})"

    @classmethod
    def spelled(cls, text: str) -> "Fixed | None":
        """Read ``fixed(NAME)``, or ``fixed`` for the usual initialiser."""
        return _with_initialiser(cls, text, "fixed")

    def check(self, network: str) -> None:
        """Raise a `UserError` if no initialiser has the name, or it would replace weights loaded from a file."""
        self.fresh().check(network)

    @property
    def drawn_by(self) -> str:
        """The initialiser."""
        return self.initialiser

    @property
    def is_one(self) -> bool:
        """Every network starts from equal weights."""
        return True

    @property
    def is_stored(self) -> bool:
        """The set holds the weights."""
        return True

    @property
    def continues(self) -> bool:
        """The weights of an earlier set are kept, as its examples were learned for them."""
        return True

    @property
    def is_drawn_again(self) -> bool:
        """Whether a seed is known, and the SHA-256 of what it draws."""
        return self.seed is not None and bool(self.sha256)

    def drawn(self, network: Network, seed: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, " size"]:
        """Draw the weights; each seed gives one draw."""
        return network.init(self.initialiser, [generator(seed, "fixed initial weights")], dtype)[0]

    def again(self, network: Network) -> Float[Tensor, " size"] | None:
        """Draw the weights of a set that does not store them; None if no seed is known.

        Processors with other vector units draw weights that differ in their last digits. They have another SHA-256, but
        their norms agree, and networks trained from them have scores that agree.

        Raises:
            UserError: the seed gives other weights with this version of PyTorch, or for this network.
        """
        if self.seed is None or not self.sha256:
            return None  # see `is_drawn_again`
        theta = self.drawn(network, self.seed)
        found = weights_sha256(network.named(theta))
        if found != self.sha256 and not _agree(self.norms, norms(theta)):
            raise UserError(
                f"the initial weights of the set cannot be drawn again for network {network.name!r}: their SHA-256 is "
                f"{found[:12]} here, but the set says {self.sha256[:12]}; this version of PyTorch draws other numbers, "
                "so take a copy of the set that stores its weights: DistilledSet.with_weights(), where it was made"
            )
        return theta

    def bound(
        self,
        network: Network,
        *,
        seed: int,
        networks: int = 1,
        dtype: torch.dtype = torch.float32,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Draws:
        """Draw the weights, or take the stored ones of an earlier set."""
        theta = stored_weights(stored, network) if stored else self.drawn(network, seed, dtype)
        known = self.seed if stored else seed if dtype == torch.float32 else None
        sha256 = weights_sha256(network.named(theta.float()))
        return one_draw(replace(self, sha256=sha256, seed=known, norms=norms(theta)), theta)

    def unseen(
        self,
        network: Network,
        *,
        seed: int,
        purpose: str,
        networks: int,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "networks size"]:
        """Return the only weights: stored in the set, or drawn again; without a set, one draw of this seed."""
        if stored:
            return stored_weights(stored, network)[None]
        if not self.sha256:
            return self.drawn(network, seed)[None]
        if (theta := self.again(network)) is None:
            raise UserError(f"the start is {self}, but the set stores no initial weights and knows no seed for them")
        return theta[None]

    def fresh(self) -> Random:
        """Return other draws of the initialiser."""
        return Random(self.initialiser)

    def must_agree(self, stored: Mapping[str, Tensor] | None) -> None:
        """Raise a `UserError` unless the set holds these weights, or a seed and a SHA-256 to draw them again."""
        if stored and self.sha256 not in ("", weights_sha256(stored)):
            raise UserError(f"theta_0 holds other weights than the start says, whose SHA-256 is {self.sha256[:12]}")
        if not stored and not self.is_drawn_again:
            raise UserError(f"the start is {self}, but the set holds no initial weights; give them as theta_0")

    @property
    def made_for(self) -> str:
        """The weights that a set was made for."""
        return "the initial weights stored with it"

    @property
    def measured(self) -> str:
        """The weights that its score was measured with."""
        return "the initial weights stored in the set"

    @property
    def advice(self) -> str:
        """A sentence about other weights."""
        return LOWER

    def in_full(self, network: str) -> str:
        """Say that they are stored."""
        return f"The stored initial weights, by parameter name. {LOWER}"

    @property
    def code(self) -> str:
        """Python code that makes a model; `DistilledSet.fit` loads the weights."""
        return "model = network.factory()  # fit() loads the stored initial weights"


def norms(theta: Float[Tensor, " size"]) -> tuple[float, ...]:
    """Return the norms of `PIECES` pieces of weights, or of fewer if there are fewer weights."""
    return tuple(float(piece.double().norm()) for piece in theta.tensor_split(min(PIECES, len(theta))))


def _agree(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether norms agree up to rounding; draws of two seeds differ by a thousandth at the least."""
    return len(one) == len(other) and all(abs(a - b) <= ROUNDING * max(a, b) for a, b in zip(one, other, strict=True))


def _with_initialiser(kind: type[Kind], text: str, word: str) -> Kind | None:
    name = argument(text, word)
    if name is None:
        return None
    if name:
        check_initialiser(name)
    return kind(name) if name else kind()


def _rule(initialiser: str) -> str:
    fill = INITIALISERS.get(initialiser)
    if fill is None:
        return " by the initialisation of each layer itself (PyTorch's default)."
    return (
        f": every parameter of two or more dimensions by torch.nn.init.{fill.__name__}, every parameter "
        "named bias is zero, and all other parameters, such as scales of normalisation layers, stay as PyTorch makes "
        "them."
    )
