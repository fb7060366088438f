"""What a mixture's run did: books that add up, shares reached, and rules that did nothing or everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from glasshouse.data.mixing.checking import Warning
from glasshouse.data.mixing.mixture import Mixture, Stream

if TYPE_CHECKING:
    from glasshouse.data.mixing.job import Task

SHARE_TOLERANCE = 0.01


@dataclass(frozen=True)
class RuleCount:
    """A rule and the number of documents it matched."""

    side: str
    rule: str
    matched: int


@dataclass(frozen=True)
class StreamSummary:
    """The books of one stream.

    `rows == quarantined + not_included + excluded + too_short + not_sampled + kept`; `documents` and `bytes` count
    every copy that was written, `share` is that of the bytes of the mixture.
    """

    name: str
    rows: int
    quarantined: int
    not_included: int
    excluded: int
    too_short: int
    not_sampled: int
    kept: int
    documents: int
    bytes: int
    repeat: float
    share: float
    rules: list[RuleCount] = field(default_factory=list)
    replaced: dict[str, int] = field(default_factory=dict)
    overlapping: int = 0


@dataclass(frozen=True)
class MixSummary:
    """What `mix` did. Shares are of bytes of UTF-8 text."""

    mixture: str
    rows: int
    quarantined: int
    documents: int
    bytes: int
    streams: list[StreamSummary]
    files: list[str]
    quarantine_reasons: dict[str, int]
    warnings: list[Warning]

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return asdict(self) | {"warnings": [warning._asdict() for warning in self.warnings]}


def summarise(
    mixture: Mixture,
    repeats: Sequence[float],
    tasks: Sequence[Task],
    receipts: Sequence[dict[str, Any]],
    files: list[str],
    warnings: list[Warning],
) -> MixSummary:
    """Adds up the receipts of the tasks, and warns of what they show."""
    whole = sum(said["bytes"] for said in receipts)
    streams, found = [], list(warnings)
    for number, stream in enumerate(mixture.streams):
        said = [receipt for task, receipt in zip(tasks, receipts, strict=True) if task.number == number]
        streams.append(_stream(stream, repeats[number], said, whole))
        found += _share(mixture, stream, streams[-1])
        found += _after(stream, streams[-1], said, {warning.rule for warning in warnings})
    reasons: Counter[str] = Counter()
    for receipt in receipts:
        reasons.update(receipt["quarantine_reasons"])
    return MixSummary(
        mixture.fingerprint(), sum(s.rows for s in streams), sum(s.quarantined for s in streams),
        sum(s.documents for s in streams), whole, streams, files, dict(reasons), found,
    )  # fmt: skip


def _stream(stream: Stream, repeat: float, said: list[dict[str, Any]], whole: int) -> StreamSummary:
    def total(name: str) -> int:
        return sum(receipt[name] for receipt in said)

    matched = [sum(column) for column in zip(*(receipt["matched"] for receipt in said), strict=True)]
    replaced = [sum(column) for column in zip(*(receipt["replaced"] for receipt in said), strict=True)]
    rules = [RuleCount(*rule, count) for rule, count in zip(stream.filter.rules, matched, strict=True)]
    spans: Counter[str] = Counter()
    for rule, count in zip(stream.replace, replaced, strict=True):
        spans[rule.spans] += count
    names = (
        "rows",
        "quarantined",
        "not_included",
        "excluded",
        "too_short",
        "not_sampled",
        "kept",
        "documents",
        "bytes",
    )
    counts = {name: total(name) for name in names}
    share = counts["bytes"] / whole if whole else 0.0
    return StreamSummary(
        stream.name, **counts, repeat=repeat, share=share, rules=rules, replaced=dict(spans),
        overlapping=total("overlapping"),
    )  # fmt: skip


def _share(mixture: Mixture, stream: Stream, counts: StreamSummary) -> list[Warning]:
    """A share of bytes that was missed: a document is taken whole, and large ones are a large part of small corpora."""
    wanted = mixture.weights.get(stream.name, 0.0) / (sum(mixture.weights.values()) or 1.0)
    if not mixture.weights or mixture.weigh_by != "bytes" or abs(counts.share - wanted) < SHARE_TOLERANCE:
        return []
    message = f"stream {stream.name!r} has {100 * counts.share:.1f} % of the bytes, {100 * wanted:.1f} % were wanted: "
    return [Warning("share_missed", stream.name, message + "its documents are too large for so small a result")]


def _after(stream: Stream, counts: StreamSummary, said: list[dict[str, Any]], told: set[str]) -> list[Warning]:
    """Rules that matched nothing or everything, columns without a value, values of another type."""
    found = []
    decided = counts.rows - counts.quarantined
    for rule in counts.rules:
        if decided and rule.matched in (0, decided):
            kind, word = ("matched_none", "no") if not rule.matched else ("matched_all", "every")
            message = f"stream {stream.name!r}: {rule.side} rule matched {word} document of {decided:,}: {rule.rule}"
            found.append(Warning(kind, rule.rule, message))  # type: ignore[arg-type]
    present: Counter[str] = Counter()
    mistyped: Counter[str] = Counter()
    for receipt in said:
        present.update(receipt["present"])
        mistyped.update(receipt["mistyped"])
    for name in present:
        if decided and not present[name] and name not in told:
            message = f"stream {stream.name!r}: column {name!r} has a value in none of {decided:,} documents"
            found.append(Warning("never_present", name, message))
    for name, count in mistyped.items():
        message = f"stream {stream.name!r}: column {name!r} has {count:,} values of another type than is compared"
        found.append(Warning("mistyped", name, message))
    return found
