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
from ...space import Space
from ...storage.records import optional, text, whole
from ..functional import Network
from ..pool import TEST_NETWORKS, Networks, Pool, load_pool, named_in
from ..pool_header import MOST_NETWORKS
from ..snapshots import stack_name
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
    """A pool of networks (datastill pretrain): any of them, or #3 alone; trained, at @5, a snapshot, or at @5+."""

    spelling: ClassVar[str] = "pool:FILE, pool:FILE#3@5, pool:FILE@5+"

    kind: Literal["pool"] = field(default="pool", init=False, repr=False)
    file: Annotated[str, text(4096, 1)]
    """The file of the pool."""
    which: Annotated[int | None, optional(whole(0, MOST_NETWORKS))] = None
    """Number of the one network to start from; None: any."""
    sha256: Annotated[str, text(64)] = ""
    """SHA-256 of the pool (`Pool.sha256`); empty: not known."""

    snapshot: Annotated[int | None, optional(whole(0, MOST_NETWORKS))] = None
    """Number of the snapshot to start from; None: trained networks."""
    onward: bool = False
    """Whether every later snapshot counts as a further network to distil with. Sets are then measured with trained
    networks. A few long trainings so stand for many networks, which are more alike than separately trained ones."""

    def __post_init__(self) -> None:
        if self.onward and (self.snapshot is None or self.which is not None):
            raise UserError(
                f"the start {self} has a + without a snapshot, or for one network; write {PREFIX}FILE@5+ for any "
                "network at snapshot 5 or later"
            )

    def __str__(self) -> str:
        which = "" if self.which is None else f"#{self.which}"
        at = "" if self.snapshot is None else f"@{self.snapshot}"
        return f"{PREFIX}{self.file}{which}{at}" + ("+" if self.onward else "")

    @classmethod
    def spelled(cls, text: str) -> "FromPool | None":
        """Read ``pool:FILE``, with ``#3`` for the network with number 3, ``@5`` for snapshot 5, ``@5+`` from it on."""
        if not text.startswith(PREFIX):
            return None
        named = text.removeprefix(PREFIX)
        file, which, snapshot = named_in(named.removesuffix("+"))
        if snapshot is None:  # a + at the end of the name of a file
            file, which, snapshot = named_in(named)
        if not file:
            raise UserError(f"{text!r} names no file; write {PREFIX}FILE, made by: datastill pretrain")
        return cls(file, which, snapshot=snapshot, onward=snapshot is not None and named.endswith("+"))

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

    def must_take(self, space: Space) -> None:
        """Ask the pool."""
        load_pool(self.file).must_take(space)

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
        drawn = pool.onward(self.snapshot or 0) if self.onward else self._all(pool).drawn
        if networks > (count := len(drawn)):
            raise UserError(f"networks is {networks}, but the pool has {count} to draw from; take {count} or fewer")
        return Draws(start=start, draw=from_parts(drawn, networks))

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
            return self._all(pool).validating[:networks]
        if not len(pool.held_out):
            raise UserError(
                f"the pool {self.file} has no held-out networks to evaluate with; pretrain one with --held-out 20"
            )
        return self._all(pool).held_out[:networks]

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
        if self.which is not None or self.onward:
            raise UserError(
                f"the start is {self}, but network i starts from network i of the pool, so a number after # or a + "
                "has no effect; leave it out"
            )
        pool = self._fitting(network)
        found = {"training": pool.training, "held_out": pool.held_out}
        for name, asked in counts.items():
            if asked > len(found[name]):
                kind, most = name.replace("_", "-"), len(found[name])
                raise UserError(f"{name} is {asked}, but the pool has {most} {kind} networks; use {most} or fewer")
        split, chosen = counts["training"], self._all(pool)
        return torch.stack([chosen.training[i] if i < split else chosen.held_out[i - split] for i in which])

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

    def _all(self, pool: Pool) -> Networks:
        """Return all networks of the pool: at the snapshot, or trained, as those that measure a set are from it on."""
        return pool.at(None if self.onward else self.snapshot)

    def _named(self, pool: Pool) -> Float[Tensor, " size"]:
        """Return the named network of the pool, trained or at the snapshot."""
        return pool.weights(self.which or 0, self.snapshot)

    @property
    def _words(self) -> str:
        """The networks in words."""
        which = "any network" if self.which is None else f"network {self.which}"
        later = " or a later one" if self.onward else ""
        at = "" if self.snapshot is None else f", at snapshot {self.snapshot}{later} of its training"
        return f"{which} of the pool {self.file}{at}"

    @property
    def made_for(self) -> str:
        """The weights that a set was made for."""
        return self._words + (", which is stored with it" if self.is_one else "")

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
            return f"The stored initial weights, by parameter name: {self._words}{sha256}. {self.advice}"
        rows = "tensor 'held_out' has one network in each row"
        if self.snapshot is not None and not self.onward:
            rows = f"tensor {stack_name('held_out')!r} has all snapshots of each network; the last one is in 'held_out'"
        return (
            f"A{self._words[1:]}{sha256}, which the export does not hold: a safetensors file whose {rows}, all "
            f"parameters one after the other in the order of model.named_parameters(). {self.advice}"
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
        at = "" if self.snapshot is None or self.onward else f".at({self.snapshot})"
        return (
            f"theta = Pool.load({self.file!r}){at}.held_out[0]\n"
            "model = network.factory()\nmodel.load_state_dict(network.named(theta), strict=False)"
        )
