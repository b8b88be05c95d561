"""Sentences as words, words as fixed vectors, and vectors as their nearest words. It needs numpy alone.

The vector of a word follows from its letters and from a seed, by SHAKE-256 and one multiplication. It is equal, to the
last bit, on every processor and in every version of every library, and no table of vectors has to be stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np

WORD = re.compile(r"\w+|[^\w\s]")
"""A word, or one sign of punctuation."""
PADDING, UNKNOWN = 0, 1
"""The numbers of two tokens before the words of a vocabulary: an empty place behind a sentence, and any other word."""
SHOWN = {PADDING: "·", UNKNOWN: "[unknown]"}
"""How these two tokens are written."""


def words_of(sentence: str) -> list[str]:
    """Return the words and signs of punctuation of a sentence, in small letters."""
    return WORD.findall(sentence.lower())


def vector(word: str, dim: int, seed: int) -> np.ndarray:
    """Return the vector of a word: `dim` numbers in float32, uniform with mean 0 and variance 1 over all words."""
    drawn = hashlib.shake_256(f"{seed}:{word}".encode()).digest(2 * dim)
    levels = np.frombuffer(drawn, dtype="<u2").astype(np.float32)  # 0..65535
    return (levels - np.float32(32767.5)) * np.float32(3**0.5 / 32768)


def table(vocabulary: Sequence[str], dim: int, seed: int) -> np.ndarray:
    """Return the vectors of all tokens, (2 + words, dim): 0 for padding, then the unknown word, then the words."""
    return np.stack([np.zeros(dim, dtype=np.float32), *(vector(word, dim, seed) for word in ("", *vocabulary))])


def numbers(sentences: Iterable[Sequence[str]], vocabulary: Sequence[str], length: int) -> np.ndarray:
    """Return the tokens of sentences, given as words: (n, length) numbers; longer ones are cut, shorter ones padded."""
    places = {word: i for i, word in enumerate(vocabulary, start=2)}
    rows = [[places.get(word, UNKNOWN) for word in words[:length]] for words in sentences]
    return np.array([row + [PADDING] * (length - len(row)) for row in rows], dtype=np.int64).reshape(-1, length)


def nearest(inputs: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the numbers of the tokens with the nearest vectors (Euclidean), (n, length), for (n, length, dim)."""
    squares = (vectors * vectors).sum(1)
    return np.stack([(squares - 2 * (sentence @ vectors.T)).argmin(1) for sentence in inputs])


def sentence(tokens: Iterable[int], vocabulary: Sequence[str]) -> str:
    """Return tokens as a text, without the padding behind it."""
    words = [SHOWN[i] if i in SHOWN else vocabulary[i - 2] for i in tokens]
    while words and words[-1] == SHOWN[PADDING]:
        words.pop()
    return " ".join(words)


def normalise(sentences: Sequence[str], *, vocabulary: Sequence[str], length: int, dim: int, seed: int) -> np.ndarray:
    """Return sentences as networks take them, (n, length, dim)."""
    return table(vocabulary, dim, seed)[numbers(map(words_of, sentences), vocabulary, length)]
