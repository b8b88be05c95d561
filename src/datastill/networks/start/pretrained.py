"""The start from the weights that a network comes with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...storage.records import text
from ..functional import Network
from .base import LOWER, Draws, Start, argument, one_draw


@dataclass(frozen=True)
class Pretrained(Start):
    """The weights that come with the network, such as alexnet(weights=FILE); nothing is drawn."""

    spelling: ClassVar[str] = "pretrained"

    kind: Literal["pretrained"] = field(default="pretrained", init=False, repr=False)
    sha256: Annotated[str, text(64)] = ""
    """SHA-256 of all parameters of the network by name, frozen ones too (`Network.sha256`); empty: not known."""

    def __str__(self) -> str:
        return "pretrained"

    @classmethod
    def spelled(cls, text: str) -> "Pretrained | None":
        """Read ``pretrained``."""
        inside = argument(text, "pretrained")
        if inside:
            raise UserError(f"the start {text!r} has a value in brackets; write pretrained, and name the weights with "
                            "--network NAME(weights=FILE)")  # fmt: skip
        return None if inside is None else cls()

    @property
    def is_one(self) -> bool:
        """Every network starts from equal weights."""
        return True

    @property
    def required_sha256(self) -> str:
        """SHA-256 of all weights that a user's network must already have."""
        return self.sha256

    def fresh(self) -> "Pretrained":
        """Return the weights that another network comes with."""
        return Pretrained()

    def bound(
        self,
        network: Network,
        *,
        seed: int,
        networks: int = 1,
        dtype: torch.dtype = torch.float32,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Draws:
        """Return the weights of the network, as they are.

        Raises:
            UserError: the network draws its weights at random, so it comes with none.
        """
        theta = network.own()
        return one_draw(replace(self, sha256=network.sha256(theta)), theta)

    def unseen(
        self,
        network: Network,
        *,
        seed: int,
        purpose: str,
        networks: int,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "networks size"]:
        """Return the weights of the network: the only ones."""
        return self.bound(network, seed=seed)(seed, 0, [0])

    @property
    def made_for(self) -> str:
        """The weights that a set was made for."""
        return "the weights that the network comes with"

    @property
    def measured(self) -> str:
        """The weights that its score was measured with."""
        return self.made_for

    @property
    def advice(self) -> str:
        """A sentence about other weights."""
        return LOWER

    def in_full(self, network: str) -> str:
        """Say which weights they are."""
        return (
            f"The pretrained weights of the network {network}, which the export does not hold. All its parameters, in "
            f"safetensors format, have SHA-256 {self.sha256}. {LOWER}"
        )
