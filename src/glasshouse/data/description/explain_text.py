"""An explanation as text for a terminal."""

from __future__ import annotations

from typing import Any

from glasshouse.data.corpus import KEPT
from glasshouse.data.description.explain import QUARANTINED, Explanation


def explanation_text(found: Explanation) -> str:
    """What is known about a document, in lines; what decided first, all signals last."""
    lines = [f"{printable(found.id)}  ({printable(found.source) or 'no source'})", f"verdict: {_verdict(found)}"]
    if found.origin is not None:
        lines.append(f"from {printable(found.location)}, bytes {found.origin['start']:,} to {found.origin['end']:,}")
    elif found.verdict != QUARANTINED:
        lines.append("where it came from is recorded for kept documents only")
    if found.place:
        lines.append(f"kept in {found.place}")
    for record in found.quarantine:
        lines.append(f"quarantine: {printable(str(record['reason']))}: {printable(str(record['message']))} "
                     f"({printable(str(record['file']))}, line {record['line']})")  # fmt: skip
    for link in found.duplicates:
        at = f"kept in {link.place}" if link.place else f"itself removed: {printable(link.verdict)}"
        lines.append(f"duplicate of {printable(link.id)} ({printable(link.source)}), {at}")
    if found.masked_spans:
        kinds = ", ".join(f"{count} {kind}" for kind, count in found.masked.items())
        lines.append(
            f"masked: {found.masked_spans} spans of personal information {f'({kinds})' if kinds else ''}".rstrip()
        )
    if found.rules:
        lines += ["", "rules of its source (it is removed where one holds):"]
        width = max(len(check.rule) for check in found.rules)
        for check in sorted(found.rules, key=lambda check: not check.fired):
            mark = "FIRED " if check.fired else "passed"
            lines.append(f"  {mark}  {check.rule:<{width}}  value {number(check.value):>10}  {check.reason}")
    if found.signals:
        lines += ["", "signals:"]
        width = max(len(signal.name) for signal in found.signals)
        for signal in found.signals:
            lines.append(f"  {signal.name:<{width}}  {number(signal.value):>10}  {signal.doc}")
    if found.excerpt:
        lines += ["", "text:", *(f"  {printable(line)}" for line in found.excerpt.splitlines())]
    return "\n".join(lines)


def number(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"
    if isinstance(value, list):
        return f"{len(value)} spans"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def printable(text: str) -> str:
    """Text of unknown origin without control characters, which could move a terminal's cursor or its colours."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _verdict(found: Explanation) -> str:
    if found.verdict == KEPT:
        return "kept"
    if found.verdict == QUARANTINED:
        return "never became a document: quarantined"
    why = "; ".join(
        f"{removal.rule} (value {number(removal.value)})" if removal.value is not None else removal.rule
        for removal in found.removals
    )
    return f"removed by {printable(found.verdict)}" + (f": {printable(why)}" if why else "")
