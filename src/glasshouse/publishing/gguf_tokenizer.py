"""A byte-level BPE tokenizer as GGUF fields: tokens, their types, merges, and the name of the splitting rule.

llama.cpp knows a tokenizer's pre-tokenisation by a name (`tokenizer.ggml.pre`) under which its own regular expression
is compiled in (`src/llama-vocab.cpp`); a tokenizer whose rule has no such name is refused, because it would silently
get other tokens. `gpt-2` is also what OLMo's rule is, `dbrx` that of OLMo 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class GgufError(ValueError):
    """A model or a tokenizer has no place in a GGUF file that llama.cpp would read the same way."""


NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Token types of GGUF (`llama_token_type`)."""

_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
NAMED_RULES = {_CL100K: "dbrx"}
"""Regular expression of a split -> the name llama.cpp compiled the same one under."""


@dataclass(frozen=True)
class GgufTokenizer:
    """What `tokenizer.ggml.*` needs.

    Attributes:
        types: one of GGUF's token types for each token.
        note: how texts may get other tokens than here; empty when they do not.
    """

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre: str
    note: str = ""


def gguf_tokenizer(file: Path, rows: int) -> GgufTokenizer:
    """The fields of a `tokenizer.json` for an embedding of `rows`; rows without a token are marked unused.

    Raises `GgufError` for anything but byte-level BPE with a splitting rule that llama.cpp has.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GgufError(f"{file} does not exist: a GGUF file needs the tokenizer beside the model") from None
    except ValueError as error:
        raise GgufError(f"{file} is not a tokenizer.json: {error}") from None
    model = document.get("model", {})
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise GgufError(f"{file} is a {model.get('type')} tokenizer; only byte-level BPE is written as GGUF")
    tokens = {number: token for token, number in model["vocab"].items()}
    types = dict.fromkeys(tokens, NORMAL)
    for added in document.get("added_tokens", []):
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added.get("special") else USER_DEFINED
    if tokens and max(tokens) >= rows:
        raise GgufError(f"{file} has token ids up to {max(tokens)}, the model's embedding has {rows} rows")
    return GgufTokenizer(
        tokens=[tokens.get(number, f"[PAD{number}]") for number in range(rows)],
        types=[types.get(number, UNUSED) for number in range(rows)],
        merges=[pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]],
        pre=_rule(document, file),
        note=_normalizer_note(document.get("normalizer"), file),
    )


def _rule(document: Mapping[str, Any], file: Path) -> str:
    outer = document.get("pre_tokenizer") or {}
    parts = outer.get("pretokenizers", []) if outer.get("type") == "Sequence" else [outer]
    last = parts[-1] if parts else {}
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        raise GgufError(f"{file} does not split into bytes without a leading space (pre_tokenizer {outer})")
    if len(parts) == 1 and last.get("use_regex", True):
        _refuse_whole_words(document, file)
        return "gpt-2"
    if len(parts) == 2 and parts[0].get("type") == "Split" and not last.get("use_regex", True):
        rule = parts[0].get("pattern", {}).get("Regex", "")
        if name := NAMED_RULES.get(rule):
            # Under `llama-bpe` llama.cpp takes a word that is a token whole, before it looks at any merge.
            return "llama-bpe" if document["model"].get("ignore_merges") else name
    raise GgufError(
        f"{file} splits text by a rule that llama.cpp has no name for here (pre_tokenizer {outer}); known are the "
        "rules of GPT-2 (and OLMo) and of cl100k (OLMo 2, Llama 3)"
    )


def _refuse_whole_words(document: Mapping[str, Any], file: Path) -> None:
    if document["model"].get("ignore_merges"):
        raise GgufError(
            f"{file} takes words that are tokens whole (ignore_merges), which gpt-2's rule in llama.cpp does not"
        )


def _normalizer_note(normalizer: Mapping[str, Any] | None, file: Path) -> str:
    if normalizer is None:
        return ""
    if normalizer.get("type") == "NFC":
        return "llama.cpp does not bring text into Unicode form NFC first, as this tokenizer does: give it NFC text"
    raise GgufError(f"{file} changes text before it splits it ({normalizer.get('type')}); llama.cpp would not")
