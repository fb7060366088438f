"""One stream of one of Dolma's mixing files."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeVar

from glasshouse.data.mixing.checking import ANY, UnreachableRuleError, check
from glasshouse.data.mixing.dolma_filters import DolmaFilterError, from_jq, from_jsonpath, spans_column
from glasshouse.data.mixing.dolma_findings import TAGGERS, Finding, FindingKind
from glasshouse.data.mixing.expression import Comparison, Expression, atoms, columns, render, usages, with_columns
from glasshouse.data.mixing.filters import Filter
from glasshouse.data.mixing.mixture import Form, MixtureError, Stream
from glasshouse.data.mixing.parsing import parse
from glasshouse.data.mixing.spans import SpanReplacement
from glasshouse.data.signals.signal import Signal
from glasshouse.data.sources.attributes import column_name

_STREAM = ("name", "documents", "attributes", "output", "filter", "span_replacement", "compression")
_OUTPUT = ("path", "max_size_in_bytes", "discard_fields", "min_text_length")
Shape = TypeVar("Shape", dict[str, Any], list[Any])


class DolmaImportError(MixtureError):
    """A file that is no mixing file of Dolma's, or one that needs what a mixture does not have."""


class StreamImport:
    """Reads a stream as an entry of the file has it; what is to be said of its rules is in `findings`."""

    def __init__(self, entry: dict[str, Any], fix: bool) -> None:
        self.entry, self.fix = entry, fix
        self.name = str(entry.get("name") or "stream")
        self.sets = self.texts(entry, "attributes")
        self.findings: list[Finding] = []
        for field in entry:
            if field not in _STREAM:
                self.find("ignored", str(field), f"the field {field!r} of a stream has no meaning here")

    def find(self, kind: FindingKind, rule: str, message: str, fixed: bool = False) -> None:
        self.findings.append(Finding(kind, self.name, rule, message, fixed))

    def stream(self) -> Stream:
        rules = self.part(self.entry, "filter", {})
        jq = self.is_jq(rules)
        kept = {side: tuple(self.rules(self.texts(rules, side), jq)) for side in ("include", "exclude")}
        replace = tuple(self.replacements())
        documents, repeat = _documents(self.texts(self.entry, "documents"))
        least = self.part(self.entry, "output", {}).get("min_text_length") or 0
        return Stream(
            name=re.sub(r"[^\w.-]", "_", self.name), documents=documents,
            attributes=tuple(self.below_attributes(name) for name in self.sets), filter=Filter(**kept),
            replace=replace, repeat=repeat, minimum_text_bytes=least, unknown="warning",
        )  # fmt: skip

    def part(self, entry: dict[str, Any], name: str, empty: Shape) -> Shape:
        """A mapping or a list of the file, empty where it is not there."""
        found = entry.get(name)
        if found is None:
            return empty
        if not isinstance(found, type(empty)):
            kind = "a list" if isinstance(empty, list) else "a mapping"
            raise DolmaImportError(f"stream {self.name!r}: {name!r} must be {kind}, got {str(found)[:80]!r}")
        return found

    def texts(self, entry: dict[str, Any], name: str) -> list[str]:
        found = self.part(entry, name, [])
        for one in found:
            if not isinstance(one, str):
                raise DolmaImportError(f"stream {self.name!r}: {name!r} must hold texts, got {str(one)[:80]!r}")
        return found

    def is_jq(self, entry: dict[str, Any]) -> bool:
        syntax = entry.get("syntax") or "jsonpath"
        if syntax not in ("jsonpath", "jq"):
            raise DolmaImportError(f"stream {self.name!r}: there is no syntax {syntax!r}: jsonpath or jq")
        return bool(syntax == "jq")

    def below_attributes(self, name: str) -> str:
        """A set in a folder of a folder, `a/b`, as the directory that a stream here takes."""
        if "/" not in name:
            return name
        roots = {path.partition("/documents/")[0] for path in self.texts(self.entry, "documents")}
        if len(roots) > 1:
            raise DolmaImportError(
                f"stream {self.name!r}: attributes {name!r} lie in {len(roots)} places: split the stream"
            )
        return f"{roots.pop()}/attributes/{name}"

    def output(self) -> dict[str, Any]:
        """What is a setting of the mixture here."""
        output = self.part(self.entry, "output", {})
        for field in output:
            if field not in _OUTPUT:
                self.find("ignored", str(field), f"the field {field!r} of an output has no meaning here")
        discard = self.texts(output, "discard_fields")
        wanted = self.part(self.entry, "compression", {}).get("output")
        wanted = "gz" if wanted is None else str(wanted)
        forms: dict[str, Form] = {"gz": "jsonl.gz", "zst": "jsonl.zst", "": "jsonl"}
        if wanted not in forms:
            raise DolmaImportError(f"stream {self.name!r}: compression {wanted!r} is not written here: use gz or zst")
        return {
            "form": forms[wanted],
            "maximum_shard_bytes": output.get("max_size_in_bytes") or 256 << 20,
            "keep_attributes": "attributes" not in discard,
            "discard": tuple(field for field in discard if field != "attributes"),
        }

    def rules(self, written: list[str], jq: bool) -> Iterator[str]:
        for text in written:
            rule = " ".join(text.split())
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
        try:
            warnings = check(text, {name: _signal(name) for name in columns(parse(text))})
        except UnreachableRuleError as error:
            self.find("unreachable", rule, str(error))
            return
        for warning in warnings:
            self.find("always", rule, warning.message)

    def replacements(self) -> Iterator[SpanReplacement]:
        for entry in self.part(self.entry, "span_replacement", []):
            if not isinstance(entry, dict):
                raise DolmaImportError(
                    f"stream {self.name!r}: a replacement must be a mapping, got {str(entry)[:80]!r}"
                )
            rule, text = str(entry.get("span")), str(entry.get("replacement") or "")
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
    if not isinstance(atom, Comparison) or atom.operator in ("<", ">"):
        return False
    value = atom.right.value
    return isinstance(value, float) and value.is_integer()


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
