"""Licences that a document states: Creative Commons links in its page, SPDX identifiers in its source, its metadata.

Creative Commons as in Dolma's `cc_re` tagger (an `a`, `link` or `meta` whose address is a licence of
creativecommons.org), SPDX as the SPDX specification 2.3, annex E, has it (`SPDX-License-Identifier: MIT`).
Deviations from Dolma: labels are SPDX identifiers (`CC-BY-SA-4.0`); the order of parts in a licence's address is free
(`by-nd-nc`); `link` counts, and so do single quotes and `//creativecommons.org`; and the search takes linear time,
where Dolma's pattern backtracks over every tag.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import pyarrow as pa

from glasshouse.data.document import strings
from glasshouse.data.signals.signal import Signal, count, label, measure
from glasshouse.data.signals.span_columns import metadata_of
from glasshouse.store.configuration import Config

_CITATION = "Dolma cc_re; SPDX 2.3, annex E"
_TAG_CHARACTERS = 2000
_SITE = "creativecommons.org/"
_ADDRESS = re.compile(
    r"creativecommons\.org/(?:licenses/(?P<parts>[a-z]{2,8}(?:-[a-z]{2}){0,3})"
    r"|publicdomain/(?P<public>zero|mark|certification))(?:/(?P<version>[0-9]\.[0-9]))?(?![\w.-]*\.\w)"
)
_OPENING = re.compile(
    r"<(?:a|link|meta|area)\s[^<>]{0,2000}?\b(?:href|content|resource)\s*=\s*[\"']?\s*(?:https?:)?//(?:www\.)?\Z", re.I
)
_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]{0,8}([A-Za-z0-9.+() -]{1,200})")
_PUBLIC = {"zero": "CC0", "mark": "CC-PDM", "certification": "CC-PDDC"}
_ORDER = {"by": 0, "nc": 1, "nd": 2, "sa": 3}
_DECLARED = ("license", "licence", "max_stars_repo_licenses", "licenses")


class Licence(Config):
    """The licence found in the page (`metadata.html`, else the text), and the one the metadata declare."""

    name: Literal["licence"] = "licence"

    @property
    def signals(self) -> tuple[Signal, ...]:
        return (
            label("licence", "first licence the document states, as an SPDX identifier; empty: none", _CITATION),
            count("licence_count", "occurrences", "different licences the document states", _CITATION),
            measure(
                "licence_confidence", "score", "0.5 + 0.5 / mentions, as Dolma scores the last one; 0: none", _CITATION
            ),
            label("licence_declared", "licence in the metadata (license, max_stars_repo_licenses)", _CITATION),
        )

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        found = []
        declared = []
        for text, about in zip(strings(batch, "text"), metadata_of(batch, '"html"', *_DECLARED), strict=True):
            html = about.get("html")
            found.append(licences(html if isinstance(html, str) else text))
            declared.append(_declared(about))
        return [
            pa.array([of[0] if of else "" for of in found], pa.string()),
            pa.array([len(set(of)) for of in found], pa.int64()),
            pa.array([0.5 + 0.5 / len(of) if of else 0.0 for of in found], pa.float64()),
            pa.array(declared, pa.string()),
        ]


def licences(text: str) -> list[str]:
    """Every licence a text states, in order of place: Creative Commons links, then SPDX identifiers."""
    found = [_named(match) for match in _links(text)] if _SITE in text else []
    if "SPDX-License-Identifier" in text:
        found += [re.sub(r"\s+", " ", match[1]).strip() for match in _SPDX.finditer(text)]
    return [name for name in found if name]


def _links(text: str) -> list[re.Match[str]]:
    found = []
    for match in _ADDRESS.finditer(text):
        # The tag must be open here: its `<` is near, and no `>` lies between.
        opening = text.rfind("<", max(0, match.start() - _TAG_CHARACTERS), match.start())
        if opening >= 0 and _OPENING.match(text[opening : match.start()]):
            found.append(match)
    return found


def _named(match: re.Match[str]) -> str:
    version = f"-{match['version']}" if match["version"] else ""
    if match["public"]:
        return _PUBLIC[match["public"]] + version
    parts = match["parts"].split("-")
    if parts == ["publicdomain"] or any(part not in _ORDER for part in parts):
        return ""
    return "-".join(["CC", *(part.upper() for part in sorted(set(parts), key=_ORDER.__getitem__))]) + version


def _declared(about: dict[str, Any]) -> str:
    for name in _DECLARED:
        value = about.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return " OR ".join(value)
    return ""
