"""Signals: what is measured of every document, once; thresholds are chosen later (`rules.py`).

The Gopher signals (Rae et al., arXiv 2112.11446, table A1) and the C4 flags (Raffel et al., arXiv 1910.10683, section
2.2) in the dialect of Dolma's `gopher_v1` and `c4_v1` taggers (arXiv 2402.00159, section 5), and the code signals of
RedPajama as Dolma's `code_redpajama_taggers_v1` computes them.

Deliberate deviations: values are not rounded to five decimals; C4's line spans are counts here; C4's word list of
offensive terms is not shipped, so there is no `has_naughty_word` yet; `random` depends on the document's id, so it is
the same in every run (Dolma seeds it by process number); an n-gram signal of a text too short for it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from glasshouse.data.document import document_hashes, strings, text_buffers

GOPHER = "arXiv 2112.11446, table A1; Dolma gopher_v1"
C4 = "arXiv 1910.10683, section 2.2; Dolma c4_v1"
REDPAJAMA = "RedPajama code filter; Dolma code_redpajama_taggers_v1"
DOLMA = "arXiv 2402.00159"


@dataclass(frozen=True)
class Signal:
    """A named column. A changed definition gets a new version, so that an old corpus stays explainable."""

    name: str
    dtype: pa.DataType
    doc: str
    citation: str
    version: int = 1


def _share(name: str, doc: str, citation: str) -> Signal:
    return Signal(name, pa.float64(), doc, citation)


def _count(name: str, doc: str, citation: str) -> Signal:
    return Signal(name, pa.int64(), doc, citation)


# The order is that of the columns of `kernels.measure`.
MEASURED: tuple[Signal, ...] = (
    _count("byte_count", "bytes of UTF-8 text", DOLMA),
    _count("character_count", "characters (code points)", GOPHER),
    _count("word_count", "words: runs without Unicode white space", GOPHER),
    _share("median_word_length", "median number of characters of a word", GOPHER),
    _share("symbol_to_word_ratio", "share of words that contain # or …", GOPHER),
    _share("fraction_of_words_with_alpha_character", "share of words with an alphabetic character", GOPHER),
    _count("required_word_count", "occurrences of the, be, to, of, and, that, have, with (case-sensitive)", GOPHER),
    _share("fraction_of_lines_starting_with_bullet_point", "share of lines that start with * or -", GOPHER),
    _share("fraction_of_lines_ending_with_ellipsis", "share of lines that end with …", GOPHER),
    _share("fraction_of_duplicate_lines", "share of lines that occur more than once, empty ones too", GOPHER),
    _share(
        "fraction_of_characters_in_duplicate_lines",
        "characters of lines that occur more than once / characters that are not white space (can exceed 1)",
        GOPHER,
    ),
    *(
        _share(
            f"fraction_of_characters_in_most_common_{n}grams",
            f"characters of all occurrences of the most frequent {n}-gram of words / characters not white space",
            GOPHER,
        )
        for n in (2, 3, 4)
    ),
    *(
        _share(
            f"fraction_of_characters_in_duplicate_{n}grams",
            f"characters of the {n}-grams of words that occur more than once / characters of all {n}-grams",
            GOPHER,
        )
        for n in range(5, 11)
    ),
    _count("line_count", "lines, separated by \\n", C4),
    _count("lines_with_no_ending_punctuation", "lines whose stripped text does not end in . ? ! or a double quote", C4),
    _count("lines_with_too_few_words", "lines of fewer than three words", C4),
    Signal("has_javascript", pa.bool_(), "some word is 'javascript' in any case", C4),
    Signal("has_lorem_ipsum", pa.bool_(), "'lorem ipsum' occurs in any case", C4),
    Signal("has_curly_brace", pa.bool_(), "an opening curly brace occurs", C4),
    _count("maximum_line_length", "characters of the longest line (str.splitlines)", REDPAJAMA),
    _share("mean_line_length", "mean characters of a line (str.splitlines)", REDPAJAMA),
    _share("fraction_of_alphanumeric_characters", "share of characters that are letters or digits", REDPAJAMA),
    _share("alphabetic_characters_per_token", "alphabetic characters / parts between runs of white space", REDPAJAMA),
    _share(
        "fraction_of_duplicate_nonempty_lines",
        "share of lines that occur more than once, lines being separated by runs of \\n (so blank lines do not count)",
        "arXiv 2112.11446, table A1; Dolma gopher_v2",
    ),
)

DERIVED: tuple[Signal, ...] = (
    _share(
        "fraction_of_lines_with_no_ending_punctuation",
        "lines_with_no_ending_punctuation / line_count",
        "Dolma datasheet v0.1, N.4",
    ),
    _share("random", "a number in [0, 1) fixed by the document's id (and the seed)", "Dolma random_number_v1"),
)

SIGNALS: dict[str, Signal] = {signal.name: signal for signal in MEASURED + DERIVED}
"""All signals by name."""

SIGNAL_SCHEMA: pa.Schema = pa.schema(
    [pa.field(s.name, s.dtype, metadata={"doc": s.doc, "version": str(s.version), "citation": s.citation})
     for s in SIGNALS.values()]
)  # fmt: skip


def compute_signals(batch: pa.RecordBatch, seed: int = 0) -> pa.RecordBatch:
    """All signals of a batch of documents: a pure function, one row per document, in the schema `SIGNAL_SCHEMA`.

    Args:
        batch: documents (`document.DOCUMENT`); only `text` and `id` are read.
        seed: of the signal `random`.
    """
    from glasshouse.data import kernels

    offsets, data = text_buffers(batch)
    matrix = np.empty((batch.num_rows, kernels.COLUMNS))
    kernels.measure(offsets, data, kernels.character_classes(), matrix)
    columns = [
        pa.array(matrix[:, position].astype(signal.dtype.to_pandas_dtype()), signal.dtype)
        for position, signal in enumerate(MEASURED)
    ]
    columns.append(pa.array(matrix[:, kernels.NO_PUNCTUATION_LINES] / np.maximum(matrix[:, kernels.LINES], 1)))
    hashes = document_hashes(strings(batch, "id"), seed, "random signal")
    columns.append(pa.array((hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53))
    return pa.RecordBatch.from_arrays(columns, schema=SIGNAL_SCHEMA)
