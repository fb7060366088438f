"""Dolma's mixing files read as mixtures, with a report of the rules in them that do nothing.

Every mixing file published with Dolma v1.5 and v1.6 that tests the most common n-gram misspells it (`…_2gram`, the
tagger writes `…_2grams`), and Dolma's mixer says nothing about a key that no document has. Here such a rule is a
finding, and `fix` puts the right spelling in its place.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from glasshouse.data.mixing.checking import ANY, UnreachableRuleError, check
from glasshouse.data.mixing.dolma_filters import DolmaFilterError, from_jq, from_jsonpath, spans_column
from glasshouse.data.mixing.expression import Comparison, Expression, atoms, columns, render, usages, with_columns
from glasshouse.data.mixing.filters import Filter
from glasshouse.data.mixing.mixture import Form, Mixture, MixtureError, Stream, read_settings
from glasshouse.data.mixing.spans import SpanReplacement
from glasshouse.data.signals.signal import Signal
from glasshouse.data.sources.attributes import DOLMA_NAMES, column_name

FindingKind = Literal[
    "misspelt",
    "set_not_read",
    "broken_path",
    "whole_number",
    "unreachable",
    "always",
    "span_as_number",
    "not_understood",
    "ignored",
]
DEAD: tuple[FindingKind, ...] = ("misspelt", "set_not_read", "unreachable", "span_as_number")
_STREAM = ("name", "documents", "attributes", "output", "filter", "span_replacement", "compression")
_OUTPUT = ("path", "max_size_in_bytes", "discard_fields", "min_text_length")
_TOP = ("streams", "work_dir", "processes", "dryrun", "shuffle")

TAGGERS: dict[str, tuple[str, ...]] = {
    "gopher_v1": tuple(name.partition("__")[2] for name in DOLMA_NAMES.values() if name.startswith("gopher_v1__")),
    "c4_v1": (
        "has_naughty_word", "has_javascript", "has_lorem_ipsum", "has_curly_brace", "line_count",
        "lines_with_no_ending_punctuation", "lines_with_too_few_words",
    ),
    "pii_regex_with_counts_fast_v2": ("EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS", "doc_count", "doc_frac"),
    "random_number_v1": ("random",),
    "code_redpajama_taggers_v1": (
        "max_line_length_doc", "avg_line_length_doc", "alnum_prop_doc", "alpha_token_prop_doc",
    ),
}  # fmt: skip
"""What Dolma 1.2.1's taggers write, as far as it is checked here: tagger -> types."""
TAGGERS |= {"gopher_v2": TAGGERS["gopher_v1"], "c4_v2": TAGGERS["c4_v1"]}


class DolmaImportError(MixtureError):
    """A file that is no mixing file of Dolma's, or one that needs what a mixture does not have."""


class Finding(NamedTuple):
    """Something about a rule of an imported file.

    Attributes:
        kind: in `DEAD` the rule cannot fire; "not_understood" it was left out, and the mixture must not be used.
        stream: name of the stream.
        rule: as it is written in the file.
        message: what is wrong, and what to do.
        fixed: whether the mixture has it put right.
    """

    kind: FindingKind
    stream: str
    rule: str
    message: str
    fixed: bool = False

    @property
    def dead(self) -> bool:
        """Whether the rule, as it was written, cannot fire."""
        return self.kind in DEAD


class Imported(NamedTuple):
    """The mixture of a file, and what was found in it."""

    mixture: Mixture
    findings: list[Finding]


def import_dolma(path: str | Path, *, fix: bool = False) -> Imported:
    """Reads a mixing file of Dolma's (YAML or JSON).

    Args:
        path: the file. Its relative paths stay relative.
        fix: write misspelt keys right and read attribute sets that rules name and the stream does not read.

    Raises:
        DolmaImportError: it is no mixing file, or its streams differ in what is one setting of a mixture here.
        MixtureError: it is not readable.
    """
    settings = read_settings(path)
    if not isinstance(settings.get("streams"), list) or not settings["streams"]:
        raise DolmaImportError(f"{path} has no list 'streams': it is no mixing file of Dolma's")
    findings = [
        Finding("ignored", "", name, f"the setting {name!r} has no meaning here")
        for name in settings
        if name not in _TOP
    ]
    if settings.get("shuffle") is False:
        findings.append(
            Finding("ignored", "", "shuffle", "'shuffle: false' keeps Dolma's files apart; here they are cut by size")
        )
    streams, outputs = [], []
    for number, entry in enumerate(settings["streams"]):
        if not isinstance(entry, dict) or not isinstance(entry.get("documents"), list):
            raise DolmaImportError(f"{path}: stream {number} has no list 'documents'")
        importer = _StreamImport(entry, fix)
        streams.append(importer.stream())
        outputs.append(importer.output())
        findings += importer.findings
    if any(output != outputs[0] for output in outputs):
        raise DolmaImportError(
            f"{path}: its streams differ in size, form or fields of their output, which are one setting of a mixture: "
            "split the file"
        )
    return Imported(Mixture(streams=tuple(streams), **outputs[0]), findings)


class _StreamImport:
    def __init__(self, entry: dict[str, Any], fix: bool) -> None:
        self.entry, self.fix = entry, fix
        self.name = str(entry.get("name", "stream"))
        self.sets = [str(name) for name in entry.get("attributes") or []]
        self.findings: list[Finding] = []
        for field in entry:
            if field not in _STREAM:
                self.find("ignored", str(field), f"the field {field!r} of a stream has no meaning here")

    def find(self, kind: FindingKind, rule: str, message: str, fixed: bool = False) -> None:
        self.findings.append(Finding(kind, self.name, rule, message, fixed))

    def stream(self) -> Stream:
        rules = self.entry.get("filter") or {}
        jq = self.is_jq(rules)
        kept = {side: tuple(self.rules(rules.get(side) or [], jq)) for side in ("include", "exclude")}
        replace = tuple(self.replacements())
        documents, repeat = _documents([str(path) for path in self.entry["documents"]])
        least = (self.entry.get("output") or {}).get("min_text_length") or 0
        return Stream(
            name=re.sub(r"[^\w.-]", "_", self.name), documents=documents,
            attributes=tuple(self.below_attributes(name) for name in self.sets), filter=Filter(**kept),
            replace=replace, repeat=repeat, minimum_text_bytes=least, unknown="warning",
        )  # fmt: skip

    def is_jq(self, entry: dict[str, Any]) -> bool:
        syntax = entry.get("syntax") or "jsonpath"
        if syntax not in ("jsonpath", "jq"):
            raise DolmaImportError(f"stream {self.name!r}: there is no syntax {syntax!r}: jsonpath or jq")
        return bool(syntax == "jq")

    def below_attributes(self, name: str) -> str:
        """A set in a folder of a folder, `a/b`, as the directory that a stream here takes."""
        if "/" not in name:
            return name
        roots = {str(path).partition("/documents/")[0] for path in self.entry["documents"]}
        if len(roots) > 1:
            raise DolmaImportError(
                f"stream {self.name!r}: attributes {name!r} lie in {len(roots)} places: split the stream"
            )
        return f"{roots.pop()}/attributes/{name}"

    def output(self) -> dict[str, Any]:
        """What is a setting of the mixture here."""
        output = self.entry.get("output") or {}
        for field in output:
            if field not in _OUTPUT:
                self.find("ignored", str(field), f"the field {field!r} of an output has no meaning here")
        discard = [str(field) for field in output.get("discard_fields") or []]
        wanted = (self.entry.get("compression") or {}).get("output") or "gz"
        forms: dict[str, Form] = {"gz": "jsonl.gz", "zst": "jsonl.zst", "": "jsonl"}
        if wanted not in forms:
            raise DolmaImportError(f"stream {self.name!r}: compression {wanted!r} is not written here: use gz or zst")
        return {
            "form": forms[wanted],
            "maximum_shard_bytes": output.get("max_size_in_bytes") or 256 << 20,
            "keep_attributes": "attributes" not in discard,
            "discard": tuple(field for field in discard if field != "attributes"),
        }

    def rules(self, written: list[Any], jq: bool) -> Iterator[str]:
        for text in written:
            rule = " ".join(str(text).split())
            try:
                expression = from_jq(rule) if jq else from_jsonpath(rule)
            except DolmaFilterError as error:
                self.find("not_understood", rule, str(error))
                continue
            if rule.startswith("$@"):
                message = "'$@' is no JSONPath: Dolma 1.2.1 reads it as '$', other readers refuse it"
                self.find("broken_path", rule, message, fixed=True)
            if not jq and any(map(_whole, atoms(expression))):
                message = (
                    "to Dolma 1.2.1, 1 (as its de-duplication writes) and 1.0 are different numbers; here they are one"
                )
                self.find("whole_number", rule, message, fixed=True)
            renamed = self.renamed(expression, rule)
            self.reach(renamed, rule)
            yield renamed

    def renamed(self, expression: Expression, rule: str) -> str:
        right = {name: self.key(name, rule) for name in columns(expression)}
        for name, usage in usages(expression):
            if usage == "number" and name.count("__") >= 2:
                message = f"{name} is a list of spans: compared with a number it is never met; write {name}[0][2]"
                self.find("span_as_number", rule, message, fixed=True)
        return render(with_columns(expression, right) if self.fix else expression)

    def key(self, name: str, rule: str) -> str:
        """The right spelling of a key, with findings about its set and its spelling."""
        if name.startswith("metadata.") or name.count("__") < 2:
            return name
        experiment, tagger, kind = name.split("__", 2)
        if experiment not in {name.rpartition("/")[2] for name in self.sets}:
            message = (
                f"the stream reads no attribute set {experiment!r} (it reads {', '.join(self.sets) or 'none'}), "
                f"so no document has the key {name}"
            )
            self.find("set_not_read", rule, message, fixed=self.fix)
            if self.fix:
                self.sets.append(experiment)
        if tagger in TAGGERS and kind not in TAGGERS[tagger]:
            near = difflib.get_close_matches(kind, TAGGERS[tagger], n=1, cutoff=0.6)
            right = f"{experiment}__{tagger}__{near[0]}" if near else name
            hint = f"did you mean {near[0]!r}?" if near else f"it writes {', '.join(TAGGERS[tagger])}"
            self.find(
                "misspelt", rule, f"{tagger} writes no {kind!r}: the rule never fires; {hint}", self.fix and bool(near)
            )
            return right
        return name

    def reach(self, text: str, rule: str) -> None:
        """Thresholds no value can meet, or every value does, by the bounds of what the taggers measure."""
        from glasshouse.data.mixing.parsing import parse

        try:
            warnings = check(text, {name: _signal(name) for name in columns(parse(text))})
        except UnreachableRuleError as error:
            self.find("unreachable", rule, str(error))
            return
        for warning in warnings:
            self.find("always", rule, warning.message)

    def replacements(self) -> Iterator[SpanReplacement]:
        for entry in self.entry.get("span_replacement") or []:
            rule = str(entry.get("span"))
            text = str(entry.get("replacement", ""))
            self.is_jq(entry)
            try:
                column = spans_column(rule)
                field = spans_column(text) if text.startswith("$") else None
            except DolmaFilterError as error:
                self.find("not_understood", rule, str(error))
                continue
            right = self.key(column, rule)
            yield SpanReplacement(
                spans=right if self.fix else column, replacement="" if field else text, replacement_field=field,
                minimum_score=entry.get("min_score"), maximum_score=entry.get("max_score"),
            )  # fmt: skip


def _whole(atom: Expression) -> bool:
    """Whether a number is compared with a whole one so that it matters whether they are equal."""
    numeric = isinstance(atom, Comparison) and isinstance(atom.right.value, float) and atom.operator not in ("<", ">")
    return numeric and cast("float", atom.right.value).is_integer()  # type: ignore[union-attr]


def _documents(paths: list[str]) -> tuple[tuple[str, ...], float]:
    """Paths, and how often each is listed: Dolma samples up by listing a path more than once."""
    times = Counter(paths)
    if len(set(times.values())) > 1:
        again = [path for path, count in times.items() if count > 1]
        raise DolmaImportError(
            f"{again[0]!r} is listed more often than other documents of its stream: split the stream"
        )
    return tuple(times), float(next(iter(times.values())))


def _signal(name: str) -> Signal:
    """What is known about an attribute: unit and bounds of our signal that measures the same, or nothing."""
    from glasshouse.data.signals.families import default_families, signals_of

    known = signals_of(default_families()).get(column_name(name) or "")
    if known is None or known.unit == "flag":
        return Signal(name, ANY, "", "", "number", low=None)
    return Signal(name, ANY, known.doc, known.citation, known.unit, known.low, known.high)
