"""Signals of source code after StarCoder (Li et al., arXiv 2305.06161), as Dolma's `code_starcoder_taggers_v2`.

Dolma (arXiv 2402.00159, section 6; datasheet N.4) drops XML templates, HTML with 20 % or less shown text, Python, Java
and JavaScript with 1 % or less or more than 80 % comments, and strips copyright notices at the head.

Deliberate deviations: comments are counted by small lexers (`starcoder_kernel`) in place of `ast`, `tokenize` and
Pygments, so that code that does not parse (Python 2, templates) has a ratio too, where Dolma counts its docstrings as
none; shown text by a scanner in place of BeautifulSoup. The span of a leading comment block ends where the block does;
Dolma leaves the line ends out of its sum, so its span stops that much short.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glasshouse.data.document import strings, text_buffers
from glasshouse.data.signals.signal import Signal, count, flag, measure, spans
from glasshouse.data.signals.span_columns import character_counts, metadata_of, span_column
from glasshouse.store.configuration import Config

_CITATION = "arXiv 2305.06161; Dolma code_starcoder_taggers_v2"
LANGUAGES = {
    "py": "python", "pyi": "python", "pyw": "python", "java": "java", "js": "javascript", "mjs": "javascript",
    "cjs": "javascript", "jsx": "javascript", "html": "html", "htm": "html", "xhtml": "html",
}  # fmt: skip
"""Extension -> language, of those that are measured."""

NEUTRAL_COMMENTS, NEUTRAL_TEXT, LEAST_TEXT = 0.5, 1.0, 100
_TEMPLATE = "<?xml version="
_COPYRIGHT = re.compile("copyright", re.IGNORECASE)
_COMMENT_LINES = ("//", "#", "--")


class StarCoder(Config):
    """XML templates, stars, comments, shown text, and the copyright notice."""

    name: Literal["starcoder"] = "starcoder"

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (
            flag("has_xml_template", "'<?xml version=' is in the first 100 characters", _CITATION),
            count("github_stars", "number", "metadata.max_stars_count; 0 where it is not given", _CITATION),
            measure(
                "comment_ratio",
                "share",
                "characters of comments and docstrings / all, in Python, Java and JavaScript; 0.5 elsewhere",
                _CITATION,
            ),
            measure(
                "html_text_ratio",
                "share",
                "characters of shown text / all, in HTML (0 up to 100 characters of text); 1 elsewhere",
                _CITATION,
            ),
            spans("copyright_spans", "the copyright notice or comment block at the head", "code_copyright_comments_v1"),
            measure(
                "copyright_fraction", "share", "characters of the copyright span / all", "code_copyright_comments_v1"
            ),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        texts, about = strings(batch, "text"), metadata_of(batch, '"ext"', '"max_stars_count"')
        languages = [_language(one, name) for one, name in zip(about, strings(batch, "id"), strict=True)]
        comments, shown = _ratios(batch, languages)
        notices = [(row, *span) for row, text in enumerate(texts) if (span := copyright_span(text)) is not None]
        flat = np.array(notices, np.int64).reshape(-1, 3)
        fractions = np.zeros(len(texts))
        for row, start, end in notices:
            fractions[row] = (end - start) / len(texts[row])
        return [
            pa.array([_TEMPLATE in text[:100] for text in texts], pa.bool_()),
            pa.array([_stars(one) for one in about], pa.int64()),
            pa.array(comments),
            pa.array(shown),
            span_column(len(texts), flat[:, 0], flat[:, 1], flat[:, 2]),
            pa.array(fractions),
        ]


def copyright_span(text: str) -> tuple[int, int] | None:
    """Characters of the copyright notice: the first `/* */` comment if it says "copyright", else, in a text without
    such comments, the lines at the head that are empty or comments (`//`, `#`, `--`).
    """
    opening = text.find("/*")
    closing = text.find("*/", opening + 2) if opening >= 0 else -1
    if closing >= 0:
        return (opening, closing + 2) if _COPYRIGHT.search(text, opening, closing + 2) else None
    end = 0
    while end < len(text):
        line_end = text.find("\n", end)
        stop = len(text) if line_end < 0 else line_end
        if stop > end and not text.startswith(_COMMENT_LINES, end):
            break
        end = min(stop + 1, len(text))
    return (0, end) if end > 0 else None


def strip_copyright(text: str) -> str:
    """`text` without its copyright notice (`copyright_span`)."""
    span = copyright_span(text)
    return text if span is None else text[: span[0]] + text[span[1] :]


def _language(about: dict[str, Any], identifier: str) -> str:
    extension = about.get("ext")
    if not isinstance(extension, str):
        extension = identifier.rsplit("/", 1)[-1].rpartition(".")[2]
    return LANGUAGES.get(extension.lower().removeprefix("."), "")


def _stars(about: dict[str, Any]) -> int:
    stars = about.get("max_stars_count")
    return int(stars) if isinstance(stars, int | float) and stars > 0 else 0


def _ratios(batch: pa.RecordBatch, languages: list[str]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    from glasshouse.data.signals import starcoder_kernel as kernel

    offsets, data = text_buffers(batch)
    characters = character_counts(batch)
    comments = np.full(len(languages), NEUTRAL_COMMENTS)
    shown = np.full(len(languages), NEUTRAL_TEXT)
    codes = {"python": kernel.PYTHON, "java": kernel.JAVA, "javascript": kernel.JAVASCRIPT}
    for row, language in enumerate(languages):
        start, end, size = offsets[row], offsets[row + 1], max(int(characters[row]), 1)
        if language in codes:
            comments[row] = kernel.comment_characters(data, start, end, codes[language]) / size
        elif language == "html":
            text = kernel.shown_characters(data, start, end)
            shown[row] = text / size if text > LEAST_TEXT else 0.0
    return comments, shown
