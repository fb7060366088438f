"""A list of words and phrases as the scan looks for them: C4's "naughty words", or a list of one's own.

A word is found as a whole word (a run without white space), a phrase (with a space inside) anywhere, both in any case:
what Dolma's `c4_v1` and `c4_v2` taggers do. Deviation: the Greek final sigma counts as a sigma.
"""

from __future__ import annotations

import functools
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BUCKETS = 1024
"""Chains of entries with the same key."""

FOLDS = 64
"""Class bit of a character outside ASCII whose lower case has a character of the list in it."""


class WordListError(ValueError):
    """A list of words that cannot be used."""


class Entries(NamedTuple):
    """Words or phrases for the kernel: UTF-8 bytes `text[bounds[i]:bounds[i + 1]]` of entry `i`; `bits` a bitmap of
    65,536 key hashes; `heads` and `following` the chain of entries of each bucket (-1 ends it).
    """

    text: npt.NDArray[np.uint8]
    bounds: npt.NDArray[np.int64]
    bits: npt.NDArray[np.uint8]
    heads: npt.NDArray[np.int64]
    following: npt.NDArray[np.int64]
    space: npt.NDArray[np.int64]


class WordTables(NamedTuple):
    """A compiled list; `classes` are `character_classes` with `FOLDS`; `fold_*` the lower case of those characters."""

    words: Entries
    phrases: Entries
    classes: npt.NDArray[np.uint8]
    fold_codes: npt.NDArray[np.int64]
    fold_bounds: npt.NDArray[np.int64]
    fold_text: npt.NDArray[np.uint8]


@functools.cache
def naughty_words() -> tuple[str, ...]:
    """The English list that C4 and Dolma use: 279 words and 124 phrases (CC BY 4.0; the file names its source)."""
    return _entries_of(files("glasshouse.data.signals").joinpath("naughty_words_en.txt").read_text(encoding="utf-8"))


def read_word_list(path: str | Path) -> tuple[str, ...]:
    """A list of one's own: an entry a line, `#` begins a comment line.

    Raises:
        WordListError: the file is not UTF-8 or holds no entry.
    """
    try:
        found = _entries_of(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise WordListError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): convert it") from None
    if not found:
        raise WordListError(f"{path} holds no words: write one word or phrase a line")
    return found


def _entries_of(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


@functools.lru_cache(maxsize=8)
def word_tables(entries: tuple[str, ...]) -> WordTables:
    """The tables for a list; an empty list finds nothing."""
    from glasshouse.data.signals.kernels import character_classes

    lowered = sorted({_lower(" ".join(entry.split())) for entry in entries} - {""})
    alphabet = {character for entry in lowered for character in entry}
    folds = {
        code: low
        for code in range(0x80, 0x1F000)
        if not 0xD800 <= code < 0xE000
        and (low := _lower(chr(code))) != chr(code)
        and alphabet.intersection(low)
    }  # fmt: skip
    classes = character_classes().copy()
    classes[list(folds)] |= FOLDS
    text, bounds = _flat(list(folds.values()))
    return WordTables(
        _words([entry.encode() for entry in lowered if " " not in entry]),
        _phrases([entry.encode() for entry in lowered if " " in entry]),
        classes, np.array(list(folds), np.int64), bounds, text,
    )  # fmt: skip


def _lower(text: str) -> str:
    return text.lower().replace("ς", "σ")


def _flat(texts: list[Any]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    encoded = [text.encode() if isinstance(text, str) else text for text in texts]
    bounds = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return np.frombuffer(b"".join(encoded) + b"\0", np.uint8), bounds


def word_key(packed: int, size: int) -> int:
    """Key of a word from its last four bytes (each with bit 5 set, as lower case has it) and its size in bytes."""
    return ((((packed | 0x20202020) * 0x9E3779B1) ^ (size * 0x85EBCA6B)) >> 8) & 0xFFFF


def _words(words: list[bytes]) -> Entries:
    keys = [word_key(int.from_bytes(word[-4:], "big"), len(word)) for word in words]
    return _chained(words, keys, [0] * len(words))


def _phrases(phrases: list[bytes]) -> Entries:
    spaces = [phrase.index(b" ") for phrase in phrases]
    keys = [phrase[at - 1] << 8 | phrase[at + 1] for phrase, at in zip(phrases, spaces, strict=True)]
    return _chained(phrases, keys, spaces)


def _chained(entries: list[bytes], keys: list[int], spaces: list[int]) -> Entries:
    bits = np.zeros(1 << 13, np.uint8)
    heads = np.full(BUCKETS, -1, np.int64)
    following = np.full(len(entries) + 1, -1, np.int64)
    for number, key in enumerate(keys):
        bits[key >> 3] |= 1 << (key & 7)
        following[number], heads[key % BUCKETS] = heads[key % BUCKETS], number
    text, bounds = _flat(entries)
    return Entries(text, bounds, bits, heads, following, np.array([*spaces, 0], np.int64))
