"""Files of documents to token shards in any layout: what `glasshouse tokenize` does."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pyarrow as pa
from pydantic import Field

from glasshouse.data.executor import Executor, Threads, share_of
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.resumption import claimed, is_new_or_unfinished, run_resumable, work_key
from glasshouse.data.sources.inputs import InputShard, shards_from
from glasshouse.data.tokens.encoder import Encoder, encoder_of
from glasshouse.data.tokens.encoding import QUARANTINE, Encode, EncodeFile, read_encoded
from glasshouse.data.tokens.fertility import Counts, add_counts, fertility_of
from glasshouse.data.tokens.layouts import Layout, export_shards
from glasshouse.data.tokens.sentencepiece_model import MODEL_FILE, SentencePieceEncoder, train_sentencepiece
from glasshouse.data.tokens.shard_reader import ShardError, ShardManifest, TokenShards
from glasshouse.data.tokens.shard_writer import HOLDOUT, SHARD_TOKENS, Splits, end_of_sequence, id_type
from glasshouse.data.tokens.shard_writer import TRAIN as TRAIN_SPLIT
from glasshouse.data.tokens.tokenizer import EndOfSequenceError, load_tokenizer, save_tokenizer, train_bpe
from glasshouse.data.writing import disk_errors_named
from glasshouse.store.configuration import Config
from glasshouse.store.source_code import code_fingerprint

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TRAIN, TRAIN_SENTENCEPIECE = "train", "train-sentencepiece"
WORK = "work"
_RESULTS = ("tokenizer", QUARANTINE, HOLDOUT, TRAIN_SPLIT)
_PARTS = _TRAINED, _ENCODED, _RESULT = "trained", "encoded", "result"


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
    inputs: Sequence[str | Path] | Sequence[InputShard],
    directory: str | Path,
    settings: Tokenizing,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tokenized:
    """Tokenises files of documents, or curated corpora, into a new directory with the tokenizer beside the shards.

    Files are worked on side by side; a killed run goes on with those that are not done. The shards are the same for any
    number of workers, on threads or on Ray, and after a kill.

    Args:
        inputs: files, directories, patterns or directories of curated corpora; or shards from `plan_inputs`.
        directory: empty or new, or where a killed run stopped.
        settings: what is done.
        workers: threads.
        executor: where the files are encoded, in place of threads.
        progress: called with bytes of text as they are encoded.

    Raises:
        FileNotFoundError: an input or tokenizer that does not exist.
        TokenizerFileError: the tokenizer's file is none.
        VocabularyError: a vocabulary is too small, too large, or more than the text can fill.
        ShardError: the directory holds something else, or a split would be empty.
        EndOfSequenceError: the tokenizer has no end-of-sequence token.
        BusyDirectoryError, OwnInputError: another run writes there; an input lies there.
    """
    home, executor = Path(directory).resolve(), executor or Threads(workers)
    work = home / WORK
    given = None if settings.tokenizer in (TRAIN, TRAIN_SENTENCEPIECE) else _given(settings.tokenizer)
    shards = shards_from(inputs)
    with claimed(home, work, [shard.path for shard in shards]):
        if not is_new_or_unfinished(home, work, _RESULTS, _PARTS):
            raise ShardError(
                f"{home} is not empty, and holds no unfinished run of tokenize: write into a new directory"
            )
        tokenizer = given or _trained(shards, settings, work / _TRAINED)
        made = _encode_files(shards, tokenizer, settings, work, executor, progress)
        _save(tokenizer, work / _RESULT / "tokenizer")
        if settings.layout != "glasshouse":
            _change_layout(work / _RESULT, made.manifests, settings.layout)
        _into_place(work / _RESULT, home)
        shutil.rmtree(work)
    manifests, first = made.manifests, next(iter(made.manifests.values()))
    return Tokenized(
        tokens={split: sum(shard.tokens for shard in manifest.shards) for split, manifest in manifests.items()},
        documents={split: sum(shard.documents for shard in manifest.shards) for split, manifest in manifests.items()},
        vocabulary=first.vocabulary,
        dtype=first.dtype,
        quarantined=made.quarantined,
        files=tuple(sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())),
        fertility=tuple(fertility_of(made.counts).to_pylist() if settings.fertility else []),
    )


class _Made(NamedTuple):
    manifests: dict[str, ShardManifest]
    quarantined: int
    counts: Counts


def _encode_files(
    shards: Sequence[InputShard], tokenizer: Tokenizer | Encoder, settings: Tokenizing, work: Path,
    executor: Executor, progress: Callable[[int], None] | None,
) -> _Made:  # fmt: skip
    """Encodes what is not encoded yet, and puts the splits together in the order of the inputs."""
    encoder, eos = encoder_of(tokenizer), end_of_sequence(tokenizer)
    dtype = id_type(encoder.vocabulary)
    encode = Encode(encoder, eos, settings.holdout, settings.seed)
    threads, told = share_of(executor, len(shards), progress)
    function = EncodeFile(encode, dtype, threads, settings.fertility, told)
    what = (_content(tokenizer), settings.holdout, settings.seed, settings.fertility, code_fingerprint(EncodeFile))
    tasks = [(work_key(what, shard.fingerprint()), shard) for shard in shards]
    result, quarantined, counts = work / _RESULT, 0, dict[str, list[int]]()
    if result.exists():
        shutil.rmtree(result)
    result.mkdir(parents=True)
    bad = result / QUARANTINE
    with (
        disk_errors_named(bad), bad.open("wb") as records,
        Splits(result, settings.holdout, encoder.vocabulary, eos, settings.shard_tokens) as splits,
    ):  # fmt: skip
        for number, said in enumerate(run_resumable(function, tasks, work / _ENCODED, executor)):
            folder = work / _ENCODED / f"{number:05d}"
            for encoded in read_encoded(folder, dtype):
                splits.add(encoded)
            records.write((folder / QUARANTINE).read_bytes())
            quarantined += said["quarantined"]
            add_counts(counts, said["counts"])
        try:
            manifests = splits.finish()
        except ShardError as error:
            more = f"; {quarantined} records could not be read, see {bad}" if quarantined else ""
            raise ShardError(f"{error}{more}") from None
    return _Made(manifests, quarantined, counts)


def _change_layout(result: Path, splits: Iterable[str], layout: Layout) -> None:
    for split in splits:
        export_shards(TokenShards(result / split), result / f"{split}-{layout}", layout)
        shutil.rmtree(result / split)
        (result / f"{split}-{layout}").rename(result / split)


def _into_place(result: Path, home: Path) -> None:
    """Moves what was made into the directory; a run that was killed here goes on here."""
    for name in _RESULTS:
        if (home / name).is_dir():
            shutil.rmtree(home / name)
        (home / name).unlink(missing_ok=True)
        if (result / name).exists():
            (result / name).rename(home / name)


def _batches(shards: Sequence[InputShard]) -> Iterator[pa.RecordBatch]:
    for shard in shards:
        yield from shard.batches(Quarantine())


def _given(name: str) -> Tokenizer | Encoder:
    """The tokenizer that was named. Raises `EndOfSequenceError` when it does not say how documents end."""
    if name.endswith(".model") and not Path(name).is_file():
        raise FileNotFoundError(f"there is no SentencePiece model at {name}")
    is_model = name.endswith(".model")
    tokenizer = cast("Encoder", SentencePieceEncoder(Path(name))) if is_model else load_tokenizer(name)
    try:
        end_of_sequence(tokenizer)
    except EndOfSequenceError as error:
        raise EndOfSequenceError(f"{name}: {error}") from None
    return tokenizer


def _trained(shards: Sequence[InputShard], settings: Tokenizing, work: Path) -> Tokenizer | Encoder:
    """The tokenizer that is trained on the documents, kept in `work` for when the run is killed later."""
    what = (settings.tokenizer, settings.vocabulary, settings.seed, code_fingerprint(_Train))
    key = work_key(what, [shard.fingerprint() for shard in shards])
    list(run_resumable(_Train(settings), [(key, tuple(shards))], work, Threads()))
    return _given(
        str(work / "00000" / MODEL_FILE) if settings.tokenizer == TRAIN_SENTENCEPIECE else str(work / "00000")
    )


@dataclass(frozen=True)
class _Train:
    settings: Tokenizing

    def __call__(self, shards: Sequence[InputShard], folder: Path) -> dict[str, Any]:
        texts, vocabulary, seed = _batches(shards), self.settings.vocabulary, self.settings.seed
        trains = train_bpe if self.settings.tokenizer == TRAIN else train_sentencepiece
        _save(trains(texts, vocabulary, seed=seed), folder)
        return {}


def _save(tokenizer: Tokenizer | Encoder, home: Path) -> None:
    if isinstance(tokenizer, SentencePieceEncoder):
        tokenizer.save(home)
    else:
        save_tokenizer(cast("Tokenizer", tokenizer), home)


def _content(tokenizer: Tokenizer | Encoder) -> str:
    """Says which tokenizer it is: a hash of all that it is made of."""
    whole = (
        tokenizer.model
        if isinstance(tokenizer, SentencePieceEncoder)
        else cast("Tokenizer", tokenizer).to_str().encode()
    )
    return hashlib.sha256(whole).hexdigest()
