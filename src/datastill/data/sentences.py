"""Real data of sentences: texts become numbers of tokens of a vocabulary, which comes from the train split alone."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from ..errors import UserError
from ..space import Space, Tokens
from ..space.sentences import UNKNOWN, numbers, words_of
from .kinds import Finish, Kind, Splits
from .real import Split
from .settings import DataSettings, TextSettings

LEAST_OFTEN = 2
"""How often a word must occur in train to have a vector of its own. Others share the vector of the unknown word, so
that networks meet it while they are trained."""


@dataclass(frozen=True, kw_only=True)
class Sentences(Kind):
    """Sentences, as lists of texts."""

    noun = "sentence"
    settings = ("text",)

    def read(self, parts: dict[str, list[Any]], settings: DataSettings) -> tuple[Sequence[Tensor], Finish]:
        """Return the tokens of each sentence, as numbers of all words of all splits."""
        length = settings.text.length
        splits = [[_words(each, i, role)[:length] for i, each in enumerate(some)] for role, some in parts.items()]
        known = sorted({word for some in splits for sentence in some for word in sentence})
        tensors = [torch.from_numpy(numbers(some, known, length)) for some in splits]
        return tensors, functools.partial(_with_vocabulary, known, settings.text)


SENTENCES = Sentences()


def _words(text: Any, i: int, role: str) -> list[str]:
    if not isinstance(text, str):
        raise UserError(f"sentence {i} of {role} is missing; leave it out")
    found = words_of(text)
    if not found:
        raise UserError(f"sentence {i} of {role} is {text[:40]!r}, which has no words; leave it out")
    return found


def _with_vocabulary(known: list[str], text: TextSettings, splits: Splits) -> tuple[Splits, Space]:
    """Return the splits with numbers of the vocabulary: the most frequent words of train."""
    kept = _frequent(splits["train"].tensor, len(known), text.words)
    if not kept:
        raise UserError("no word occurs twice in the sentences of train; give more sentences")
    new = torch.full((len(known) + 2,), UNKNOWN)
    new[0] = 0
    new[torch.tensor(kept)] = torch.arange(2, len(kept) + 2)
    space = Tokens.of([known[i - 2] for i in kept], length=text.length, dim=text.dim, seed=text.seed)
    return {role: Split(images=new[split.tensor], labels=split.labels) for role, split in splits.items()}, space


def _frequent(tokens: Int64[Tensor, "n length"], words: int, most: int) -> list[int]:
    """Return the numbers of the most frequent words, the most frequent first, then in the order of the alphabet."""
    counts = tokens.flatten().bincount(minlength=words + 2).tolist()
    often = [i for i in range(2, words + 2) if counts[i] >= LEAST_OFTEN]
    return sorted(often, key=lambda i: (-counts[i], i))[:most]
