"""An index of evaluation sets: every n-gram of words of every item, checked against the stored words.

Items of at least one passage of `ngram` words are looked for by n-grams (13, as GPT-3, arXiv 2005.14165, appendix C,
and Dolma). Shorter items are looked for as a whole, and counted on their own; items of fewer than `shortest` words
would be found everywhere and are only counted. An index is never changed by a scan.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field

from glasshouse.data.contamination.evaluation_sets import EvaluationSet, EvaluationSetError
from glasshouse.data.contamination.index_file import has_magic, read_index_file, write_index_file
from glasshouse.store.configuration import Config

Int = npt.NDArray[np.int64]


class Matching(Config):
    """What counts as the same.

    Attributes:
        ngram: words of an n-gram.
        shortest: items of fewer words are not looked for.
        hash_bits: of the hashes; fewer only make scanning slower (for tests), never wrong.
    """

    ngram: int = Field(default=13, ge=2, le=64)
    shortest: int = Field(default=8, ge=1, le=64)
    hash_bits: int = Field(default=64, ge=1, le=64)

    @property
    def mask(self) -> np.uint64:
        """Of the hashes."""
        return np.uint64((1 << self.hash_bits) - 1)


@dataclass(frozen=True)
class EvaluationIndex:
    """The index; make it with `build`, keep it with `save`, open it with `load`.

    Attributes:
        matching: what counts as the same.
        sets: the names of the sets.
        item_ids: the id of every item.
        item_set: the set of every item.
        item_words: words of an item in the passages that are looked for; 0 when it is too short.
        item_grams: different n-grams of an item.
        item_short: whether an item is looked for as a whole.
        gram_items: where the occurrences of each n-gram begin in `occurrence_item` and `occurrence_word` (the item, and
            the n-gram's first word in it).
    """

    matching: Matching
    sets: tuple[str, ...]
    item_ids: tuple[str, ...]
    item_set: npt.NDArray[np.int32]
    item_words: Int
    item_grams: Int
    item_short: npt.NDArray[np.bool_]
    sizes: Int
    keys: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int32]
    filter_bits: npt.NDArray[np.uint8]
    gram_size: npt.NDArray[np.int32]
    gram_letter: Int
    letters: npt.NDArray[np.int32]
    gram_items: Int
    occurrence_item: npt.NDArray[np.int32]
    occurrence_word: npt.NDArray[np.int32]

    ARRAYS: ClassVar[dict[str, str]] = {
        "item_set": "<i4", "item_words": "<i8", "item_grams": "<i8", "item_short": "|b1", "sizes": "<i8",
        "keys": "<u8", "slots": "<i4", "filter_bits": "|u1", "gram_size": "<i4", "gram_letter": "<i8",
        "letters": "<i4", "gram_items": "<i8", "occurrence_item": "<i4", "occurrence_word": "<i4",
    }  # fmt: skip

    @classmethod
    def build(cls, sets: Sequence[EvaluationSet], matching: Matching | None = None) -> EvaluationIndex:
        """Indexes evaluation sets.

        Raises:
            EvaluationSetError: when no item of any set is long enough to look for.
        """
        from glasshouse.data.contamination import words

        matching = matching or Matching()
        items = [(number, item) for number, one in enumerate(sets) for item in one.items]
        passages = _passages([item.passages for _, item in items])
        starts, sizes, owner, word, short, totals = _grams(passages, len(items), matching)
        if not len(starts):
            raise EvaluationSetError(
                f"no item of {', '.join(one.name for one in sets) or 'no sets'} has {matching.shortest} words or more: "
                "lower `ngram` (--ngram), or `shortest`"
            )
        keys = np.empty(len(starts), np.uint64)
        words.gram_keys(passages.hashes, starts, sizes, matching.mask, keys)
        letter = passages.word_letter[starts]
        gram, first = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
        count = words.number_grams(
            np.lexsort((sizes, keys)), keys, sizes, letter, passages.letters, gram, first
        )  # fmt: skip
        first = first[:count]
        table = _table(keys[first])
        by_gram = np.argsort(gram, kind="stable")
        distinct = np.unique(np.stack([owner, gram], axis=1), axis=0)[:, 0]
        arrays: dict[str, Any] = {
            "item_set": np.array([number for number, _ in items]), "item_words": totals, "item_short": short,
            "item_grams": np.bincount(distinct, minlength=len(items)), "sizes": np.unique(sizes), **table,
            "gram_size": sizes[first], "gram_letter": letter[first], "letters": passages.letters,
            "gram_items": np.concatenate([[0], np.cumsum(np.bincount(gram, minlength=count))]),
            "occurrence_item": owner[by_gram], "occurrence_word": word[by_gram],
        }  # fmt: skip
        names, ids = tuple(one.name for one in sets), tuple(item.id for _, item in items)
        return cls._of(matching, names, ids, {name: value.astype(cls.ARRAYS[name]) for name, value in arrays.items()})

    @classmethod
    def _of(
        cls, matching: Matching, sets: tuple[str, ...], ids: tuple[str, ...], arrays: dict[str, Any]
    ) -> EvaluationIndex:
        for array in arrays.values():
            array.flags.writeable = False
        return cls(matching, sets, ids, **arrays)

    @property
    def searched_for(self) -> str:
        """What is looked for, in words."""
        return f"n-grams of {self.matching.ngram} words"

    @functools.cached_property
    def fingerprint(self) -> str:
        """Says what is looked for: equal for equal indexes."""
        digest = hashlib.sha256(orjson.dumps([self.matching.model_dump(), self.sets, self.item_ids]))
        for name in self.ARRAYS:
            digest.update(np.ascontiguousarray(getattr(self, name)).data)
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes the index to one file (`index_file.py`); equal indexes give equal bytes."""
        header = {"matching": self.matching.model_dump(), "sets": list(self.sets), "items": list(self.item_ids)}
        write_index_file(Path(path), header, {name: getattr(self, name) for name in self.ARRAYS})

    @classmethod
    def load(cls, path: str | Path) -> EvaluationIndex:
        """Opens an index, memory-mapped and read-only.

        Raises:
            FileNotFoundError: no such file.
            IndexFileError: not an index, damaged, or its numbers do not fit together.
        """
        header, arrays = read_index_file(Path(path), cls.ARRAYS)
        _check(Path(path), header, arrays)
        matching = Matching(**header["matching"])
        return cls._of(matching, tuple(header["sets"]), tuple(header["items"]), arrays)


def is_index_file(path: str | Path) -> bool:
    """Whether a local file begins as an index does."""
    file = Path(path)
    return file.is_file() and has_magic(file)


@dataclass(frozen=True)
class _Passages:
    hashes: npt.NDArray[np.uint64]
    bounds: Int
    item: Int
    letters: npt.NDArray[np.int32]
    word_letter: Int


def _passages(items: list[tuple[str, ...]]) -> _Passages:
    from glasshouse.data.contamination import words

    encoded = [passage.encode() for passages in items for passage in passages]
    data = np.frombuffer(b"".join(encoded), np.uint8)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
    room = len(data) + len(encoded)
    hashes, word_letter = np.empty(room, np.uint64), np.empty(room, np.int64)
    letters, bounds = np.empty(2 * room, np.int32), np.empty(len(encoded) + 1, np.int64)
    used = words.fold_passages(offsets, data, words.folding(), hashes, bounds, letters, word_letter)
    owner = np.repeat(np.arange(len(items)), [len(passages) for passages in items])
    return _Passages(hashes[: bounds[-1]], bounds, owner, letters[:used].copy(), word_letter[: bounds[-1]])


def _grams(
    passages: _Passages, items: int, matching: Matching
) -> tuple[Int, Int, Int, Int, npt.NDArray[np.bool_], Int]:
    """First word, size, item and place in the item of every n-gram; whether items are short; the words of each."""
    lengths = np.diff(passages.bounds)
    longest = np.zeros(items, np.int64)
    np.maximum.at(longest, passages.item, lengths)
    short = (longest < matching.ngram) & (longest >= matching.shortest)
    size = np.where(short, longest, matching.ngram)[passages.item]
    used = (lengths >= size) & (longest >= min(matching.shortest, matching.ngram))[passages.item]
    totals = np.zeros(items, np.int64)
    np.add.at(totals, passages.item, np.where(used, lengths, 0))
    # Where a passage begins in its item: the words of the item's used passages before it.
    running = np.concatenate([[0], np.cumsum(np.where(used, lengths, 0))])[:-1]
    first_of_item = np.concatenate([[0], np.cumsum(totals)])[:-1]
    base = running - first_of_item[passages.item]
    counts = np.where(used, lengths - size + 1, 0)
    which = np.repeat(np.arange(len(lengths)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return passages.bounds[:-1][which] + within, size[which], passages.item[which], base[which] + within, short, totals


def _table(keys: npt.NDArray[np.uint64]) -> dict[str, Any]:
    """The open-address table (at most half full) and the bitmap (about one bit in sixteen set)."""
    from glasshouse.data.contamination import words

    room = 1 << max(4, int(2 * len(keys) - 1).bit_length())
    table = {
        "keys": np.zeros(room, np.uint64), "slots": np.full(room, -1, np.int32),
        "filter_bits": np.zeros(max(8192, room), np.uint8),
    }  # fmt: skip
    words.fill_table(keys, table["keys"], table["slots"], table["filter_bits"])
    return table


def _check(path: Path, header: dict[str, Any], arrays: dict[str, Any]) -> None:
    """The compiled loops trust these numbers, so a file that was made up must not pass."""
    from glasshouse.data.contamination.index_file import IndexFileError

    items, sets, grams = len(header["items"]), len(header["sets"]), len(arrays["gram_size"])
    letters, bounds, occurrences = arrays["letters"], arrays["gram_items"], len(arrays["occurrence_item"])
    ends = np.concatenate([[0], np.cumsum(letters == 0)])

    def within(name: str, low: int, high: int) -> bool:
        return not len(arrays[name]) or bool(arrays[name].min() >= low and arrays[name].max() < high)

    powers = all(n >= 16 and n & (n - 1) == 0 for n in (len(arrays["keys"]), len(arrays["filter_bits"])))
    fits = (
        powers and len(arrays["slots"]) == len(arrays["keys"]) and bool((arrays["slots"] == -1).any())
        and within("slots", -1, grams) and within("item_set", 0, sets) and within("occurrence_item", 0, items)
        and all(len(arrays[name]) == items for name in ("item_set", "item_words", "item_grams", "item_short"))
        and len(arrays["gram_letter"]) == grams and len(bounds) == grams + 1 and bounds[0] == 0
        and bounds[-1] == occurrences == len(arrays["occurrence_word"]) and bool((np.diff(bounds) >= 0).all())
        and within("sizes", 1, 65) and within("gram_size", 1, 65) and within("gram_letter", 0, max(len(letters), 1))
        # The letters of every n-gram end inside the array.
        and bool((ends[-1] - ends[arrays["gram_letter"]] >= arrays["gram_size"]).all())
    )  # fmt: skip
    if not fits:
        raise IndexFileError(f"{path} is not a usable index: its numbers do not fit together; build it again")
