"""What-if curation: other rules on the signals of a finished corpus, in milliseconds.

Dolma's idea (arXiv 2402.00159, section 4) is that signals are computed once and thresholds are chosen later. Here the
choice itself is interactive: the verdict of every rule is one comparison of a column, so another set of rules over
100,000 documents costs less than a blink, and says what it would remove, where, and which rule does the work.

What the rules say is exact. What later stages would say about a document that they never saw is not known; see
`WhatIf.notes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from glasshouse.data.curation.rules import OPERATORS, Rule, RuleSet, SourceRules
from glasshouse.data.description.correlation import Patterns
from glasshouse.data.description.whatif_curve import Curve, curve
from glasshouse.data.description.whatif_rules import Key, UnknownRuleError, all_rules, key, rules_of
from glasshouse.data.description.whatif_table import RULES, Amount, Mask, SignalTable
from glasshouse.store.configuration import named_seed

MASKED = "pii (some masked)"
ANY = "any rule"


@dataclass(frozen=True)
class RuleEffect:
    """What one rule does: `removed` with whatever else removes the same documents, `alone` only by this rule."""

    rule: str
    signal: str
    operator: str
    threshold: float
    reason: str
    judged: int
    removed: Amount
    alone: Amount

    @property
    def remark(self) -> str:
        """A rule that never or always fires is hardly meant that way."""
        if self.judged == 0:
            return "applies to no source of this corpus"
        return {0: "never fires", self.judged: "always fires"}.get(self.removed.documents, "")


@dataclass(frozen=True)
class SourceEffect:
    """One source: what came in, what the corpus keeps, and what would be kept."""

    source: str
    input: Amount
    kept_as_made: Amount
    kept: Amount


@dataclass(frozen=True)
class Sample:
    """A document that changes sides, with the rules that decide about it now or did so."""

    id: str
    source: str
    rules: tuple[str, ...]
    excerpt: str


@dataclass(frozen=True)
class Correlation:
    """Pearson's correlation of the filters' verdicts; `None` where a filter never or always fires."""

    filters: list[str]
    documents: list[list[float | None]]
    bytes: list[list[float | None]] | None


@dataclass(frozen=True)
class WhatIf:
    """The answer to a question.

    Attributes:
        input, kept_as_made, kept: what came in, what the corpus keeps, what would be kept.
        removed_by_rules, removed_later: what the rules remove, and what they pass but a later stage has removed.
        newly_dropped, newly_kept: documents that change sides, with samples.
        duplicates_without_keeper: documents that pass all rules and were removed as repetitions, on account of others
            that would now be dropped.
        sources, rules: by source and by rule.
        correlation: how much the filters agree.
        notes: what is not known, in plain words.
    """

    input: Amount
    kept_as_made: Amount
    kept: Amount
    removed_by_rules: Amount
    removed_later: dict[str, Amount]
    newly_dropped: Amount
    newly_kept: Amount
    duplicates_without_keeper: int
    sources: list[SourceEffect]
    rules: list[RuleEffect]
    dropped_samples: list[Sample] = field(default_factory=list)
    kept_samples: list[Sample] = field(default_factory=list)
    correlation: Correlation | None = None
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain values; amounts are objects, and every rule carries its remark."""
        found: dict[str, Any] = _plain(asdict(self))
        for shown, effect in zip(found["rules"], self.rules, strict=True):
            shown["remark"] = effect.remark
        return found


class Verdicts:
    """The verdict of every rule on every document: `fires[rule]` is a mask `[documents]`.

    Args:
        table: the signals of a corpus.
        rules: what removes documents; those the corpus was made with by default.

    Raises:
        UnmeasuredSignalError: a rule is on a signal the corpus does not have.
        UnknownCurationError: no rules are given and the corpus does not name its own.
    """

    def __init__(self, table: SignalTable, rules: SourceRules | RuleSet | None = None) -> None:
        chosen = rules_of(table.corpus) if rules is None else rules
        self.rules = SourceRules(default=chosen) if isinstance(chosen, RuleSet) else chosen
        self.table = table
        self.fires: dict[Key, Mask] = {}
        self.applies: dict[Key, Mask] = {}
        self.by_key = {key(rule): rule for rule in all_rules(self.rules)}
        for name, rule in self.by_key.items():
            sources = [any(key(one) == name for one in self.rules.of(source).rules) for source in table.sources]
            self.applies[name] = np.array(sources, bool)[table.source_codes]
            holds = OPERATORS[rule.operator](table.column(rule.signal), rule.threshold)
            self.fires[name] = np.asarray(holds, bool) & self.applies[name]
        self.failures = np.zeros(len(table), np.int16)
        for mask in self.fires.values():
            self.failures += mask
        # Nothing is known of later stages about a document that failed the rules as made: it counts as kept by them.
        self.passed_later = table.kept | table.removed_by(RULES)

    @property
    def kept(self) -> Mask:
        """Documents that pass all rules, and that no later stage has removed."""
        return np.asarray((self.failures == 0) & self.passed_later)

    def alone(self, name: Key) -> Mask:
        """Documents that fail this rule and no other."""
        return np.asarray(self.fires[name] & (self.failures == 1))

    def failed(self, row: int) -> tuple[str, ...]:
        """Names of the rules a document fails."""
        return tuple(self.by_key[name].name for name, mask in self.fires.items() if mask[row])

    def curve(self, rule: str) -> Curve:
        """What would be kept at every threshold of the rule of that name. Raises `UnknownRuleError`, `NoCurveError`."""
        wanted = "".join(rule.split())
        for name, one in self.by_key.items():
            if one.name.replace(" ", "") == wanted:
                at_stake = ((self.failures - self.fires[name]) == 0) & self.passed_later
                return curve(one, self.table.column(one.signal), at_stake, self.applies[name], self.table.bytes)
        names = "; ".join(one.name for one in self.by_key.values()) or "none"
        raise UnknownRuleError(f"there is no rule {rule!r}; there are: {names}")

    def correlation(self) -> Correlation:
        """The correlation of all rules, of masking, and of every later stage that removed something."""
        named: dict[str, Mask] = {ANY: self.failures > 0}
        named |= {self.by_key[name].name: mask for name, mask in self.fires.items()}
        if self.table.has("masked_spans"):
            named[MASKED] = self.table.column("masked_spans") > 0
        named |= {stage: self.table.removed_by(stage) for stage in self.table.later_stages}
        patterns, sizes = Patterns(list(named.values())), self.table.bytes
        by_bytes = None if sizes is None else _rounded(patterns.correlations(sizes))
        return Correlation(list(named), _rounded(patterns.correlations()), by_bytes)


def what_if(
    table: SignalTable, rules: SourceRules | RuleSet | None = None, *, samples: int = 3, seed: int = 0,
    correlation: bool = True,
) -> WhatIf:  # fmt: skip
    """What a corpus would keep under other rules.

    Args:
        table: the signals of the corpus.
        rules: what would remove documents (`whatif_rules.changed_rules` makes them); those of the corpus by default.
        samples: how many documents that change sides are shown, of each kind.
        seed: of the choice of samples.
        correlation: whether to say how much the filters agree.

    Raises what `Verdicts` does, and `DamagedCorpusError` when files contradict each other.
    """
    verdicts = Verdicts(table, rules)
    passes, kept = verdicts.failures == 0, verdicts.kept
    dropped, gained = table.kept & ~kept, kept & ~table.kept
    everything = np.ones(len(table), bool)
    orphans = int(np.count_nonzero(loose_duplicates(table, passes)))
    before, made, after = (table.by_source(mask) for mask in (everything, table.kept, kept))
    return WhatIf(
        input=table.amount(everything),
        kept_as_made=table.amount(table.kept),
        kept=table.amount(kept),
        removed_by_rules=table.amount(~passes),
        removed_later={stage: table.amount(table.removed_by(stage) & passes) for stage in table.later_stages},
        newly_dropped=table.amount(dropped),
        newly_kept=table.amount(gained),
        duplicates_without_keeper=orphans,
        sources=[SourceEffect(*row) for row in zip(table.sources, before, made, after, strict=True)],
        rules=[_effect(verdicts, name, rule) for name, rule in verdicts.by_key.items()],
        dropped_samples=_dropped(verdicts, _drawn(dropped, samples, seed)),
        kept_samples=_gained(verdicts, _drawn(gained, samples, seed)),
        correlation=verdicts.correlation() if correlation else None,
        notes=_notes(table, int(np.count_nonzero(gained)), orphans),
    )


def _effect(verdicts: Verdicts, name: Key, rule: Rule) -> RuleEffect:
    judged = int(np.count_nonzero(verdicts.applies[name]))
    removed, alone = verdicts.table.amount(verdicts.fires[name]), verdicts.table.amount(verdicts.alone(name))
    return RuleEffect(rule.name, rule.signal, rule.operator, rule.threshold, rule.reason, judged, removed, alone)


def _drawn(mask: Mask, most: int, seed: int) -> npt.NDArray[np.int64]:
    rows = np.flatnonzero(mask)
    if len(rows) <= most:
        return rows
    draw = np.random.default_rng(named_seed(seed, "what-if samples"))
    return np.sort(draw.choice(rows, most, replace=False))


def _dropped(verdicts: Verdicts, rows: npt.NDArray[np.int64]) -> list[Sample]:
    texts = verdicts.table.kept_excerpts(rows.tolist())
    named = zip(rows.tolist(), verdicts.table.identities(rows), texts, strict=True)
    return [Sample(*identity, verdicts.failed(row), text) for row, identity, text in named]


def _gained(verdicts: Verdicts, rows: npt.NDArray[np.int64]) -> list[Sample]:
    if not len(rows):
        return []
    reasons: dict[tuple[str, str], list[str]] = {}
    table, wanted = verdicts.table.corpus.removed(), verdicts.table.identities(rows)
    only = pc.is_in(table.column("id"), pa.array([name for name, _ in wanted], pa.string()))
    for row in table.filter(only).to_pylist():
        reasons.setdefault((row["id"], row["source"]), []).append(row["rule"])
    texts = verdicts.table.removed_excerpts(rows)
    return [Sample(*name, tuple(reasons.get(name, ())), text) for name, text in zip(wanted, texts, strict=True)]


def loose_duplicates(table: SignalTable, passes: Mask) -> Mask:
    """Documents that pass the rules, and whose removal as repetitions depended on documents that do not.

    A near duplicate may have been linked to its keeper by others of its group, and pieces of a document may have been
    cut because any earlier document held them.

    Args:
        passes: `[documents]` that pass all rules.
    """
    loose = np.zeros(len(table), bool)
    rows, keepers, near = table.duplicates
    broken = np.zeros(len(table), bool)
    broken[keepers[~passes[keepers]]] = True
    broken[keepers[near & ~passes[rows]]] = True
    loose[rows[broken[keepers]]] = True
    if np.any(~passes & ~table.removed_by(RULES)):
        cut = np.zeros(len(table), bool)
        for stage in table.later_stages:
            cut |= table.removed_by(stage) if stage != "pii" else False
        cut[rows] = False
        loose |= cut
    return loose & passes


def _notes(table: SignalTable, gained: int, orphans: int) -> list[str]:
    notes = []
    later = table.corpus.summary.get("curation", {})
    stages = [*(["pii"] if later.get("mask") else []), *(str(m.get("name", "?")) for m in later.get("deduplicate", []))]
    if gained and stages:
        notes.append(
            f"{gained:,} newly kept documents failed a rule when the corpus was made, so {', '.join(stages)} never saw "
            "them: some would be removed there, and the kept figures are upper bounds by as much"
        )
    if orphans:
        notes.append(
            f"{orphans:,} documents that pass these rules were removed as repetitions of documents that would now be "
            "dropped: some would take their place; the kept figures leave them out"
        )
    if table.later_stages:
        notes.append(
            "later stages judge only what the rules as made let pass, so their correlation with those rules is "
            "negative or zero by construction"
        )
    return notes


def _rounded(matrix: npt.NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else round(float(value), 6) for value in row] for row in matrix]


def _plain(value: Any) -> Any:
    if isinstance(value, Amount):
        return value._asdict()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def rules_only(rules: Sequence[Rule]) -> SourceRules:
    """These rules for every source, and no others."""
    return SourceRules(default=RuleSet(name="asked for", rules=tuple(rules)))
