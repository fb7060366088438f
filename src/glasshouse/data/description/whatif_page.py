"""One self-contained page about the rules of a corpus: a slider per rule, and what is kept, recomputed in the browser.

Every document is one byte per rule: the number of the first (or last) stop of that rule's slider at which it is
removed. So the counts are exact at every stop, and moving a slider costs one pass over bytes. The stops are observed
values, spread evenly through the documents, and the present thresholds.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from glasshouse.data.curation.rules import Rule
from glasshouse.data.description.whatif import Verdicts, WhatIf
from glasshouse.data.description.whatif_rules import UnknownCurationError, rules_of
from glasshouse.data.description.whatif_table import Mask, SignalTable

STOPS = 254
MOST_DOCUMENTS = 200_000


@dataclass(frozen=True)
class _Row:
    """A rule of the page: as it is asked for and as the corpus was made (`None` where it is not in force)."""

    rule: Rule
    applies: Mask
    asked: float | None
    made: float | None


def whatif_page(verdicts: Verdicts, answer: WhatIf, title: str, most_documents: int = MOST_DOCUMENTS) -> str:
    """The page as HTML text; nothing in it is fetched from anywhere.

    Args:
        verdicts: the rules asked about, on the signals of a corpus.
        answer: what `what_if` says about the same rules: samples, correlation and notes.
        title: what the corpus is called.
        most_documents: of a larger corpus, so many documents, evenly spaced, are on the page, which says so.
    """
    table = verdicts.table
    rows = np.arange(len(table))
    if len(table) > most_documents:
        rows = np.linspace(0, len(table) - 1, most_documents).round().astype(np.int64)
    data: dict[str, Any] = {
        "documents": len(rows),
        "all": len(table),
        "sources": table.sources,
        "source": _packed(table.source_codes[rows], "<u2" if len(table.sources) < 2**16 else "<u4"),
        "wide": len(table.sources) >= 2**16,
        "passed": _packed(verdicts.passed_later[rows], "u1"),
        "kept": _packed(table.kept[rows], "u1"),
        "bytes": None if table.bytes is None else _packed(np.minimum(table.bytes[rows], 2**32 - 1), "<u4"),
        "words": None if table.words is None else _packed(np.minimum(table.words[rows], 2**32 - 1), "<u4"),
        "rules": [_rule(table, row, rows) for row in _union(verdicts)],
        "answer": answer.as_json() | {"rules": [], "sources": []},
    }
    page = (files("glasshouse.data.description") / "whatif.html").read_text(encoding="utf-8")
    return page.replace("{{title}}", escape(title)).replace("{{data}}", script_json(data))


def script_json(value: Any) -> str:
    """JSON that is safe inside a `<script>` element: no text of a document can end the element or start another."""
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _union(verdicts: Verdicts) -> list[_Row]:
    """The rules asked for beside those of the corpus: the same rule, or the one on the same signal that it replaces."""
    try:
        made = Verdicts(verdicts.table, rules_of(verdicts.table.corpus))
    except UnknownCurationError:
        made = verdicts
    left = {name: rule for name, rule in made.by_key.items() if name not in verdicts.by_key}
    found = []
    for name, rule in verdicts.by_key.items():
        before = rule.threshold if name in made.by_key else None
        applies = verdicts.applies[name]
        if before is None:
            twin = next((other for other in left if other[:2] == name[:2]), None)
            if twin is not None and np.array_equal(made.applies[twin], applies):
                before = left.pop(twin).threshold
        found.append(_Row(rule, applies, rule.threshold, before))
    found += [_Row(rule, made.applies[name], None, rule.threshold) for name, rule in left.items()]
    return [row for row in found if row.applies.any()]


def _rule(table: SignalTable, row: _Row, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    values, applies = table.column(row.rule.signal), row.applies
    stops = _stops(values[applies], row)
    judged, operator = applies[rows] & ~np.isnan(values[rows]), row.rule.operator
    shown = values[rows]
    if operator in ("==", "!="):
        low, fires = True, (shown == stops[0]) if operator == "==" else (shown != stops[0])
        judged |= applies[rows] & (operator == "!=")  # a missing value differs from every number
        place = np.where(fires & judged, 0, 255)
    else:
        low = operator in ("<", "<=")
        place = np.searchsorted(stops, shown, side="right" if operator in ("<", ">=") else "left")
        place = np.where(judged, place, 255 if low else 0)
    return {
        "signal": row.rule.signal,
        "operator": operator,
        "reason": row.rule.reason,
        "low": low,
        "stops": stops.tolist(),
        "asked": None if row.asked is None else int(np.searchsorted(stops, row.asked)),
        "made": None if row.made is None else int(np.searchsorted(stops, row.made)),
        "bins": _packed(place, "u1"),
    }


def _stops(values: npt.NDArray[np.float64], row: _Row) -> npt.NDArray[np.float64]:
    """Where the slider can stand: at most `STOPS` observed values, the thresholds always among them."""
    given = [threshold for threshold in (row.asked, row.made) if threshold is not None]
    if row.rule.operator in ("==", "!="):
        return np.array(given[:1])
    ranked = np.sort(values[~np.isnan(values)])
    distinct = np.unique(ranked)
    if len(distinct) > STOPS - 2:
        # Half evenly through the documents, half evenly through the distinct values: rare values get stops, too.
        half = (STOPS - 2) // 2
        by_document = ranked[np.linspace(0, len(ranked) - 1, half).round().astype(int)]
        by_value = distinct[np.linspace(0, len(distinct) - 1, half).round().astype(int)]
        distinct = np.unique(np.concatenate([by_document, by_value]))
    return np.unique(np.concatenate([distinct, given]))


def _packed(values: npt.NDArray[Any], dtype: str) -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode()
