"""Three definitions that all go by the name of "Gopher" (Rae et al., arXiv 2112.11446, table A1), side by side.

Dolma's `gopher_v1` and `gopher_v2` differ in what a line is; datatrove's filters differ from both nearly everywhere
(`datatrove_quality.py`, `datatrove_repetition.py`). A corpus filtered "by the Gopher rules" depends on which is meant.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.signals.families import compute_signals, family

DIALECTS = ("gopher_v1", "gopher_v2", "datatrove")

_QUALITY, _REPETITION = "datatrove_gopher_quality", "datatrove_gopher_repetition"


class _Compared(NamedTuple):
    """A signal: the columns that measure it in the three dialects (`None`: it has none), and datatrove's rules."""

    signal: str
    first: str | None
    second: str | None
    datatrove: str | None
    rules: tuple[tuple[str, float], ...] = ()


def _same(signal: str, column: str, datatrove: str | None, *rules: tuple[str, float]) -> _Compared:
    return _Compared(signal, column, column, datatrove, rules)


COMPARED: tuple[_Compared, ...] = (
    _same("words", "word_count", f"{_QUALITY}_non_symbol_word_count", ("<", 50), (">", 100_000)),
    _same("word length", "median_word_length", f"{_QUALITY}_mean_word_length", ("<", 3), (">", 10)),
    _same("symbols: # and …", "symbol_to_word_ratio", f"{_QUALITY}_hashes_per_word", (">", 0.1)),
    _Compared("symbols: ellipses", None, None, f"{_QUALITY}_ellipses_per_word", ((">", 0.1),)),
    _same("alphabetic words", "fraction_of_words_with_alpha_character", f"{_QUALITY}_alphabetic_words", ("<", 0.8)),
    _same("stop words", "required_word_count", f"{_QUALITY}_stop_words", ("<", 2)),
    *(
        _Compared(signal, f"fraction_of_{column}", f"gopher_v2_fraction_of_{column}", datatrove, ((">", limit),))
        for signal, column, datatrove, limit in (
            ("bullet lines", "lines_starting_with_bullet_point", f"{_QUALITY}_bullet_lines", 0.9),
            ("ellipsis lines", "lines_ending_with_ellipsis", f"{_QUALITY}_ellipsis_lines", 0.3),
            ("duplicate lines", "duplicate_lines", f"{_REPETITION}_duplicate_lines", 0.3),
        )
    ),
    _same("duplicate line characters", "fraction_of_characters_in_duplicate_lines",
          f"{_REPETITION}_duplicate_line_characters", (">", 0.2)),
    _Compared("duplicate paragraphs", None, None, f"{_REPETITION}_duplicate_paragraphs", ((">", 0.3),)),
    _Compared("duplicate paragraph characters", None, None, f"{_REPETITION}_duplicate_paragraph_characters",
              ((">", 0.2),)),
    *(
        _same(f"most common {n}-gram", f"fraction_of_characters_in_most_common_{n}grams", f"{_REPETITION}_top_{n}gram",
              (">", limit))
        for n, limit in zip((2, 3, 4), (0.2, 0.18, 0.16), strict=True)
    ),
    *(
        _same(f"duplicate {n}-grams", f"fraction_of_characters_in_duplicate_{n}grams",
              f"{_REPETITION}_duplicate_{n}grams", (">", limit))
        for n, limit in zip(range(5, 11), (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True)
    ),
)  # fmt: skip


def dialect_differences(batch: pa.RecordBatch) -> pa.Table:
    """How the three dialects measure and judge the documents of a batch: a row per document and signal.

    Returns:
        Columns `id` and `signal`; for each of `DIALECTS`: its value (null where it has no such signal), `removes_by_…`
        (whether its rule on this signal removes the document: Dolma's thresholds for its two, datatrove's defaults for
        its own) and `keeps_…` (its verdict on the whole document, the same in all rows of a document).
    """
    names = ("core", "gopher_v2", _QUALITY, _REPETITION)
    signals = compute_signals(batch, [family(name) for name in names])
    rows = batch.num_rows
    values = {dialect: np.full((rows, len(COMPARED)), np.nan) for dialect in DIALECTS}
    removes = {dialect: np.zeros((rows, len(COMPARED)), np.bool_) for dialect in DIALECTS}
    dolma = _dolma_rules()
    for place, compared in enumerate(COMPARED):
        by_dolma = dolma.get(compared.first or "", ())
        columns = (compared.first, by_dolma), (compared.second, by_dolma), (compared.datatrove, compared.rules)
        for dialect, (column, rules) in zip(DIALECTS, columns, strict=True):
            if column is None:
                continue
            measured = signals.column(column).to_numpy(zero_copy_only=False).astype(np.float64)
            values[dialect][:, place] = measured
            removes[dialect][:, place] = _holds(measured, rules)
    keeps = {dialect: ~removed.any(axis=1) for dialect, removed in removes.items()}
    keeps["datatrove"] = _kept(signals, _QUALITY) & _kept(signals, _REPETITION)
    width = len(COMPARED)
    table: dict[str, pa.Array[Any]] = {
        "id": pa.array(np.repeat(np.array(batch.column("id").to_pylist(), object), width), pa.string()),
        "signal": pa.array([compared.signal for compared in COMPARED] * rows, pa.string()),
    }
    table |= {name: pa.array(values[name].ravel(), pa.float64(), from_pandas=True) for name in DIALECTS}
    table |= {f"removes_by_{name}": pa.array(removes[name].ravel()) for name in DIALECTS}
    table |= {f"keeps_{name}": pa.array(np.repeat(keeps[name], width)) for name in DIALECTS}
    return pa.table(table)


def _dolma_rules() -> dict[str, tuple[tuple[str, float], ...]]:
    from glasshouse.data.curation.rules import dolma_web_rules

    found: dict[str, tuple[tuple[str, float], ...]] = {}
    for rule in dolma_web_rules.rules:
        found[rule.signal] = (*found.get(rule.signal, ()), (rule.operator, rule.threshold))
    return found


def _holds(values: npt.NDArray[np.float64], rules: tuple[tuple[str, float], ...]) -> npt.NDArray[np.bool_]:
    from glasshouse.data.curation.rules import OPERATORS

    removed = np.zeros(len(values), np.bool_)
    for operator, threshold in rules:
        removed |= OPERATORS[operator](values, threshold)
    return removed


def _kept(signals: pa.RecordBatch, dialect: str) -> npt.NDArray[np.bool_]:
    kept: npt.NDArray[np.bool_] = signals.column(f"{dialect}_keep").to_numpy(zero_copy_only=False)
    return kept
