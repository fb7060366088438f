"""PDTB-3 as the LDC ships it: `gold/SS/wsj_SSNN` with a relation to a line, and `raw/SS/wsj_SSNN` with the text.

A line has fields between `|`. Read are the kind (0), the senses of the first and second connective (8, 9, 11, 12), and
the places of the arguments in the raw text (14 and 20), as `from..to`, several with `;` between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from glasshouse.evaluation.context.discourse.relations import Relation, Sense, top_sense
from glasshouse.evaluation.context.sources import DataError, missing, require_folder

_SENSES = (8, 9, 11, 12)
_FIRST, _SECOND = 14, 20
TEST_SECTIONS = ("23",)
"""What PDTB models are tested on since Rutherford & Xue; others take 21 and 22 (Ji & Eisenstein)."""


def read_pdtb(
    folder: str | Path, kind: str = "implicit", sections: tuple[str, ...] | None = TEST_SECTIONS
) -> list[Relation]:
    """The relations of one kind.

    Args:
        folder: holds `gold` and `raw`.
        sections: folders below `gold` to be read; `None`: all files, also those not in a section.

    Raises:
        DataError: the folder is not there, a text is missing, or a line does not have the form.
    """
    home = require_folder("pdtb", folder)
    files = sorted(path for path in (home / "gold").rglob("*") if path.is_file())
    files = [file for file in files if sections is None or file.parent.name in sections]
    if not files:
        raise missing("pdtb", home)
    return [relation for file in files for relation in _relations(file, home, kind.lower())]


def _relations(file: Path, home: Path, kind: str) -> Iterator[Relation]:
    raw = home / "raw" / file.relative_to(home / "gold")
    raw = raw if raw.is_file() else raw.with_suffix(".txt")
    if not raw.is_file():
        raise DataError(f"{file} has no text beside it: {raw} is missing")
    text = _text(raw)
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        fields = line.split("|")
        if fields[0].lower() != kind:
            continue
        try:
            senses = tuple(dict.fromkeys(_senses(fields)))
            first, second = (_span(text, fields[place]) for place in (_FIRST, _SECOND))
        except (IndexError, ValueError) as error:
            raise DataError(f"{file}, line {number}: not a relation of PDTB-3 ({error})") from error
        if senses:
            yield Relation(f"{file.stem}-{number}", first, second, senses, file.stem)


def _text(raw: Path) -> str:
    """The LDC's texts are in Latin-1 where they are not ASCII; those of GUM in UTF-8. Places count characters."""
    try:
        return raw.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return raw.read_bytes().decode("latin-1")


def _senses(fields: list[str]) -> Iterator[Sense]:
    for place in _SENSES:
        if fields[place].strip():
            yield top_sense(fields[place])


def _span(text: str, places: str) -> str:
    parts = []
    for place in places.split(";"):
        start, _, end = place.partition("..")
        parts.append(" ".join(text[int(start) : int(end)].split()))
    return " ... ".join(parts)
