"""Fast byte-level BPE: the merges of a `tokenizer.json` in tiktoken, with exactly the ids of Hugging Face `tokenizers`.

tiktoken merges any two neighbours whose joined bytes are a token, Hugging Face only the pairs in its list of merges.
They agree when (1) every merge makes a token that no other merge makes, from parts that exist already, and (2) the
bytes of every token encode to that token. Then, just before merge k, only the listed pair can stand for the bytes of
token k: another split would have to be the encoding of those bytes by merges 0 … k-1, which by (2) is the listed
pair. Both are checked on construction; what does not hold, or cannot be expressed, is refused with its reason.

Added tokens that are not special are found in the text before anything else, the leftmost and longest first: runs of
spaces (GPT-NeoX has 2 to 24) within the split pattern, others by cutting the text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from glasshouse.data.tokens.encoder import Ids, vocabulary_of, with_special_as_text
from glasshouse.data.tokens.tokenizer import end_of_sequence_id

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_GPT2_RUNS = (
    r" {{{0},{1}}}|'(?:[sdmt]|ll|ve|re)| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+"
    r"|(?:(?! {{{0}}})\s)+(?!\S)|(?:(?! {{{0}}})\s)+"
)
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
KNOWN_PATTERNS = frozenset({
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    _CL100K,
    _CL100K.replace("{1,3}", ""),
})  # fmt: skip
"""GPT-2 written out, cl100k (Llama 3, OLMo 2) and Qwen 2: those compared in both regular expression engines."""

# Bytes that never occur in UTF-8; tokenizers trained on text often lack them.
_IMPOSSIBLE = frozenset({0xC0, 0xC1, *range(0xF5, 0x100)})
# The regular expressions backtrack over white space and give up on very long runs of it; such texts, which are rare, go
# through Hugging Face. A run of twice the stride covers two samples.
_STRIDE = 2048
_MOST_ADDED = 256  # cutting a text at added tokens is meant for a few of them
_LONG_RUN = re.compile(rf"\s{{{2 * _STRIDE}}}")
_TWO_SPACES = re.compile(r"\s\s")


class NotRepresentableError(ValueError):
    """A tokenizer that tiktoken cannot represent exactly; use `HuggingFaceEncoder` for it."""


class FastEncoder:
    """A byte-level BPE tokenizer at several times the speed, with identical ids.

    Args:
        tokenizer: a Hugging Face tokenizer: BPE over bytes, split as GPT-2, GPT-NeoX or a pattern of `KNOWN_PATTERNS`,
            with the NFC normalizer or none.

    Raises:
        NotRepresentableError: naming what cannot be represented exactly.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        import tiktoken

        self._slow = with_special_as_text(tokenizer)
        self._json = tokenizer.to_str()
        parts = orjson.loads(self._json)
        self._normalizer = _normalizer(parts["normalizer"])
        runs, self._cut = _added_tokens(parts["added_tokens"], normalizes=self._normalizer is not None)
        pattern = _pattern(parts["pre_tokenizer"], runs)
        ranks, ids = _ranks(parts["model"], self._slow)
        for content, identifier in runs.items():
            # Runs never reach the merges, so their entry may be taken over.
            rank = ranks.setdefault(content.encode(), len(ids))
            ids[rank : rank + 1] = [identifier]
        self._ids = np.array(ids, dtype=np.uint32)
        encoding = tiktoken.Encoding("glasshouse", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        self._core: Any = encoding._core_bpe
        self._vocabulary = vocabulary_of(tokenizer)

    @property
    def vocabulary(self) -> int:
        return self._vocabulary

    @property
    def eos_id(self) -> int:
        return end_of_sequence_id(self._slow)

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        return [self.encode(text) for text in texts]

    def encode(self, text: str) -> Ids:
        """The ids of one text."""
        if _has_long_run(text):
            return np.array(self._slow.encode(text, add_special_tokens=False).ids, dtype=np.uint32)
        if self._normalizer is not None and not text.isascii():
            text = self._normalizer.normalize_str(text)
        if self._cut is not None:
            pieces = list(self._pieces(text, *self._cut))
            return np.concatenate(pieces) if pieces else np.zeros(0, np.uint32)
        return self._ordinary(text)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        return str(self._slow.decode([int(i) for i in ids], skip_special_tokens=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_json, (self._json,)

    def _ordinary(self, text: str) -> Ids:
        ranks = np.frombuffer(self._core.encode_to_tiktoken_buffer(text, set()), np.uint32)
        return self._ids[ranks]

    def _pieces(self, text: str, pattern: re.Pattern[str], ids: dict[str, int]) -> Iterator[Ids]:
        at = 0
        for match in pattern.finditer(text):
            if match.start() > at:
                yield self._ordinary(text[at : match.start()])
            yield np.array([ids[match.group()]], dtype=np.uint32)
            at = match.end()
        if at < len(text):
            yield self._ordinary(text[at:])


@functools.lru_cache(maxsize=4)  # a worker gets the encoder with every task, and the checks take a moment
def _from_json(content: str) -> FastEncoder:
    from tokenizers import Tokenizer

    return FastEncoder(Tokenizer.from_str(content))


def _has_long_run(text: str) -> bool:
    if len(text) < 2 * _STRIDE or not _TWO_SPACES.search(text[::_STRIDE]):
        return False
    return _LONG_RUN.search(text) is not None


def _normalizer(part: dict[str, Any] | None) -> Any:
    if part is None:
        return None
    if part["type"] != "NFC":
        raise NotRepresentableError(f"the tokenizer has a normalizer of type {part['type']!r}; only NFC is reproduced")
    from tokenizers import normalizers

    return normalizers.NFC()


def _added_tokens(
    tokens: list[dict[str, Any]], normalizes: bool
) -> tuple[dict[str, int], tuple[re.Pattern[str], dict[str, int]] | None]:
    """Added tokens that are found in a text: the runs of spaces, and a pattern with the ids of all others."""
    found = [token for token in tokens if not token["special"]]
    for token in found:
        content = token["content"]
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise NotRepresentableError(f"the added token {content!r} takes spaces or word boundaries with it")
        if normalizes and not (token["normalized"] and content.isascii()):
            raise NotRepresentableError(f"the added token {content!r} is looked for before normalization")
    if len({token["normalized"] for token in found}) > 1:
        raise NotRepresentableError("some added tokens are looked for before others (their `normalized` differs)")
    runs = {token["content"]: int(token["id"]) for token in found if not token["content"].strip(" ")}
    others = {token["content"]: int(token["id"]) for token in found if token["content"].strip(" ")}
    lengths = sorted(map(len, runs))
    if lengths and (lengths[0] < 2 or lengths != list(range(lengths[0], lengths[-1] + 1))):
        raise NotRepresentableError(f"the added runs of spaces have gaps or a single space: lengths {lengths}")
    if len(others) > _MOST_ADDED:
        raise NotRepresentableError(f"there are {len(others)} added tokens, more than {_MOST_ADDED}")
    _check_overlaps([token["content"] for token in tokens], others, bool(runs))
    if not others:
        return runs, None
    longest_first = sorted(others, key=lambda content: (-len(content), content))
    return runs, (re.compile("|".join(map(re.escape, longest_first))), others)


def _check_overlaps(contents: list[str], others: dict[str, int], runs: bool) -> None:
    """Refuses added tokens whose matches could hide each other, special ones included: these are skipped as text."""
    for content in contents:
        if runs and content.strip(" ") and (content != content.strip(" ") or "  " in content):
            raise NotRepresentableError(f"the added token {content!r} overlaps with added runs of spaces")
        for other in others:
            shared = range(1, min(len(content), len(other)))
            if content != other and (other in content or any(content[-n:] == other[:n] or other[-n:] == content[:n]
                                                             for n in shared)) and content not in others:  # fmt: skip
                raise NotRepresentableError(f"the special token {content!r} overlaps with the added token {other!r}")


def _pattern(part: dict[str, Any] | None, runs: dict[str, int]) -> str:
    """The split pattern in tiktoken's syntax."""
    kinds = [] if part is None else [part] if part["type"] != "Sequence" else part["pretokenizers"]
    if not kinds or kinds[-1]["type"] != "ByteLevel" or kinds[-1]["add_prefix_space"]:
        raise NotRepresentableError(
            "the tokenizer does not split into bytes without a prefix space: pre_tokenizer "
            f"{orjson.dumps(part).decode()[:200]}"
        )
    if len(kinds) == 1 and kinds[0]["use_regex"]:
        if not runs:
            return GPT2
        lengths = sorted(map(len, runs))
        return _GPT2_RUNS.format(lengths[0], lengths[-1])
    split = kinds[0]
    known = (
        len(kinds) == 2 and not kinds[1]["use_regex"] and split["type"] == "Split" and split["behavior"] == "Isolated"
        and not split["invert"] and split["pattern"].get("Regex") in KNOWN_PATTERNS
    )  # fmt: skip
    if not known:
        raise NotRepresentableError(f"the split pattern is not a known one: {orjson.dumps(part).decode()[:300]}")
    if runs:
        raise NotRepresentableError("added runs of spaces are reproduced with the split pattern of GPT-2 only")
    return str(split["pattern"]["Regex"])


def _ranks(model: dict[str, Any], tokenizer: Tokenizer) -> tuple[dict[bytes, int], list[int]]:
    """Bytes of every token -> its rank, and rank -> id. Checks the two conditions of the module's head."""
    refused = {
        "type": model["type"] != "BPE", "dropout": model.get("dropout"), "byte_fallback": model.get("byte_fallback"),
        "continuing_subword_prefix": model.get("continuing_subword_prefix"),
        "end_of_word_suffix": model.get("end_of_word_suffix"),
    }  # fmt: skip
    for setting in (name for name, value in refused.items() if value):
        raise NotRepresentableError(f"the tokenizer's model has {setting}={model.get(setting)!r}")
    alphabet = byte_alphabet()
    vocabulary = model["vocab"]
    ranks: dict[bytes, int] = {}
    ids: list[int] = []
    for character, byte in sorted(alphabet.items(), key=lambda item: item[1]):
        if character in vocabulary:
            ranks[bytes([byte])] = len(ids)
            ids.append(vocabulary[character])
        elif byte not in _IMPOSSIBLE:
            raise NotRepresentableError(f"the byte {byte:#04x} has no token")
    for number, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        joined = left + right
        parts = _bytes(left, alphabet), _bytes(right, alphabet)
        if parts[0] not in ranks or parts[1] not in ranks:
            raise NotRepresentableError(f"merge {number} ({left!r}, {right!r}) joins a token that a later merge makes")
        if parts[0] + parts[1] in ranks:
            raise NotRepresentableError(f"merge {number} makes {joined!r}, which an earlier merge makes too")
        if [token.value for token in tokenizer.model.tokenize(joined)] != [joined]:
            raise NotRepresentableError(f"the token {joined!r} (merge {number}) is not the encoding of its own bytes")
        ranks[parts[0] + parts[1]] = len(ids)
        ids.append(vocabulary[joined])
    _check_unmerged(model, alphabet, ranks)
    return ranks, ids


def _check_unmerged(model: dict[str, Any], alphabet: dict[str, int], ranks: dict[bytes, int]) -> None:
    """With `ignore_merges` a token without a merge is still found when it is a whole piece."""
    if not model.get("ignore_merges"):
        return
    for token in model["vocab"]:
        if set(token) <= alphabet.keys() and _bytes(token, alphabet) not in ranks:
            raise NotRepresentableError(f"the token {token!r} has no merge but counts as a whole (ignore_merges)")


def _bytes(token: str, alphabet: dict[str, int]) -> bytes:
    try:
        return bytes(alphabet[character] for character in token)
    except KeyError as error:
        raise NotRepresentableError(f"the token {token!r} is not written in bytes") from error


def byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2): itself where it is printable."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(rest)}
