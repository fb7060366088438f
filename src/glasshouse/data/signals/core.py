"""The core family: Gopher, C4, repetition and code, all in one pass over the bytes of a text.

The Gopher signals (Rae et al., arXiv 2112.11446, table A1) and the C4 flags (Raffel et al., arXiv 1910.10683, section
2.2) in the dialect of Dolma's `gopher_v1` and `c4_v1` taggers (arXiv 2402.00159, section 5), and the code signals of
RedPajama as Dolma's `code_redpajama_taggers_v1` computes them.

Deliberate deviations: values are not rounded to five decimals; C4's line spans are counts here (family `c4_lines` has
the spans); an n-gram signal of a text too short for it is 0. The dialects are in `gopher.py` and `datatrove_*.py`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pyarrow as pa

from glasshouse.data.document import text_buffers
from glasshouse.data.signals.signal import Signal, count, flag, measure
from glasshouse.data.signals.word_list import naughty_words, word_tables
from glasshouse.store.configuration import Config

GOPHER = "arXiv 2112.11446, table A1; Dolma gopher_v1"
C4 = "arXiv 1910.10683, section 2.2; Dolma c4_v1"
REDPAJAMA = "RedPajama code filter; Dolma code_redpajama_taggers_v1"
DOLMA = "arXiv 2402.00159"


# The order is that of the columns of `core_kernel.measure`.
MEASURED: tuple[Signal, ...] = (
    count("byte_count", "bytes", "bytes of UTF-8 text", DOLMA),
    count("character_count", "characters", "characters (code points)", GOPHER),
    count("word_count", "words", "words: runs without Unicode white space", GOPHER),
    measure("median_word_length", "characters", "median number of characters of a word", GOPHER),
    measure("symbol_to_word_ratio", "share", "share of words that contain # or …", GOPHER),
    measure("fraction_of_words_with_alpha_character", "share", "share of words with an alphabetic character", GOPHER),
    count(
        "required_word_count", "words", "occurrences of the, be, to, of, and, that, have, with (case-sensitive)", GOPHER
    ),
    measure("fraction_of_lines_starting_with_bullet_point", "share", "share of lines that start with * or -", GOPHER),
    measure("fraction_of_lines_ending_with_ellipsis", "share", "share of lines that end with …", GOPHER),
    measure("fraction_of_duplicate_lines", "share", "share of lines that occur more than once, empty ones too", GOPHER),
    measure(
        "fraction_of_characters_in_duplicate_lines",
        "ratio",
        "characters of lines that occur more than once / characters that are not white space (can exceed 1)",
        GOPHER,
    ),
    *(
        measure(
            f"fraction_of_characters_in_most_common_{n}grams",
            "ratio",
            f"characters of all occurrences of the most frequent {n}-gram of words / characters not white space",
            GOPHER,
        )
        for n in (2, 3, 4)
    ),
    *(
        measure(
            f"fraction_of_characters_in_duplicate_{n}grams",
            "share",
            f"characters of the {n}-grams of words that occur more than once / characters of all {n}-grams",
            GOPHER,
        )
        for n in range(5, 11)
    ),
    count("line_count", "lines", "lines, separated by \\n", C4),
    count(
        "lines_with_no_ending_punctuation",
        "lines",
        "lines whose stripped text does not end in . ? ! or a double quote",
        C4,
    ),
    count("lines_with_too_few_words", "lines", "lines of fewer than three words", C4),
    flag("has_naughty_word", "a word or phrase of the list of naughty words occurs in any case", C4),
    flag("has_javascript", "some word is 'javascript' in any case", C4),
    flag("has_lorem_ipsum", "'lorem ipsum' occurs in any case", C4),
    flag("has_curly_brace", "an opening curly brace occurs", C4),
    count("maximum_line_length", "characters", "characters of the longest line (str.splitlines)", REDPAJAMA),
    measure("mean_line_length", "characters", "mean characters of a line (str.splitlines)", REDPAJAMA),
    measure(
        "fraction_of_alphanumeric_characters", "share", "share of characters that are letters or digits", REDPAJAMA
    ),
    measure(
        "alphabetic_characters_per_token",
        "ratio",
        "alphabetic characters / (1 + runs of word characters + runs of other characters that are not white space)",
        REDPAJAMA,
        version=2,
    ),
    measure(
        "fraction_of_duplicate_nonempty_lines",
        "share",
        "share of lines that occur more than once, lines being separated by runs of \\n (so blank lines do not count)",
        "arXiv 2112.11446, table A1; Dolma gopher_v2",
    ),
)

DERIVED: tuple[Signal, ...] = (
    measure(
        "fraction_of_lines_with_no_ending_punctuation",
        "share",
        "lines_with_no_ending_punctuation / line_count",
        "Dolma datasheet v0.1, N.4",
    ),
)


class Core(Config):
    """What one pass over the bytes gives.

    Attributes:
        naughty_words: the words and phrases of `has_naughty_word`; `None` is the English list of C4
            (`word_list.naughty_words()`), an empty tuple finds nothing. `word_list.read_word_list` reads a file.
    """

    name: Literal["core"] = "core"
    naughty_words: tuple[str, ...] | None = None

    @property
    def signals(self) -> tuple[Signal, ...]:
        return MEASURED + DERIVED

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        from glasshouse.data.signals import core_kernel

        offsets, data = text_buffers(batch)
        matrix = np.empty((batch.num_rows, core_kernel.COLUMNS))
        listed = naughty_words() if self.naughty_words is None else self.naughty_words
        core_kernel.measure(offsets, data, word_tables(listed), matrix)
        columns: list[pa.Array[Any]] = [
            pa.array(matrix[:, position].astype(signal.dtype.to_pandas_dtype()), signal.dtype)
            for position, signal in enumerate(MEASURED)
        ]
        lines = np.maximum(matrix[:, core_kernel.LINES], 1)
        columns.append(pa.array(matrix[:, core_kernel.NO_PUNCTUATION_LINES] / lines))
        return columns
