"""Texts encoded once and kept on disk, so that a large text encoder need not stay in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

Encode = Callable[[Sequence[str]], Tensor]
"""Texts to tokens [n, l, d]."""


class EmbeddingCache:
    """Tokens by text. `encoder` names what encodes (a hash of its files): another encoder finds nothing here.

    A file that cannot be read counts as missing and is written anew.
    """

    def __init__(self, folder: Path | str, encoder: str) -> None:
        self.folder, self.encoder = Path(folder), encoder

    def get(self, texts: Sequence[str], encode: Callable[[], Encode]) -> Float[Tensor, "n l d"]:
        """Tokens of texts; `encode` is called once, to load the encoder, if any of them is missing."""
        known = {text: self._read(text) for text in dict.fromkeys(texts)}
        missing = [text for text, found in known.items() if found is None]
        if missing:
            made = encode()(missing)
            for text, tokens in zip(missing, made, strict=True):
                self._write(text, tokens)
                known[text] = tokens.detach().cpu()
        found = [known[text] for text in texts]
        return torch.stack([tokens for tokens in found if tokens is not None])

    def _path(self, text: str) -> Path:
        return self.folder / (hashlib.sha256(f"{self.encoder}\n{text}".encode()).hexdigest() + ".safetensors")

    def _read(self, text: str) -> Tensor | None:
        try:
            return load_file(self._path(text))["tokens"]
        except (OSError, SafetensorError, KeyError):
            return None

    def _write(self, text: str, tokens: Tensor) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(text)
        beside = path.with_suffix(f".{os.getpid()}")
        save_file({"tokens": tokens.detach().cpu().contiguous()}, beside, {"text": text})
        beside.replace(path)


__all__ = ["EmbeddingCache", "Encode"]
