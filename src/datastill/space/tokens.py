"""The space of sentences: sequences of vectors, each near to the vector of a word."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import embedding

from ..errors import UserError
from ..storage.records import list_of, must_have_types, text, whole
from . import sentences
from .base import Space

MOST_WORDS = 50_000
"""The largest number of words of a vocabulary."""
MOST_TOKENS = 10_000
"""The largest length of a sentence."""
MOST_DIMENSIONS = 4096
"""The largest length of the vector of a word."""
MOST_NUMBERS = 2**24
"""The largest number of numbers in the vectors of all words, which take 64 MiB."""


def must_be_bounded(words: int, dim: int) -> None:
    """Raise a `UserError` if the vectors of this number of words take too much memory."""
    if words * dim > MOST_NUMBERS:
        raise UserError(
            f"{words} words with vectors of {dim} numbers take {words * dim} numbers, but at most {MOST_NUMBERS} are "
            "allowed; take fewer words or shorter vectors"
        )


@dataclass(frozen=True, kw_only=True)
class Tokens(Space):
    """Sentences: each place holds the vector of a word. The vectors follow from words and seed; none are stored.

    Real sentences are split into words, cut or padded to one length, and looked up. Synthetic examples have any
    vectors, and are shown as their nearest words.
    """

    noun = "sentence"
    exports = ("csv", "npz")
    parts = "words"
    compared = "words and their vectors"
    kind: Literal["tokens"] = field(default="tokens", init=False)
    vocabulary: Annotated[tuple[str, ...], list_of(text(200, 1), 1, MOST_WORDS)]
    """The words that have a vector of their own; all others share one."""
    length: Annotated[int, whole(1, MOST_TOKENS)]
    """Words in a sentence: longer sentences are cut, shorter ones padded with vectors of zeros."""
    dim: Annotated[int, whole(1, MOST_DIMENSIONS)]
    """Numbers in the vector of a word."""
    seed: Annotated[int, whole(0, 2**62)]
    """Seed of the vectors."""
    sha256: Annotated[str, text(64)]
    """SHA-256 of the vectors of all tokens: this version must draw them as they were."""

    def __post_init__(self) -> None:
        must_have_types(self)
        must_be_bounded(len(self.vocabulary), self.dim)
        if len(set(self.vocabulary)) < len(self.vocabulary):
            raise UserError("a word occurs twice in the vocabulary; give every word once")

    @classmethod
    def of(cls, vocabulary: Sequence[str], *, length: int, dim: int, seed: int) -> "Tokens":
        """Return the space of a vocabulary."""
        return cls(
            vocabulary=tuple(vocabulary),
            length=length,
            dim=dim,
            seed=seed,
            sha256=_sha256(sentences.table(vocabulary, dim, seed)),
        )

    @cached_property
    def vectors(self) -> Float[Tensor, "tokens dim"]:
        """The vector of each token: padding, the unknown word, and the words of the vocabulary.

        Raises:
            UserError: they are not those of the set.
        """
        drawn = sentences.table(self.vocabulary, self.dim, self.seed)
        if _sha256(drawn) != self.sha256:
            raise UserError(
                f"the vectors of the words have SHA-256 {_sha256(drawn)[:12]}, but the set was made with "
                f"{self.sha256[:12]}; use the version of datastill that made the set"
            )
        return torch.from_numpy(drawn)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """(length, dim)."""
        return (self.length, self.dim)

    @property
    def words(self) -> str:
        """The shape of a sentence in words."""
        return f"sentences of {self.length} vectors of {self.dim} numbers"

    @property
    def layout(self) -> str:
        """The names of the dimensions of a sentence."""
        return "(length, dim)"

    @property
    def normalisation(self) -> str:
        """How real sentences become inputs."""
        return (
            f"the fixed vectors of their words (seed {self.seed}, {len(self.vocabulary)} words), cut or padded with "
            f"zeros to {self.length} words"
        )

    @property
    def sample(self) -> str:
        """A line of Python that stands for a user's sentences."""
        return f'real = ["{" ".join(self.vocabulary[:4])}"]  # your sentences'

    def normalise(self, values: Any) -> Float[Tensor, "... length dim"]:
        """Return sentences as float32, from a text, a list of texts, or the numbers of tokens (..., length)."""
        if isinstance(values, str):
            return self.normalise([values])[0]
        if isinstance(values, Tensor) or (isinstance(values, np.ndarray) and values.dtype.kind in "iu"):
            return self._looked_up(torch.as_tensor(values))
        texts = list(values)
        if wrong := [each for each in texts if not isinstance(each, str)]:
            raise UserError(f"sentences must be texts, but one is a {type(wrong[0]).__name__}")
        found = sentences.numbers(map(sentences.words_of, texts), self.vocabulary, self.length)
        return self.scaled(torch.from_numpy(found), torch.float32)

    def _looked_up(self, tokens: Tensor) -> Float[Tensor, "... length dim"]:
        if tokens.is_floating_point() or not tokens.dim() or tokens.shape[-1] != self.length:
            found = f"{str(tokens.dtype).removeprefix('torch.')} numbers of shape {tuple(tokens.shape)}"
            wanted = f"texts, or {self.length} whole numbers, one for each token"
            raise UserError(f"sentences are {found}; give {wanted}")
        try:
            return self.scaled(tokens.long(), torch.float32)
        except IndexError as error:
            most = len(self.vocabulary) + 1
            raise UserError(f"sentences hold numbers that stand for no token; they must be from 0 to {most}") from error

    def scaled(self, stored: Int64[Tensor, "... length"], dtype: torch.dtype) -> Float[Tensor, "... length dim"]:
        """Return the vectors of tokens."""
        return embedding(stored, self.vectors.to(stored.device, dtype))

    def original(self, inputs: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return the vectors as they are: vectors of words need no scale."""
        return inputs

    def renormalised(self, original: Float[Tensor, "*some"]) -> Float[Tensor, "*some"]:
        """Return the vectors as they are."""
        return original

    def reads(self, other: Space) -> bool:
        """Return whether another space has these words in this order, and this length."""
        return isinstance(other, Tokens) and (other.vocabulary, other.length) == (self.vocabulary, self.length)

    @property
    def stored_bytes(self) -> int:
        """Two bytes for each token."""
        return 2 * self.length

    @property
    def code(self) -> Path:
        """The file of this package with all of it, which needs numpy alone."""
        return Path(sentences.__file__)

    def difference(self, other: Space) -> float:
        """Return 0 if two spaces have equal words and vectors; otherwise they are not comparable."""
        return 0.0 if self == other else float("inf")

    def lines(self, inputs: Float[Tensor, "n length dim"]) -> list[str]:
        """Return the nearest words of each example."""
        found = sentences.nearest(inputs.detach().cpu().float().numpy(), self.vectors.numpy())
        return [sentences.sentence(tokens, self.vocabulary) for tokens in found.tolist()]

    def columns_of(self, inputs: Float[Tensor, "n length dim"]) -> dict[str, list[Any]]:
        """Return the nearest words."""
        return {"words": self.lines(inputs)}

    def table(self, inputs: Float[Tensor, "n length dim"]) -> tuple[list[str], list[list[Any]]]:
        """Return the nearest words of each example, and its numbers by place and dimension."""
        places = [f"{place}.{i}" for place in range(self.length) for i in range(self.dim)]
        numbers = inputs.detach().cpu().double().flatten(1).tolist()
        return ["words", *places], [[line, *row] for line, row in zip(self.lines(inputs), numbers, strict=True)]


def _sha256(vectors: np.ndarray) -> str:
    return hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()
