"""What a word is when texts are compared for contamination, and the compiled loops over words.

A word is a run of letters, digits and combining marks, case-folded character by character; everything else only
separates words. So case, punctuation, quotation marks and white space make no difference. Texts are not normalized
otherwise: a composed and a decomposed accent are different letters.

Words are compared by 64-bit hashes; whatever the hashes say is then checked against the stored words.
Importing this module imports numba; import it inside functions.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from glasshouse.data.signals.kernels import compiled, decode, mixed

BASE = np.uint64(0x9E3779B97F4A7C15)
FNV = np.uint64(0x100000001B3)
FNV_START = np.uint64(0xCBF29CE484222325)
_ONE = np.uint64(1)


@functools.cache
def folding() -> npt.NDArray[np.int32]:
    """Every code point's case-folded code point; 0 for one that is part of no word."""
    table = np.zeros(0x110000, np.int32)
    for code in range(0xF0000):  # the planes above are for private use
        character = chr(code)
        if character.isalnum() or unicodedata.category(character)[0] == "M":
            folded = character.casefold()  # a folding to several characters ("ß") is left out
            table[code] = ord(folded) if len(folded) == 1 else code
    return table


@compiled
def split_words(data: Any, start: int, end: int, table: Any, hashes: Any, starts: Any, ends: Any) -> int:
    """Hash, first byte and end byte of every word of one document; returns their number."""
    words, in_word, at = 0, False, start
    value = FNV_START
    while at < end:
        code, width = decode(data, at)
        folded = table[code]
        if folded:
            if not in_word:
                in_word, value = True, FNV_START
                starts[words] = at
            value = (value ^ np.uint64(folded)) * FNV
        elif in_word:
            in_word = False
            hashes[words], ends[words] = mixed(value), at
            words += 1
        at += width
    if in_word:
        hashes[words], ends[words] = mixed(value), end
        words += 1
    return words


@compiled
def _power(base: Any, exponent: int) -> Any:
    result = _ONE
    for _ in range(exponent):
        result = np.uint64(result * base)
    return result


@compiled
def _same_words(
    data: Any, starts: Any, ends: Any, first: int, size: int, table: Any, letters: Any, letter_at: Any
) -> bool:
    """Whether words `first … first + size` of a document are the stored ones (folded, each word ended by 0)."""
    at = letter_at
    for word in range(first, first + size):
        byte = starts[word]
        while byte < ends[word]:
            code, width = decode(data, byte)
            if letters[at] != table[code]:
                return False
            at += 1
            byte += width
        if letters[at] != 0:
            return False
        at += 1
    return True


@compiled
def find_grams(
    offsets: Any, data: Any, table: Any, sizes: Any, mask: Any, keys: Any, slots: Any, filter_bits: Any,
    gram_size: Any, gram_letter: Any, letters: Any, word_counts: Any, found: Any,
) -> int:  # fmt: skip
    """Every occurrence of a stored n-gram in a batch of documents.

    Args:
        sizes: numbers of words of the stored n-grams.
        mask: of the hashes (all ones, except to test collisions).
        keys, slots: open-address table of hashes and n-gram numbers (-1: empty); equal hashes may occur several times.
        filter_bits: a bitmap by the low bits of a hash, to leave most n-grams at once.
        gram_size, gram_letter: words of an n-gram, and where its letters begin.
        letters: folded code points of the stored words, a 0 behind each word.
        word_counts: `[documents]`, filled.
        found: `[room, 5]`, filled with document, n-gram, first word, first byte, end byte (bytes in the document).

    Returns:
        The number found; when it exceeds `room`, call again with more.
    """
    count, room = 0, len(found)
    slot_mask = np.uint64(len(keys) - 1)
    bit_mask = np.uint64(len(filter_bits) * 8 - 1)
    hashes = np.empty(1024, np.uint64)
    starts, ends = np.empty(1024, np.int64), np.empty(1024, np.int64)
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        if (end - start) // 2 + 1 > len(hashes):
            size = (end - start) // 2 + 1
            hashes, starts, ends = np.empty(size, np.uint64), np.empty(size, np.int64), np.empty(size, np.int64)
        words = split_words(data, start, end, table, hashes, starts, ends)
        word_counts[document] = words
        for which in range(len(sizes)):
            size = sizes[which]
            drop = _power(BASE, size)
            value = np.uint64(0)
            for i in range(words):
                value = np.uint64(value * BASE + hashes[i])
                if i >= size:
                    value = np.uint64(value - drop * hashes[i - size])
                if i < size - 1:
                    continue
                key = mixed(value) & mask
                bit = key & bit_mask
                if not filter_bits[np.int64(bit >> np.uint64(3))] >> np.uint8(bit & np.uint64(7)) & np.uint8(1):
                    continue
                # The bitmap looks at the low bits, the table at the high ones.
                slot = np.int64((key >> np.uint64(20)) & slot_mask)
                first = i - size + 1
                while slots[slot] >= 0:
                    gram = slots[slot]
                    if keys[slot] == key and gram_size[gram] == size and _same_words(
                        data, starts, ends, first, size, table, letters, gram_letter[gram]
                    ):  # fmt: skip
                        if count < room:
                            found[count, 0], found[count, 1], found[count, 2] = document, gram, first
                            found[count, 3], found[count, 4] = starts[first] - start, ends[i] - start
                        count += 1
                        break
                    slot = np.int64((np.uint64(slot) + _ONE) & slot_mask)
    return count


@compiled
def fold_passages(
    offsets: Any, data: Any, table: Any, hashes: Any, passage_words: Any, letters: Any, word_letter: Any
) -> int:  # fmt: skip
    """Splits passages into words: all hashes one after the other, `passage_words[passages + 1]` (where each passage's
    begin), the folded code points with a 0 behind each word, and where in them each word begins. Returns the letters.
    """
    words = size = 0
    for passage in range(len(offsets) - 1):
        passage_words[passage] = words
        in_word, value = False, FNV_START
        at, end = offsets[passage], offsets[passage + 1]
        while at <= end:
            code, width = 0, 1  # the end of a passage ends a word
            if at < end:
                code, width = decode(data, at)
            folded = table[code]
            if folded:
                if not in_word:
                    in_word, value = True, FNV_START
                    word_letter[words] = size
                value = (value ^ np.uint64(folded)) * FNV
                letters[size] = folded
                size += 1
            elif in_word:
                in_word = False
                letters[size] = 0
                size += 1
                hashes[words] = mixed(value)
                words += 1
            at += width
    passage_words[len(offsets) - 1] = words
    return size


@compiled
def gram_keys(hashes: Any, starts: Any, sizes: Any, mask: Any, keys: Any) -> None:
    """The hash of the n-gram of `sizes[i]` words from word `starts[i]` on, as `find_grams` computes it."""
    for i in range(len(starts)):
        value = np.uint64(0)
        for word in range(starts[i], starts[i] + sizes[i]):
            value = np.uint64(value * BASE + hashes[word])
        keys[i] = mixed(value) & mask


@compiled
def _equal_grams(letters: Any, one: int, other: int, size: int) -> bool:
    words = 0
    while words < size:
        if letters[one] != letters[other]:
            return False
        words += letters[one] == 0
        one += 1
        other += 1
    return True


@compiled
def number_grams(order: Any, keys: Any, sizes: Any, at: Any, letters: Any, gram: Any, first: Any) -> int:
    """Numbers the n-grams by their text: `gram[i]` for every occurrence, `first[gram]` one occurrence of each.

    `order` sorts the occurrences by key and size; equal keys of other text get another number.
    """
    grams = group = 0
    for place in range(len(order)):
        i = order[place]
        if place > 0:
            before = order[place - 1]
            if keys[i] != keys[before] or sizes[i] != sizes[before]:
                group = grams
        number = -1
        for known in range(group, grams):
            if _equal_grams(letters, at[first[known]], at[i], sizes[i]):
                number = known
                break
        if number < 0:
            number = grams
            first[grams] = i
            grams += 1
        gram[i] = number
    return grams


@compiled
def fill_table(gram_keys: Any, keys: Any, slots: Any, filter_bits: Any) -> None:
    """Enters n-grams into the open-address table and the bitmap of `find_grams`."""
    slot_mask = np.uint64(len(keys) - 1)
    bit_mask = np.uint64(len(filter_bits) * 8 - 1)
    for gram in range(len(gram_keys)):
        key = gram_keys[gram]
        bit = key & bit_mask
        filter_bits[np.int64(bit >> np.uint64(3))] |= np.uint8(1) << np.uint8(bit & np.uint64(7))
        slot = np.int64((key >> np.uint64(20)) & slot_mask)
        while slots[slot] >= 0:
            slot = np.int64((np.uint64(slot) + _ONE) & slot_mask)
        slots[slot] = gram
        keys[slot] = key
