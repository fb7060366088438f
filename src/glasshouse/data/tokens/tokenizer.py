"""Tokenizers: byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2) trained with Hugging Face `tokenizers`.

Any text has tokens, and decoding gives the text back. `<|endoftext|>` (id 0) ends every document, `<|padding|>` is id
1.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from glasshouse.data.document import strings
from glasshouse.data.writing import disk_errors_named

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"
BYTES = 256
LARGEST_VOCABULARY = 1 << 20
TRAINING_BYTES = 8_000_000
"""Text to train on at most: 4,096 tokens then take a few CPU-seconds, and their merges barely change with more text."""


class VocabularyError(ValueError):
    """A vocabulary is too small, too large, or more than the text can fill."""


class TokenizerFileError(ValueError):
    """A file that is not a tokenizer."""


class EndOfSequenceError(ValueError):
    """The end-of-sequence id in use is not the tokenizer's end-of-sequence token."""


def train_bpe(
    texts: Iterable[str] | Iterable[pa.RecordBatch],
    vocabulary: int = 4096,
    *,
    special: Sequence[str] = (END_OF_TEXT, PADDING),
    training_bytes: int = TRAINING_BYTES,
    seed: int = 0,
) -> Tokenizer:
    """Trains a byte-level BPE tokenizer; the same texts, in any order, give the same tokenizer.

    Args:
        texts: strings, or record batches of documents.
        vocabulary: number of tokens, special tokens and the 256 bytes included.
        special: the special tokens, ids 0, 1, …; the first ends a document.
        training_bytes: cap on the text: those documents with the smallest keyed hash of their text are taken.
        seed: of that sample.

    Raises:
        VocabularyError: for a vocabulary without room for the bytes, above 2^20, or above what the text can fill.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    least = BYTES + len(special)
    if not least <= vocabulary <= LARGEST_VOCABULARY:
        raise VocabularyError(
            f"a vocabulary must be {least} (bytes and special tokens) to 2^20 tokens, got {vocabulary}"
        )
    chosen = sample_texts(texts, training_bytes, seed)
    if not chosen:
        raise VocabularyError("there is no text to train a tokenizer on")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chosen, trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        got, size = tokenizer.get_vocab_size(), sum(len(text) for text in chosen)
        raise VocabularyError(
            f"{size} characters of text give {got} tokens, not {vocabulary}: ask for fewer, or add text"
        )
    return tokenizer


def sample_texts(
    texts: Iterable[str] | Iterable[pa.RecordBatch], most_bytes: int = TRAINING_BYTES, seed: int = 0
) -> list[str]:
    """Texts to train on: those with the smallest keyed hashes that fit into `most_bytes`, in an order of their own."""
    return _sample(_strings(texts), most_bytes, seed)


def _strings(texts: Iterable[str] | Iterable[pa.RecordBatch]) -> Iterator[str]:
    for item in texts:
        if isinstance(item, str):
            yield item
        else:
            yield from strings(item, "text")


def _sample(texts: Iterable[str], most_bytes: int, seed: int) -> list[str]:
    """The texts with the smallest keyed hashes that fit into `most_bytes`, sorted by hash. One text at least."""
    key = hashlib.sha256(f"{seed}/tokenizer sample".encode()).digest()
    heap: list[tuple[int, str, int]] = []
    held, bound = 0, 1 << 128
    for text in texts:
        content = text.encode()
        if not content:
            continue
        rank = int.from_bytes(hashlib.blake2b(content, digest_size=16, key=key).digest(), "big")
        if rank >= bound:
            continue
        heapq.heappush(heap, (-rank, text, len(content)))
        held += len(content)
        while held > most_bytes and len(heap) > 1:
            last = heapq.heappop(heap)
            held -= last[2]
            # Nothing behind a text that did not fit may enter later, or the sample would depend on the order.
            bound = -last[0]
    return [text for _, text, _ in sorted(heap, key=lambda entry: -entry[0])]


def save_tokenizer(tokenizer: Tokenizer, directory: str | Path) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`, a folder that `transformers.AutoTokenizer` loads."""
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    names = {"eos_token": END_OF_TEXT, "bos_token": END_OF_TEXT, "unk_token": END_OF_TEXT, "pad_token": PADDING}
    known = {role: token for role, token in names.items() if tokenizer.token_to_id(token) is not None}
    configuration = known | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
    }
    files = {
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": orjson.dumps(configuration, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS),
    }
    for name, content in files.items():
        with disk_errors_named(home / name):
            (home / name).write_bytes(content)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Loads `tokenizer.json`, given the file or its folder.

    Raises:
        FileNotFoundError: when there is none.
        TokenizerFileError: when the file is not a tokenizer.
    """
    from tokenizers import Tokenizer

    file = Path(path)
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(f"there is no tokenizer at {file}")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception for a malformed file
        raise TokenizerFileError(f"{file} is not a Hugging Face tokenizer.json: {error}") from error


def end_of_sequence_id(tokenizer: Tokenizer) -> int:
    """The id of `<|endoftext|>`. Raises `EndOfSequenceError` when the tokenizer has no such token."""
    identifier = tokenizer.token_to_id(END_OF_TEXT)
    if identifier is None:
        raise EndOfSequenceError(f"the tokenizer has no token {END_OF_TEXT!r}; add it as a special token")
    return int(identifier)


def check_end_of_sequence(tokenizer: Tokenizer, eos_id: int) -> None:
    """Raises `EndOfSequenceError` unless `eos_id` is the tokenizer's `<|endoftext|>`.

    OLMo's early data was tokenised with one GPT-NeoX variant and its end-of-sequence id taken from another, in which
    the same id is a mask for personal information; nothing failed, and documents ended in the wrong token.
    """
    right = end_of_sequence_id(tokenizer)
    if eos_id == right:
        return
    token = tokenizer.id_to_token(eos_id) if 0 <= eos_id < 2**32 else None
    what = f"the token {token!r}" if token is not None else "no token"
    raise EndOfSequenceError(
        f"end-of-sequence id {eos_id} is {what} in this tokenizer; {END_OF_TEXT!r} has id {right}: use that id, "
        "or the tokenizer the id belongs to"
    )
