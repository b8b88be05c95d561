"""The start from a pool of trained networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ... import distributed
from ...errors import UserError
from ...rng import generator
from ...storage.records import optional, text, whole
from ..functional import Network
from ..pool import MOST_NETWORKS, TEST_NETWORKS, Pool, load_pool
from .base import LOWER, Draws, Start, one_draw, stored_weights

PREFIX = "pool:"


def from_parts(
    thetas: Float[Tensor, "pool size"], networks: int
) -> Callable[[int, int, Sequence[int]], Float[Tensor, "networks size"]]:
    """Return a function that draws networks of a pool.

    The pool is cut into as many parts as there are networks in an iteration, and network i is drawn from part i, so no
    network comes twice in an iteration.

    Args:
        thetas: weights of the networks of the pool.
        networks: how many networks an iteration has. A process keeps only the parts for the networks it computes.
    """
    bounds = [len(thetas) * i // networks for i in range(networks + 1)]
    parts = {i: thetas[bounds[i] : bounds[i + 1]].clone() for i in distributed.rank_slice(networks)}

    def one(i: int, stream: torch.Generator) -> Float[Tensor, " size"]:
        return parts[i][int(torch.randint(len(parts[i]), (), generator=stream))]

    return lambda seed, iteration, which: torch.stack(
        [one(i, generator(seed, "networks of the pool", iteration, i)) for i in which]
    )


@dataclass(frozen=True)
class FromPool(Start):
    """A pool of trained networks (datastill pretrain): any of them, or only one, by its number."""

    spelling: ClassVar[str] = "pool:FILE or pool:FILE#3"

    kind: Literal["pool"] = field(default="pool", init=False, repr=False)
    file: Annotated[str, text(4096, 1)]
    """The file of the pool."""
    which: Annotated[int | None, optional(whole(0, MOST_NETWORKS))] = None
    """Number of the one network to start from; None: any."""
    sha256: Annotated[str, text(64)] = ""
    """SHA-256 of the pool (`Pool.sha256`); empty: not known."""

    def __str__(self) -> str:
        return f"{PREFIX}{self.file}" + ("" if self.which is None else f"#{self.which}")

    @classmethod
    def spelled(cls, text: str) -> "FromPool | None":
        """Read ``pool:FILE``, or ``pool:FILE#3`` for the network with number 3."""
        if not text.startswith(PREFIX):
            return None
        file, mark, number = text.removeprefix(PREFIX).partition("#")
        if not file:
            raise UserError(f"{text!r} names no file; write {PREFIX}FILE, made by: datastill pretrain")
        if mark and not (number.isdecimal() and len(number) < 10):
            raise UserError(f"{text!r} names no network; write {PREFIX}FILE#3 for the one with number 3")
        return cls(file, int(number) if mark else None)

    @property
    def opens(self) -> str:
        """The file of the pool."""
        return self.file

    def files(self) -> dict[str, str]:
        """Return the SHA-256 of the pool."""
        return {str(self): load_pool(self.file).sha256}

    def about(self) -> dict[str, Any]:
        """Return the SHA-256 of the pool and how it was trained."""
        pool = load_pool(self.file)
        return {"pool": {"sha256": pool.sha256, "settings": pool.header["settings"]}}

    def class_names(self) -> tuple[str, ...]:
        """Return the class names of the data that the pool was trained on."""
        return tuple(load_pool(self.file).header["class_names"])

    @property
    def is_one(self) -> bool:
        """Whether one network is named."""
        return self.which is not None

    @property
    def is_stored(self) -> bool:
        """The set holds the one network."""
        return self.is_one

    def must_agree(self, stored: Mapping[str, Tensor] | None) -> None:
        """Raise a `UserError` if a set holds weights, but was made for any network of the pool."""
        if not self.is_one:
            super().must_agree(stored)

    def bound(
        self,
        network: Network,
        *,
        seed: int,
        networks: int = 1,
        dtype: torch.dtype = torch.float32,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Draws:
        """Return the networks to distil with: the named one, or all that no validation uses (`Pool.drawn`).

        The named one may be stored; then the file of the pool is not needed.

        Raises:
            UserError: there is no such pool, its weights do not fit the network, or it has too few.
        """
        if stored and self.is_one:
            return one_draw(self, stored_weights(stored, network))
        pool = self._fitting(network)
        start = replace(self, sha256=pool.sha256)
        if self.which is not None:
            return one_draw(start, self._named(pool))
        if networks > len(pool.drawn):
            count = len(pool.drawn)
            raise UserError(f"networks is {networks}, but the pool has {count} to draw from; take {count} or fewer")
        return Draws(start=start, draw=from_parts(pool.drawn, networks))

    def unseen(
        self,
        network: Network,
        *,
        seed: int,
        purpose: str,
        networks: int,
        stored: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "networks size"]:
        """Return the named network, `Pool.held_out` if for `TEST_NETWORKS`, or else `Pool.validating`.

        Raises:
            UserError: there is no such pool, it is another one than the recorded one, its weights do not fit
                `network`, or it has no held-out networks.
        """
        if stored:
            return stored_weights(stored, network)[None]
        pool = self._fitting(network)
        if self.which is not None:
            return self._named(pool)[None]
        if purpose != TEST_NETWORKS:
            return pool.validating[:networks]
        if not len(pool.held_out):
            raise UserError(
                f"the pool {self.file} has no held-out networks to evaluate with; pretrain one with --held-out 20"
            )
        return pool.held_out[:networks]

    def first(
        self,
        network: Network,
        *,
        seed: int,
        which: Sequence[int],
        counts: Mapping[str, int],
    ) -> Float[Tensor, "networks size"]:
        """Return network i of this pool for network i of the new one; held-out networks stay held out.

        Raises:
            UserError: one network is named, or the pool has fewer networks than the new one.
        """
        if self.which is not None:
            raise UserError(
                f"the start is {self}, but network i starts from network i of the pool, so the number after # has no "
                "effect; leave it out"
            )
        pool = self._fitting(network)
        found = {"training": pool.training, "held_out": pool.held_out}
        for name, asked in counts.items():
            if asked > len(found[name]):
                kind, most = name.replace("_", "-"), len(found[name])
                raise UserError(f"{name} is {asked}, but the pool has {most} {kind} networks; use {most} or fewer")
        split = counts["training"]
        return torch.stack([pool.training[i] if i < split else pool.held_out[i - split] for i in which])

    def _fitting(self, network: Network) -> Pool:
        """Return the pool if it fits the network and is the recorded one."""
        pool = load_pool(self.file)
        if self.sha256 not in ("", pool.sha256):
            raise UserError(
                f"{self.file} is not the pool that the set was made for: its SHA-256 is {pool.sha256[:12]}, but the "
                f"set says {self.sha256[:12]}; put the right pool there, or name another one with --start pool:FILE"
            )
        pool.check(network)
        return pool

    def _named(self, pool: Pool) -> Float[Tensor, " size"]:
        if self.which is not None and self.which < len(pool.training):
            return pool.training[self.which]
        held = f"; the {len(pool.held_out)} held out are for evaluation only" if len(pool.held_out) else ""
        raise UserError(
            f"the pool {self.file} has {len(pool.training)} networks to distil with, so 0 to "
            f"{len(pool.training) - 1} can be named, not {self.which}{held}"
        )

    @property
    def made_for(self) -> str:
        """The weights that a set was made for."""
        if self.which is None:
            return f"any network of the pool {self.file}"
        return f"network {self.which} of the pool {self.file}, which is stored with it"

    @property
    def measured(self) -> str:
        """The weights that its score was measured with."""
        return (
            "the initial weights stored in the set"
            if self.is_one
            else "networks that the pool holds out, unseen in distillation"
        )

    @property
    def advice(self) -> str:
        """A sentence about other weights."""
        return LOWER if self.is_one else "Expect a lower accuracy from networks that were trained otherwise."

    def in_full(self, network: str) -> str:
        """Say where the networks are in the file of the pool."""
        sha256 = f" (SHA-256 {self.sha256})" if self.sha256 else ""
        if self.is_one:
            origin = f"network {self.which} of the pool in the file {self.file}{sha256}"
            return f"The stored initial weights, by parameter name: {origin}. {self.advice}"
        return (
            f"Any network of the pool in the file {self.file}{sha256}, which the export does not hold: a safetensors "
            "file whose tensor 'held_out' has one network in each row, all parameters one after the other in the order "
            f"of model.named_parameters(). {self.advice}"
        )

    @property
    def imports(self) -> str:
        """Line of Python that `code` needs first."""
        return "" if self.is_one else "from datastill.networks.pool import Pool"

    @property
    def code(self) -> str:
        """Python code that loads a network of the pool."""
        if self.is_one:
            return "model = network.factory()  # fit() loads the stored initial weights"
        return (
            f"theta = Pool.load({self.file!r}).held_out[0]\n"
            "model = network.factory()\nmodel.load_state_dict(network.named(theta), strict=False)"
        )
