"""SentencePiece: a unigram model with byte fallback (Kudo 2018, arXiv 1804.10959; as CroissantLLM, arXiv 2402.00786).

Text is taken as it is (no normalization, no added or removed spaces), so every text comes back from its ids.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from glasshouse.data.tokens.encoder import Ids
from glasshouse.data.tokens.tokenizer import (
    BYTES,
    END_OF_TEXT,
    PADDING,
    TRAINING_BYTES,
    EndOfSequenceError,
    TokenizerFileError,
    VocabularyError,
    sample_texts,
)
from glasshouse.data.writing import disk_errors_named

MODEL_FILE = "tokenizer.model"
UNKNOWN = "<unk>"
_SPACE_MARK = "\u2581"
_LONGEST_LINE = 1000
_EOS, _PADDING, _UNKNOWN = 0, 1, 2


class SentencePieceEncoder:
    """A SentencePiece model as an `Encoder`.

    Args:
        model: the bytes of a `.model` file, or its path.

    Raises:
        ModuleNotFoundError: sentencepiece is not installed (`pip install 'glasshouse[sentencepiece]'`).
        FileNotFoundError: no such file.
        TokenizerFileError: not a SentencePiece model, or one without byte fallback.
    """

    def __init__(self, model: bytes | str | Path) -> None:
        library = _library()
        self.model = model if isinstance(model, bytes) else Path(model).read_bytes()
        where = "" if isinstance(model, bytes) else f"{model} "
        if not self.model:
            raise TokenizerFileError(f"{where}is not a SentencePiece model: it is empty")
        try:
            # An empty or damaged protocol buffer may load as a model without pieces.
            self._processor: Any = library.SentencePieceProcessor(model_proto=self.model)
            size = int(self._processor.get_piece_size())
        except Exception as error:  # the library raises RuntimeError, OSError and others for damage
            raise TokenizerFileError(f"{where}is not a SentencePiece model: it cannot be read") from error
        if size == 0:
            raise TokenizerFileError(f"{where}is not a SentencePiece model: it has no pieces")
        unknown = self._processor.unk_id()
        self._mark = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in _SPACE_MARK.encode()]
        if unknown in self._mark:
            raise TokenizerFileError(f"{where}has no byte fallback: texts would not come back from their ids")

    @property
    def vocabulary(self) -> int:
        return int(self._processor.get_piece_size())

    @property
    def eos_id(self) -> int:
        identifier = int(self._processor.eos_id())
        if identifier < 0:
            raise EndOfSequenceError("the SentencePiece model has no end-of-sequence piece")
        return identifier

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        return [self._encode(text) for text in texts]

    def decode(self, ids: Sequence[int] | Ids) -> str:
        return str(self._processor.decode([int(i) for i in ids]))

    def save(self, directory: str | Path) -> Path:
        """Writes `tokenizer.model` into a directory."""
        path = Path(directory) / MODEL_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors_named(path):
            path.write_bytes(self.model)
        return path

    def __reduce__(self) -> tuple[Any, ...]:
        return SentencePieceEncoder, (self.model,)

    def _encode(self, text: str) -> Ids:
        # SentencePiece writes a space as U+2581 and could not tell a real one apart: that goes in as three bytes.
        if _SPACE_MARK not in text:
            return np.array(self._processor.encode(text), dtype=np.uint32)
        ids: list[int] = []
        for number, part in enumerate(text.split(_SPACE_MARK)):
            ids += (self._mark if number else []) + self._processor.encode(part)
        return np.array(ids, dtype=np.uint32)


def train_sentencepiece(
    texts: Iterable[str] | Iterable[pa.RecordBatch],
    vocabulary: int = 4096,
    *,
    training_bytes: int = TRAINING_BYTES,
    seed: int = 0,
) -> SentencePieceEncoder:
    """Trains a unigram model; the same texts, in any order, give the same model.

    Args:
        texts: strings, or record batches of documents.
        vocabulary: number of pieces, the 256 bytes, three special ones, newline and tab included.
        training_bytes: cap on the text, sampled by a keyed hash of each.
        seed: of that sample.

    Raises:
        VocabularyError: for a vocabulary the text cannot fill, or without room for the bytes.
        ModuleNotFoundError: as `SentencePieceEncoder`.
    """
    library = _library()
    chosen = sample_texts(texts, training_bytes, seed)
    if not chosen:
        raise VocabularyError("there is no text to train a tokenizer on")
    out = io.BytesIO()
    try:
        library.SentencePieceTrainer.train(
            sentence_iterator=_lines(chosen), model_writer=out, vocab_size=vocabulary, model_type="unigram",
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
            add_dummy_prefix=False, allow_whitespace_only_pieces=True, user_defined_symbols=["\n", "\t"],
            eos_id=_EOS, pad_id=_PADDING, unk_id=_UNKNOWN, bos_id=-1, eos_piece=END_OF_TEXT, pad_piece=PADDING,
            unk_piece=UNKNOWN, max_sentence_length=4 * _LONGEST_LINE, num_threads=1, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        # "INTERNAL: src/trainer_interface.cc(638) [the condition] What is wrong."
        reason = str(error).strip().splitlines()[-1].rpartition("] ")[2]
        raise VocabularyError(
            f"SentencePiece cannot make {vocabulary} pieces (at least {BYTES} bytes and 5 special ones) from "
            f"{sum(map(len, chosen))} characters of text: {reason}"
        ) from error
    return SentencePieceEncoder(out.getvalue())


def _lines(texts: list[str]) -> Iterator[str]:
    """What is learnt from: lines, long ones in parts. NUL would end a line inside the library."""
    for text in texts:
        for line in text.replace("\0", "").split("\n"):
            for start in range(0, len(line), _LONGEST_LINE):
                yield line[start : start + _LONGEST_LINE]


def _library() -> Any:
    try:
        import sentencepiece
    except ModuleNotFoundError as error:
        message = "sentencepiece is not installed: pip install 'glasshouse[sentencepiece]'"
        raise ModuleNotFoundError(message) from error
    return sentencepiece
