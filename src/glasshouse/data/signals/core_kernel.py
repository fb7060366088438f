"""The core family's one pass over the bytes of a text. Importing this imports numba; import it inside functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from glasshouse.data.signals.kernels import (
    ALPHABETIC,
    ALPHANUMERIC,
    FNV,
    FNV_START,
    LINE_END,
    SPACE,
    compiled,
    count_keys,
    decode,
    is_ascii_at,
    mixed,
    table_size,
)  # fmt: skip
from glasshouse.data.signals.ngram_kernel import ngrams
from glasshouse.data.signals.word_list import FOLDS
from glasshouse.data.signals.word_list_kernel import is_listed_folded, is_listed_phrase, is_listed_word

# Columns of the matrix `measure` fills; core.py names them in the same order.
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
    NAUGHTY,
    JAVASCRIPT,
    LOREM_IPSUM,
    CURLY_BRACE,
    MAXIMUM_LINE,
    MEAN_LINE,
    ALPHANUMERIC_SHARE,
    ALPHABETIC_PER_TOKEN,
    DUPLICATE_NONEMPTY_LINES,
) = range(32)
COLUMNS = 32

_LOREM = np.frombuffer(b"lorem ipsum", np.uint8)
_JAVASCRIPT = np.frombuffer(b"javascript", np.uint8)
# "the be to of and that have with": size, then the bytes big-endian, in one integer.
_REQUIRED = np.array(
    [len(word) << 32 | int.from_bytes(word, "big") for word in b"the be to of and that have with".split()], np.int64
)


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
def _is_token(data: Any, start: Any, end: Any, classes: Any, last_space: Any) -> Any:
    """Whether the ten bytes `data[start:start + 10]` stand between white space."""
    after = start + len(_JAVASCRIPT)
    return last_space and (after == end or (classes[decode(data, after)[0]] & SPACE) != 0)


@compiled
def _scan(
    data: Any, start: Any, end: Any, listed: Any, word_hashes: Any, word_lengths: Any, line_hashes: Any,
    line_lengths: Any, row: Any,
) -> Any:  # fmt: skip
    """One pass over the bytes of one document; fills `row` except for repetitions. Returns (words, lines)."""
    classes = listed.classes
    words = lines = characters = alphabetic = alphanumeric = 0
    in_word = word_symbol = word_alphabetic = False
    packed = np.int64(0)
    word_start = word_from = line_from = line_words = code_line = 0
    code_lines = code_longest = code_total = tokens = 0
    token_kind = 2  # as if after white space
    word_hash = line_hash = FNV_START
    symbols = alphabetic_words = required = bullets = ellipses = no_punctuation = short = 0
    naughty = folds = found_lorem = found_javascript = found_brace = False
    last_character: Any = 0
    last_inked: Any = 0
    after_return = False
    at = start
    while at <= end:
        # The end of the text is taken for one more \n: it ends a word and a line.
        byte = np.int64(data[at]) if at < end else 10
        code, width = byte, 1
        if byte >= 0x80:
            code, width = decode(data, at)
        kind = classes[code]
        if kind & SPACE:
            if in_word:
                in_word = False
                word_hashes[words] = mixed(word_hash)
                word_lengths[words] = characters - word_from
                words += 1
                line_words += 1
                symbols += word_symbol
                alphabetic_words += word_alphabetic
                size = at - word_start
                if size <= 4:
                    for i in range(8):
                        required += (packed | size << 32) == _REQUIRED[i]
                naughty = naughty or is_listed_word(data, word_start, at, packed, listed.words)
            if code == 32:
                naughty = naughty or is_listed_phrase(data, start, end, at, listed.phrases)
        else:
            if not in_word:
                in_word, word_symbol, word_alphabetic = True, False, False
                word_hash, word_start, word_from, packed = FNV_START, at, characters, np.int64(0)
            for i in range(width):
                word_hash = (word_hash ^ np.uint64(data[at + i])) * FNV
                packed = ((packed & 0xFFFFFF) << 8) | np.int64(data[at + i])
            last_inked = code
            if code == 35 or code == 0x2026:
                word_symbol = True
            elif code == 123:
                found_brace = True
            elif (code | 32) == 108:
                found_lorem = found_lorem or is_ascii_at(data, at, end, _LOREM)
            elif (code | 32) == 106 and is_ascii_at(data, at, end, _JAVASCRIPT):
                found_javascript = found_javascript or _is_token(data, at, end, classes, word_start == at)
            is_letter = kind & ALPHABETIC
            word_alphabetic = word_alphabetic or is_letter != 0
            alphabetic += is_letter
            alphanumeric += (kind & ALPHANUMERIC) >> 1
            folds = folds or (kind & FOLDS) != 0
        # Gopher's and C4's lines end at \n only.
        if code == 10:
            ellipses += last_character == 0x2026
            line_hashes[lines] = mixed(line_hash)
            line_lengths[lines] = characters - line_from
            lines += 1
            no_punctuation += last_inked != 46 and last_inked != 63 and last_inked != 33 and last_inked != 34
            short += line_words < 3
            line_hash, line_words, last_inked, last_character = FNV_START, 0, 0, 0
            line_from = characters + 1
        else:
            bullets += (code == 42 or code == 45) and characters == line_from
            last_character = code
            for i in range(width):
                line_hash = (line_hash ^ np.uint64(data[at + i])) * FNV
        if at == end:
            break
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
        # Its tokens are runs of word characters and runs of other characters that are not white space.
        now = (kind >> 4) & 3
        tokens += now != 2 and now != token_kind
        token_kind = now
        characters += 1
        at += width
    if code_line > 0:
        code_lines += 1
        code_total += code_line
        code_longest = max(code_longest, code_line)
    if folds and not naughty:
        naughty = is_listed_folded(data, start, end, listed)
    row[BYTES], row[CHARACTERS], row[WORDS] = end - start, characters, words
    row[MEDIAN_WORD] = _median(word_lengths, words)
    row[SYMBOL_WORDS] = symbols / max(words, 1)
    row[ALPHABETIC_WORDS] = alphabetic_words / max(words, 1)
    row[REQUIRED_WORDS] = required
    row[BULLET_LINES], row[ELLIPSIS_LINES] = bullets / lines, ellipses / lines
    row[LINES], row[NO_PUNCTUATION_LINES], row[SHORT_LINES] = lines, no_punctuation, short
    row[NAUGHTY], row[JAVASCRIPT] = naughty, found_javascript
    row[LOREM_IPSUM], row[CURLY_BRACE] = found_lorem, found_brace
    row[MAXIMUM_LINE], row[MEAN_LINE] = code_longest, code_total / max(code_lines, 1)
    row[ALPHANUMERIC_SHARE] = alphanumeric / max(characters, 1)
    row[ALPHABETIC_PER_TOKEN] = alphabetic / (tokens + 1)  # re.split gives one part more than it finds separators
    return words, lines


@compiled
def _repeated_lines(data: Any, start: Any, end: Any, lines: Any, lengths: Any, counts: Any, slots: Any, row: Any,
                    inked: Any) -> None:  # fmt: skip
    """Lines that occur more than once, from `counts` and `slots` of `count_keys` over the lines' hashes."""
    repeated = repeated_characters = filled = repeated_filled = 0
    for i in range(lines):
        filled += lengths[i] > 0
        if counts[slots[i]] > 1:
            repeated += 1
            repeated_filled += lengths[i] > 0
            repeated_characters += lengths[i]
    row[DUPLICATE_LINES] = repeated / lines
    # re.split(r"\n+") leaves an empty first and last line where the text begins and ends with \n.
    edges = (data[start] == 10) + (data[end - 1] == 10)
    row[DUPLICATE_NONEMPTY_LINES] = (repeated_filled + 2 * (edges == 2)) / (filled + edges)
    row[DUPLICATE_LINE_CHARACTERS] = repeated_characters / max(inked, 1)


@compiled
def measure(offsets: Any, data: Any, listed: Any, out: Any) -> None:
    """Fills `out[documents, COLUMNS]` (float64) with all signals of every document; `listed` is a `WordTables`."""
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
        words, lines = _scan(data, start, end, listed, word_hashes, word_lengths, line_hashes, line_lengths, row)
        most = max(words, lines)
        if most > len(slots):
            slots = np.empty(most, np.int64)
        if table_size(most) > table_room:
            table_room = table_size(most)
            table, counts = np.empty(table_room, np.uint64), np.empty(table_room, np.int32)
        if end > start:
            count_keys(line_hashes, lines, table, counts, slots)
            inked = word_lengths[:words].sum()
            _repeated_lines(data, start, end, lines, line_lengths, counts, slots, row, inked)
        ngrams(words, word_hashes, word_lengths, table, counts, slots, row[TOP_2 : DUPLICATE_10 + 1])
