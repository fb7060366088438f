"""The data room's artifacts and steps: documents -> corpus -> tokenizer -> token shards."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.curate import Curation, EmptyCorpusError
from glasshouse.data.curate import curate as curate_documents
from glasshouse.data.deduplicate import Exact, MinHash, exact, minhash
from glasshouse.data.installed import InstalledText, installed_documents, installed_fingerprint
from glasshouse.data.pii import PiiMasking, pii
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.reading import fingerprint_files, read_documents
from glasshouse.data.rules import RuleSet, SourceRules, dolma_rules
from glasshouse.data.shards import HOLDOUT, TRAIN, TokenShards, write_shards
from glasshouse.data.tokenizer import load_tokenizer, save_tokenizer, train_bpe
from glasshouse.data.writing import write_documents
from glasshouse.store.artifact import Artifact
from glasshouse.store.environment import usable_cores
from glasshouse.store.panels import Numbers, Panel, Table
from glasshouse.store.progress import Bar
from glasshouse.store.step import Run, step

if TYPE_CHECKING:
    import tokenizers

EXAMPLES = 3
STAGES = ("rules", "pii", "exact", "minhash")


class Documents(Artifact):
    """Documents in Dolma's form as Parquet, with the records that could not become documents in quarantine."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All documents, in order, as Arrow record batches of `glasshouse.data.document.DOCUMENT`."""
        for path in sorted(self.path.glob("documents-*.parquet")):
            yield from pq.ParquetFile(path).iter_batches(batch_size=512)

    @cached_property
    def quarantined(self) -> list[dict[str, Any]]:
        """The quarantined records: file, line, offset, reason, message, excerpt."""
        return [orjson.loads(line) for line in self.file("quarantine.jsonl").read_bytes().splitlines()]

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

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Counts and examples by stage, rule and source (`summary.json`)."""
        found: dict[str, Any] = orjson.loads(self.file("summary.json").read_bytes())
        return found

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


class Tokenizer(Artifact):
    """A Hugging Face tokenizer folder (`AutoTokenizer` loads it)."""

    def load(self) -> tokenizers.Tokenizer:
        """The tokenizer itself."""
        return load_tokenizer(self.path)


class Shards(Artifact):
    """Token shards of a training and a held-out split, with the tokenizer that made them."""

    @property
    def train(self) -> TokenShards:
        """Documents to train on."""
        return TokenShards(self.path / TRAIN)

    @property
    def holdout(self) -> TokenShards:
        """Documents held out by the hash of their id."""
        return TokenShards(self.path / HOLDOUT)

    @property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer."""
        return load_tokenizer(self.path / "tokenizer")

    def panels(self) -> list[Panel]:
        """Size of both splits, tokens by source, and bytes per token."""
        splits = {"training": self.train, "held out": self.holdout}
        figures = {f"{name} tokens": f"{shards.token_count:,}" for name, shards in splits.items()}
        figures |= {f"{name} documents": f"{shards.document_count:,}" for name, shards in splits.items()}
        size = sum(shards.manifest.text_bytes for shards in splits.values())
        tokens = sum(shards.token_count - shards.document_count for shards in splits.values())
        figures["bytes per token"] = f"{size / tokens:.2f}"
        figures["vocabulary"] = f"{self.train.vocabulary:,}"
        sources = sorted({source for shards in splits.values() for source in shards.sources})
        rows: list[Sequence[str | int]] = [
            [source, *(shards.manifest.sources.get(source, 0) for shards in splits.values())] for source in sources
        ]
        return [Numbers("Tokens", figures), Table("Documents by source", ["source", *splits], rows)]


def files_fingerprint(paths: str | Sequence[str]) -> list[list[str | int]]:
    """Name, size and sha256 of every file behind paths or `fsspec` URLs: what `read_text` depends on."""
    return [list(entry) for entry in fingerprint_files(_listed(paths))]


def _listed(paths: str | Sequence[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


@step(observe=files_fingerprint)
def read_text(run: Run, paths: str | Sequence[str]) -> Documents:
    """Read documents from JSON Lines (`.jsonl`, `.gz`, `.zst`) or Parquet; bad rows go to quarantine.

    Paths may hold `*` and be any `fsspec` URL.
    """
    with Quarantine(run.output / "quarantine.jsonl") as quarantine, run.bar("reading", None) as bar:
        found = {"bytes": 0, "documents": 0}
        batches = read_documents(_listed(paths), quarantine)
        write_documents(_counted(batches, found, bar), run.output / "documents-00000.parquet")
    if not found["documents"]:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in quarantine.by_reason.most_common()) or "none"
        raise EmptyCorpusError(f"{', '.join(_listed(paths))} held no readable document (quarantined: {reasons})")
    _measure_reading(run, found, quarantine)
    return Documents(run.output)


def _measure_reading(run: Run, found: dict[str, int], quarantine: Quarantine) -> None:
    put_aside = quarantine.rows_quarantined
    run.measure(**found, seen=found["documents"] + put_aside, quarantined=put_aside)


@step(observe=installed_fingerprint)
def installed_text(run: Run, text: InstalledText = InstalledText()) -> Documents:  # noqa: B008 (frozen)
    """Gather the text that is already on this machine: the interpreter, installed packages, their documentation."""
    path = run.output / "quarantine.jsonl"
    with Quarantine(path) as quarantine, run.bar("reading installed text", text.megabytes * 1e6) as bar:
        found = {"bytes": 0, "documents": 0}
        write_documents(
            _counted(installed_documents(text, quarantine), found, bar), run.output / "documents-00000.parquet"
        )
    _measure_reading(run, found, quarantine)
    return Documents(run.output)


def _counted(batches: Iterator[pa.RecordBatch], found: dict[str, int], bar: Bar) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        size = sum(len(text.as_py().encode()) for text in batch.column("text"))
        found["bytes"] += size
        found["documents"] += batch.num_rows
        bar.advance(size)
        yield batch


@step()
def curate(
    run: Run,
    documents: Documents,
    keep: SourceRules | RuleSet | None = dolma_rules,
    mask: PiiMasking | None = pii,
    deduplicate: Sequence[Exact | MinHash] = (exact(), minhash()),
    seed: int = 0,
) -> Corpus:
    """Measure every document, remove what the rules name, mask personal information, remove duplicates."""
    curation = Curation(keep=keep, mask=mask, deduplicate=tuple(deduplicate), seed=seed)
    size = documents.manifest["measurements"]["bytes"]
    with run.bar("curating", size) as bar:
        summary = curate_documents(
            documents.batches(), run.output, curation, workers=usable_cores(), progress=bar.advance
        )
    run.measure(
        seen=summary.input,
        documents=summary.kept.documents,
        removed=summary.removed.documents,
        quarantined=summary.quarantined,
        bytes=summary.kept.bytes,
    )
    return Corpus(run.output)


@step()
def train_tokenizer(run: Run, corpus: Documents, vocabulary: int = 4096, seed: int = 0) -> Tokenizer:
    """Train a byte-level BPE tokenizer on a sample of the corpus."""
    with run.bar("learning the vocabulary", None):
        tokenizer = train_bpe(corpus.batches(), vocabulary, seed=seed)
    save_tokenizer(tokenizer, run.output)
    run.measure(vocabulary=tokenizer.get_vocab_size())
    return Tokenizer(run.output)


@step()
def tokenize(run: Run, corpus: Documents, tokenizer: Tokenizer, holdout: float = 0.02, seed: int = 0) -> Shards:
    """Tokenise a corpus into shards, holding out a share of its documents by the hash of their ids."""
    with run.bar("tokenising", corpus.manifest["measurements"]["bytes"]) as bar:
        manifests = write_shards(
            corpus.batches(), tokenizer.load(), run.output, holdout=holdout, seed=seed, workers=usable_cores(),
            progress=bar.advance,
        )  # fmt: skip
    (run.output / "tokenizer").mkdir()
    for name in tokenizer.manifest["files"]:
        shutil.copyfile(tokenizer.file(name), run.output / "tokenizer" / name)
    for split, manifest in manifests.items():
        run.measure(**{f"{split}_tokens": sum(shard.tokens for shard in manifest.shards)})
    return Shards(run.output)


__all__ = [
    "Corpus",
    "Documents",
    "Shards",
    "Tokenizer",
    "curate",
    "installed_text",
    "read_text",
    "tokenize",
    "train_tokenizer",
]
