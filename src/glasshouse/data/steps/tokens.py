"""Tokenizers and token shards as artifacts, and the steps that make them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from glasshouse.data.steps.artifacts import Documents
from glasshouse.data.tokens.shards import HOLDOUT, TRAIN, TokenShards, write_shards
from glasshouse.data.tokens.tokenizer import load_tokenizer, save_tokenizer, train_bpe
from glasshouse.store.artifact import Artifact
from glasshouse.store.environment import usable_cores
from glasshouse.store.panels import Numbers, Panel, Table
from glasshouse.store.step import Run, step

if TYPE_CHECKING:
    import tokenizers


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
        splits = {"training": self.train}
        if (self.path / HOLDOUT).exists():
            splits["held out"] = self.holdout
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
