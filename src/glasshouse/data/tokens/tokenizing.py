"""Files of documents to token shards in any layout: what `glasshouse tokenize` does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from pydantic import Field

from glasshouse.data.executor import Executor
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import InputShard, plan_inputs
from glasshouse.data.tokens.encoder import Encoder
from glasshouse.data.tokens.fertility import fertility
from glasshouse.data.tokens.layouts import Layout, export_shards
from glasshouse.data.tokens.sentencepiece_model import SentencePieceEncoder, train_sentencepiece
from glasshouse.data.tokens.shard_reader import ShardError, TokenShards
from glasshouse.data.tokens.shard_writer import SHARD_TOKENS, write_shards
from glasshouse.data.tokens.tokenizer import load_tokenizer, save_tokenizer, train_bpe
from glasshouse.store.configuration import Config

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRAIN, TRAIN_SENTENCEPIECE = "train", "train-sentencepiece"


class Tokenizing(Config):
    """How documents become tokens.

    Attributes:
        tokenizer: a `tokenizer.json` (or its folder), a SentencePiece `.model`, `train` (byte-level BPE) or
            `train-sentencepiece`.
        vocabulary: tokens of a tokenizer that is trained.
        layout: how the shards are written (`layouts.py`).
        holdout: share of the documents to hold out, chosen by a keyed hash of the id.
        seed: of the holdout and of the tokenizer's sample.
        shard_tokens: tokens of a shard.
        fertility: also count tokens per word and byte of every source.
    """

    tokenizer: str
    vocabulary: int = Field(default=32_768, ge=258)
    layout: Layout = "glasshouse"
    holdout: float = Field(default=0.0, ge=0.0, lt=1.0)
    seed: int = 0
    shard_tokens: int = Field(default=SHARD_TOKENS, ge=1)
    fertility: bool = False


class Tokenized(Config):
    """What was written: tokens and documents per split, and the files below the directory."""

    tokens: dict[str, int]
    documents: dict[str, int]
    vocabulary: int
    dtype: str
    quarantined: int
    files: tuple[str, ...]
    fertility: tuple[dict[str, Any], ...]


def tokenize_files(
    inputs: Sequence[str | Path],
    directory: str | Path,
    settings: Tokenizing,
    *,
    workers: int = 1,
    executor: Executor | None = None,
) -> Tokenized:
    """Tokenises files of documents, or curated corpora, into a new directory with the tokenizer beside the shards.

    The directory appears when it is whole; what an interrupted run left beside it (`.partial`) is replaced.

    Raises:
        FileNotFoundError: an input or tokenizer that does not exist.
        ShardError: the directory is not empty, or a split would be.
        EndOfSequenceError: the tokenizer has no end-of-sequence token.
    """
    home = Path(directory)
    if home.is_dir() and any(home.iterdir()):
        raise ShardError(f"{home} is not empty: write into a new directory")
    shards = plan_inputs(inputs)
    partial = home.with_name(home.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    tokenizer = _tokenizer(shards, settings, partial / "tokenizer")
    with Quarantine(partial / "quarantine.jsonl") as quarantine:
        manifests = write_shards(
            _batches(shards, quarantine), tokenizer, partial, holdout=settings.holdout, seed=settings.seed,
            shard_tokens=settings.shard_tokens, workers=workers, executor=executor,
        )  # fmt: skip
    if settings.layout != "glasshouse":
        for split in manifests:
            export_shards(TokenShards(partial / split), partial / f"{split}-{settings.layout}", settings.layout)
            shutil.rmtree(partial / split)
            (partial / f"{split}-{settings.layout}").rename(partial / split)
    table = fertility(_batches(shards, Quarantine()), tokenizer).to_pylist() if settings.fertility else []
    if home.exists():
        home.rmdir()
    partial.replace(home)
    first = next(iter(manifests.values()))
    return Tokenized(
        tokens={split: sum(shard.tokens for shard in manifest.shards) for split, manifest in manifests.items()},
        documents={split: sum(shard.documents for shard in manifest.shards) for split, manifest in manifests.items()},
        vocabulary=first.vocabulary,
        dtype=first.dtype,
        quarantined=quarantine.rows_quarantined,
        files=tuple(sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())),
        fertility=tuple(table),
    )


def _batches(shards: Sequence[InputShard], quarantine: Quarantine) -> Iterator[pa.RecordBatch]:
    for shard in shards:
        yield from shard.batches(quarantine)


def _tokenizer(shards: Sequence[InputShard], settings: Tokenizing, home: Path) -> Tokenizer | Encoder:
    """The tokenizer that was named or is trained now; a copy of it lies in `home`."""
    name, texts = settings.tokenizer, _batches(shards, Quarantine())
    if name == TRAIN_SENTENCEPIECE or name.endswith(".model"):
        if name == TRAIN_SENTENCEPIECE:
            encoder = train_sentencepiece(texts, settings.vocabulary, seed=settings.seed)
        else:
            encoder = SentencePieceEncoder(Path(name))
        encoder.save(home)
        return cast("Encoder", encoder)
    trained = name == TRAIN
    tokenizer = train_bpe(texts, settings.vocabulary, seed=settings.seed) if trained else load_tokenizer(name)
    save_tokenizer(tokenizer, home)
    return tokenizer
