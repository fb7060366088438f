"""The corpus as an artifact: documents as they were read, and curated documents with their signals and removals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import orjson
import pyarrow as pa

from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.sources.inputs import InputShard, plan_inputs
from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Numbers, Panel, Table

EXAMPLES = 3
STAGES = ("rules", "pii", "exact", "minhash")


class Documents(Artifact):
    """Documents in Dolma's form as Parquet, with the records that could not become documents in quarantine."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All documents, in order, as Arrow record batches of `glasshouse.data.document.DOCUMENT`."""
        return self.directory.batches()

    @cached_property
    def directory(self) -> CorpusDirectory:
        """The files, for everything that looks at a corpus."""
        return CorpusDirectory(self.path)

    def inputs(self) -> list[InputShard]:
        """The documents as shards of input."""
        return plan_inputs([str(path) for path in self.directory.document_files])

    @property
    def quarantined(self) -> list[dict[str, Any]]:
        """The quarantined records: file, line, offset, reason, message, excerpt."""
        return self.directory.quarantined

    def panels(self) -> list[Panel]:
        """How many records came in, and what was put aside and why."""
        counts = self.manifest["measurements"]
        figures = {
            "records seen": f"{counts['seen']:,}",
            "documents": f"{counts['documents']:,}",
            "quarantined": f"{counts['quarantined']:,}",
            "text": f"{counts['bytes'] / 1e6:.1f} MB",
        }
        panels: list[Panel] = [Numbers("Documents in", figures)]
        if self.quarantined:
            reasons = Counter(str(record["reason"]) for record in self.quarantined)
            details = {
                row: [(str(r["file"]), str(r["message"])) for r in self.quarantined if r["reason"] == reason][:EXAMPLES]
                for row, reason in enumerate(reasons)
            }
            note = "Records that could not be read as documents, kept aside with the reason."
            panels.append(Table("Quarantine", ["reason", "records"], list(reasons.items()), details=details, note=note))
        return panels


class Corpus(Documents):
    """Curated documents, every signal of every document, and the reason of every removal."""

    @property
    def summary(self) -> dict[str, Any]:
        """Counts and examples by stage, rule and source (`summary.json`)."""
        return self.directory.summary

    def panels(self) -> list[Panel]:
        """What went in, what each stage and rule removed with examples, and what was masked."""
        summary = self.summary
        stages = sorted(summary["stages"], key=lambda stage: STAGES.index(stage) if stage in STAGES else len(STAGES))
        figures = {
            "documents in": f"{summary['documents']['documents']:,}",
            "kept": f"{summary['kept']['documents']:,}",
            "removed": f"{summary['removed']['documents']:,}",
            "kept text": f"{summary['kept']['bytes'] / 1e6:.1f} MB",
            "spans masked": f"{sum(summary['masked_spans'].values()):,}",
        }
        return [Numbers("Curation", figures), self._by_source(stages), self._by_rule()]

    def _by_source(self, stages: Sequence[str]) -> Table:
        rows: list[Sequence[str | float | int | None]] = []
        for source, tallies in self.summary["sources"].items():
            counts = [tallies.get(stage, {"documents": 0})["documents"] for stage in stages]
            kept = tallies.get("kept", {"documents": 0, "bytes": 0})
            share = 100 * kept["bytes"] / (tallies["input"]["bytes"] or 1)
            rows.append([source, tallies["input"]["documents"], *counts, kept["documents"], kept["bytes"], share])
        columns = ["source", "documents in", *(f"removed: {stage}" for stage in stages), "kept", "bytes kept", "% kept"]
        return Table("By source", columns, rows)

    def _by_rule(self) -> Table:
        ranked = sorted(self.summary["rules"].items(), key=lambda rule: (-rule[1]["documents"], rule[0]))
        rows = [(name, tally["documents"], tally["bytes"]) for name, tally in ranked]
        details = {
            row: [_example(example) for example in self.summary["examples"].get(name, [])[:EXAMPLES]]
            for row, (name, _) in enumerate(ranked)
        }
        note = "A document may fail several rules; it is counted under each, so the rows add up to more than the total."
        return Table("What each rule removed", ["rule", "documents", "bytes"], rows, details=details, note=note)


def _example(example: dict[str, Any]) -> tuple[str, str]:
    words = [str(example["id"])]
    if example.get("value") is not None:
        words.append(f"value {example['value']:.4g}")
    if example.get("duplicate_of"):
        words.append(f"duplicate of {example['duplicate_of']}")
    return ", ".join(words), str(example["excerpt"])


class Signals(Artifact):
    """What was measured of every document, in columns (`signals/measuring.py`)."""

    @cached_property
    def about(self) -> dict[str, Any]:
        """The families, the columns with their documentation, the shards and the counts (`signals.json`)."""
        return dict(orjson.loads(self.file("signals.json").read_bytes()))

    def panels(self) -> list[Panel]:
        """How much was measured, and what the columns mean."""
        about = self.about
        figures = {"documents": f"{about['documents']:,}", "text": f"{about['bytes'] / 1e6:.1f} MB"}
        rows = [(name, column["unit"], column["doc"], column["citation"]) for name, column in about["columns"].items()]
        return [Numbers("Signals", figures), Table("Columns", ["column", "unit", "what it is", "source"], rows)]
