"""The compiled loops over UTF-8 bytes. Importing this module imports numba; import it inside functions.

All kernels take the buffers of an Arrow `large_string` column (`document.text_buffers`), build no Python strings and
release the interpreter lock. Words are runs without the 29 Unicode spaces of Python's `str.split`; lengths are in
characters (code points). Words, lines and n-grams are compared by 64-bit hashes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Function = TypeVar("Function", bound=Callable[..., Any])

ALPHABETIC, ALPHANUMERIC, SPACE, LINE_END = 1, 2, 4, 8

# Columns of the matrix `measure` fills; signals.py names them in the same order.
(
    BYTES,
    CHARACTERS,
    WORDS,
    MEDIAN_WORD,
    SYMBOL_WORDS,
    ALPHABETIC_WORDS,
    REQUIRED_WORDS,
    BULLET_LINES,
    ELLIPSIS_LINES,
    DUPLICATE_LINES,
    DUPLICATE_LINE_CHARACTERS,
    TOP_2,
    TOP_3,
    TOP_4,
    DUPLICATE_5,
    DUPLICATE_6,
    DUPLICATE_7,
    DUPLICATE_8,
    DUPLICATE_9,
    DUPLICATE_10,
    LINES,
    NO_PUNCTUATION_LINES,
    SHORT_LINES,
    JAVASCRIPT,
    LOREM_IPSUM,
    CURLY_BRACE,
    MAXIMUM_LINE,
    MEAN_LINE,
    ALPHANUMERIC_SHARE,
    ALPHABETIC_PER_TOKEN,
    DUPLICATE_NONEMPTY_LINES,
) = range(31)
COLUMNS = 31

_FNV = np.uint64(0x100000001B3)
_FNV_START = np.uint64(0xCBF29CE484222325)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_GRAM = np.uint64(0x9E3779B97F4A7C15)
_LOREM = np.frombuffer(b"lorem ipsum", np.uint8)
_JAVASCRIPT = np.frombuffer(b"javascript", np.uint8)
# "the be to of and that have with", each packed big-endian into one integer.
_REQUIRED = np.array(
    [int.from_bytes(word, "big") for word in b"the be to of and that have with".split()], dtype=np.int64
)


def compiled(function: Function) -> Function:
    """Compiles without the interpreter lock and keeps the machine code on disk (the first call otherwise costs
    seconds).
    """
    return cast(Function, numba.njit(nogil=True, cache=True)(function))


@functools.cache
def character_classes() -> npt.NDArray[np.uint8]:
    """Class bits of every code point, as the running Python's own `str` methods define them."""
    classes = np.zeros(0x110000, np.uint8)
    for code in range(0x40000):  # nothing above the third plane is alphabetic or a space
        character = chr(code)
        if character.isalnum():
            classes[code] = ALPHANUMERIC | (ALPHABETIC if character.isalpha() else 0)
        elif character.isspace():
            classes[code] = SPACE | (LINE_END if len(f"a{character}b".splitlines()) == 2 else 0)
    return classes


@compiled
def _mixed(value: Any) -> Any:
    value ^= value >> np.uint64(33)
    value *= _MIX_1
    value ^= value >> np.uint64(33)
    value *= _MIX_2
    return value ^ (value >> np.uint64(33))


@compiled
def _decode(data: Any, at: Any) -> Any:
    """Code point at byte `at` and the number of its bytes (the text is valid UTF-8)."""
    lead = np.int64(data[at])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return ((lead & 0x1F) << 6) | (np.int64(data[at + 1]) & 0x3F), 2
    middle = ((np.int64(data[at + 1]) & 0x3F) << 6) | (np.int64(data[at + 2]) & 0x3F)
    if lead < 0xF0:
        return ((lead & 0x0F) << 12) | middle, 3
    return ((lead & 0x07) << 18) | (middle << 6) | (np.int64(data[at + 3]) & 0x3F), 4


@compiled
def _count_keys(keys: Any, size: Any, table: Any, counts: Any, slots: Any) -> None:
    """Counts equal keys in an open-address table; `slots[i]` becomes the place of key `i`, `counts` its number."""
    room = 16
    while room < 2 * size:
        room *= 2
    counts[:room] = 0
    mask = np.uint64(room - 1)
    for i in range(size):
        key = keys[i]
        slot: Any = np.int64(key & mask)
        while counts[slot] != 0 and table[slot] != key:
            slot += 1
            if slot == room:
                slot = 0
        table[slot] = key
        counts[slot] += 1
        slots[i] = slot


@compiled
def _table_size(size: int) -> int:
    room = 16
    while room < 2 * size:
        room *= 2
    return room


@compiled
def _median(lengths: Any, size: int) -> float:
    if size == 0:
        return 0.0
    histogram = np.zeros(256, np.int64)
    for i in range(size):
        if lengths[i] >= 256:
            return float(np.median(lengths[:size]))
        histogram[lengths[i]] += 1
    low, high, seen = -1, -1, 0
    for length in range(256):
        seen += histogram[length]
        if low < 0 and seen > (size - 1) // 2:
            low = length
        if seen > size // 2:
            high = length
            break
    return (low + high) / 2.0


@compiled
def _ngrams(words: int, hashes: Any, lengths: Any, table: Any, counts: Any, slots: Any, row: Any) -> None:
    """Most common 2..4-grams and duplicate 5..10-grams.

    An n-gram can only repeat where its first n-1 words repeat, so positions that stopped repeating are dropped.
    """
    until = np.zeros(words + 1, np.int64)
    for i in range(words):
        until[i + 1] = until[i] + lengths[i]
    positions = np.arange(words)
    keys = hashes[:words].copy()
    active = words
    for order in range(2, 11):
        grams = words - order + 1
        if grams <= 0:
            return
        size = 0
        for j in range(active):
            position = positions[j]
            if position < grams:
                positions[size] = position
                keys[size] = _mixed(keys[j] * _GRAM + hashes[position + order - 1])
                size += 1
        _count_keys(keys, size, table, counts, slots)
        best, best_at, repeated, active = 1, 0, 0, 0
        for j in range(size):
            count = counts[slots[j]]
            position = positions[j]
            if count > best:  # strictly: on a tie the n-gram seen first wins, as in Counter.most_common
                best, best_at = count, position
            if count > 1:
                repeated += until[position + order] - until[position]
                positions[active] = position
                keys[active] = keys[j]
                active += 1
        if order <= 4:
            row[TOP_2 + order - 2] = best * (until[best_at + order] - until[best_at]) / until[words]
        else:
            total = 0
            for position in range(grams):
                total += until[position + order] - until[position]
            row[DUPLICATE_5 + order - 5] = repeated / total


@compiled
def _is_javascript(data: Any, start: int) -> bool:
    same = 0
    for i in range(10):
        same += data[start + i] | 32 == _JAVASCRIPT[i]
    return same == 10


@compiled
def _scan(
    data: Any, start: int, end: int, classes: Any, word_hashes: Any, word_lengths: Any, line_hashes: Any,
    line_lengths: Any, row: Any,
) -> tuple[int, int]:  # fmt: skip
    """One pass over the bytes of one document; fills `row` except for repetitions. Returns (words, lines)."""
    words = lines = characters = alphabetic = alphanumeric = 0
    in_word = word_symbol = word_alphabetic = False
    packed: Any = 0
    word_start = word_from = line_from = line_words = code_line = 0
    code_lines = code_longest = code_total = 0
    word_hash = line_hash = _FNV_START
    symbols = alphabetic_words = required = bullets = ellipses = no_punctuation = short = lorem = 0
    found_lorem = found_javascript = found_brace = False
    last_character = last_inked = 0
    line_start, after_return = True, False
    at = start
    while at < end:
        code, width = _decode(data, at)
        kind = classes[code]
        # Gopher's and C4's lines end at \n only.
        if code == 10:
            if last_character == 0x2026:
                ellipses += 1
            line_hashes[lines] = _mixed(line_hash)
            line_lengths[lines] = characters - line_from
            lines += 1
            no_punctuation += last_inked != 46 and last_inked != 63 and last_inked != 33 and last_inked != 34
            short += line_words + in_word < 3
            line_hash, line_words, last_inked, last_character = _FNV_START, 0, 0, 0
            line_from = characters + 1
            line_start = True
        else:
            if line_start and (code == 42 or code == 45):
                bullets += 1
            line_start = False
            last_character = code
            for i in range(width):
                line_hash = (line_hash ^ np.uint64(data[at + i])) * _FNV
        if kind & SPACE:
            if in_word:
                word_hashes[words] = _mixed(word_hash)
                word_lengths[words] = characters - word_from
                words += 1
                line_words += code != 10
                symbols += word_symbol
                alphabetic_words += word_alphabetic
                size = at - word_start
                if size <= 4:
                    for i in range(8):
                        required += packed == _REQUIRED[i]
                elif size == 10 and _is_javascript(data, word_start):
                    found_javascript = True
                in_word = False
        else:
            if not in_word:
                in_word, word_symbol, word_alphabetic = True, False, False
                word_hash, word_start, word_from, packed = _FNV_START, at, characters, 0
            for i in range(width):
                byte = data[at + i]
                word_hash = (word_hash ^ np.uint64(byte)) * _FNV
                packed = ((packed & 0xFFFFFF) << 8) | np.int64(byte)
            last_inked = code
            if code == 35 or code == 0x2026:
                word_symbol = True
            elif code == 123:
                found_brace = True
            if kind & ALPHABETIC:
                word_alphabetic = True
                alphabetic += 1
            alphanumeric += (kind & ALPHANUMERIC) != 0
        lower = code | 32 if 65 <= code <= 90 else code
        if lower == _LOREM[lorem]:
            lorem += 1
            if lorem == 11:
                found_lorem = True
                lorem = 0
        else:
            lorem = 1 if lower == 108 else 0
        # RedPajama's lines are those of str.splitlines, where \r\n is one end.
        if kind & LINE_END:
            if code != 10 or not after_return:
                code_lines += 1
                code_total += code_line
                code_longest = max(code_longest, code_line)
                code_line = 0
        else:
            code_line += 1
        after_return = code == 13
        characters += 1
        at += width
    if in_word:
        word_hashes[words] = _mixed(word_hash)
        word_lengths[words] = characters - word_from
        words += 1
        line_words += 1
        symbols += word_symbol
        alphabetic_words += word_alphabetic
        size = end - word_start
        if size <= 4:
            for i in range(8):
                required += packed == _REQUIRED[i]
        elif size == 10 and _is_javascript(data, word_start):
            found_javascript = True
    if last_character == 0x2026:
        ellipses += 1
    line_hashes[lines] = _mixed(line_hash)
    line_lengths[lines] = characters - line_from
    lines += 1
    no_punctuation += last_inked != 46 and last_inked != 63 and last_inked != 33 and last_inked != 34
    short += line_words < 3
    if code_line > 0:
        code_lines += 1
        code_total += code_line
        code_longest = max(code_longest, code_line)
    # RedPajama's tokens are re.split(r"\s+"), which also counts the empty strings before and after the spaces.
    tokens = words + 1 if words == 0 else words
    if end > start:
        tokens += (classes[_decode(data, start)[0]] & SPACE) != 0
        tokens += words > 0 and not in_word
    row[BYTES], row[CHARACTERS], row[WORDS] = end - start, characters, words
    row[MEDIAN_WORD] = _median(word_lengths, words)
    row[SYMBOL_WORDS] = symbols / max(words, 1)
    row[ALPHABETIC_WORDS] = alphabetic_words / max(words, 1)
    row[REQUIRED_WORDS] = required
    row[BULLET_LINES], row[ELLIPSIS_LINES] = bullets / lines, ellipses / lines
    row[LINES], row[NO_PUNCTUATION_LINES], row[SHORT_LINES] = lines, no_punctuation, short
    row[JAVASCRIPT], row[LOREM_IPSUM], row[CURLY_BRACE] = found_javascript, found_lorem, found_brace
    row[MAXIMUM_LINE], row[MEAN_LINE] = code_longest, code_total / max(code_lines, 1)
    row[ALPHANUMERIC_SHARE] = alphanumeric / max(characters, 1)
    row[ALPHABETIC_PER_TOKEN] = alphabetic / tokens
    return words, lines


@compiled
def measure(offsets: Any, data: Any, classes: Any, out: Any) -> None:
    """Fills `out[documents, COLUMNS]` (float64) with all signals of every document."""
    word_room, line_room, table_room = 1024, 1024, 4096
    word_hashes, word_lengths = np.empty(word_room, np.uint64), np.empty(word_room, np.int64)
    line_hashes, line_lengths = np.empty(line_room, np.uint64), np.empty(line_room, np.int64)
    table, counts = np.empty(table_room, np.uint64), np.empty(table_room, np.int32)
    slots = np.empty(word_room, np.int64)
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        row = out[document]
        row[:] = 0.0
        newlines = 1
        for at in range(start, end):
            newlines += data[at] == 10
        if newlines > line_room:
            line_room = newlines
            line_hashes, line_lengths = np.empty(line_room, np.uint64), np.empty(line_room, np.int64)
        if (end - start) // 2 + 1 > word_room:
            word_room = (end - start) // 2 + 1
            word_hashes, word_lengths = np.empty(word_room, np.uint64), np.empty(word_room, np.int64)
        words, lines = _scan(
            data, start, end, classes, word_hashes, word_lengths, line_hashes, line_lengths, row
        )  # fmt: skip
        most = max(words, lines)
        if most > len(slots):
            slots = np.empty(most, np.int64)
        if _table_size(most) > table_room:
            table_room = _table_size(most)
            table, counts = np.empty(table_room, np.uint64), np.empty(table_room, np.int32)
        inked = 0
        for i in range(words):
            inked += word_lengths[i]
        _count_keys(line_hashes, lines, table, counts, slots)
        repeated = repeated_characters = filled = repeated_filled = 0
        for i in range(lines):
            filled += line_lengths[i] > 0
            if counts[slots[i]] > 1:
                repeated += 1
                repeated_filled += line_lengths[i] > 0
                repeated_characters += line_lengths[i]
        if end > start:
            row[DUPLICATE_LINES] = repeated / lines
            # re.split(r"\n+") leaves an empty first and last line where the text begins and ends with \n.
            edges = (data[start] == 10) + (data[end - 1] == 10)
            row[DUPLICATE_NONEMPTY_LINES] = (repeated_filled + 2 * (edges == 2)) / (filled + edges)
            row[DUPLICATE_LINE_CHARACTERS] = repeated_characters / max(inked, 1)
        _ngrams(words, word_hashes, word_lengths, table, counts, slots, row)


@compiled
def _lower_signature(recent: Any, words: int, size: int, multipliers: Any, addends: Any, row: Any) -> None:
    """Lowers a signature by the shingle of the last `size` of `words` words."""
    shingle = _FNV_START
    for i in range(words - size, words):
        shingle = _mixed(shingle * _GRAM + recent[i % len(recent)])
    for j in range(len(multipliers)):
        value = np.uint32((multipliers[j] * shingle + addends[j]) >> np.uint64(32))
        row[j] = min(row[j], value)


@compiled
def minhash_signatures(
    offsets: Any, data: Any, classes: Any, shingle: int, multipliers: Any, addends: Any, out: Any
) -> None:
    """MinHash of word `shingle`-grams (ASCII lower-cased): `out[documents, permutations]` (uint32).

    Permutation j of a shingle x is the upper half of `multipliers[j] * x + addends[j]` modulo 2^64. A document with
    fewer words than a shingle is one shingle; one without words keeps the largest value everywhere.
    """
    recent = np.zeros(shingle, np.uint64)
    for document in range(len(offsets) - 1):
        row = out[document]
        row[:] = np.uint32(0xFFFFFFFF)
        words = 0
        in_word = False
        word = _FNV_START
        at, end = offsets[document], offsets[document + 1]
        while at <= end:
            code, width = 32, 1  # the end of the text ends a word, as a space does
            if at < end:
                code, width = _decode(data, at)
            if classes[code] & SPACE:
                if in_word:
                    recent[words % shingle] = _mixed(word)
                    words += 1
                    in_word = False
                    if words >= shingle:
                        _lower_signature(recent, words, shingle, multipliers, addends, row)
            else:
                if not in_word:
                    in_word, word = True, _FNV_START
                for i in range(width):
                    byte = np.uint64(data[at + i])
                    if 65 <= data[at + i] <= 90:
                        byte |= np.uint64(32)
                    word = (word ^ byte) * _FNV
            at += width
        if 0 < words < shingle:
            _lower_signature(recent, words, words, multipliers, addends, row)
