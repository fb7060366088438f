"""Any causal language model of `transformers` as an engine: free text, and text under constraints.

Needs the extra `huggingface`. Nothing is downloaded: give a folder, or a model that you loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.language.generation import Sampling
from glasshouse.symbolic.call import Call
from glasshouse.symbolic.completion import Scores
from glasshouse.symbolic.constrain import Vocabulary
from glasshouse.symbolic.engines.decoding import TextEngine, hash_of_tensors
from glasshouse.symbolic.errors import BadRequestError
from glasshouse.symbolic.provenance import artifact_id, hash_of_files


class HuggingFaceEngine(TextEngine):
    """A causal language model with its fast tokenizer. Messages go through its chat template where it has one.

    Args:
        model: a folder in the form of `transformers`, or a loaded model.
        tokenizer: of a loaded model; a folder has its own.
        sampling: how tokens are drawn: see `TextEngine`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        sampling: Sampling | None = None,
        *,
        device: str = "cpu",
        name: str = "huggingface",
    ) -> None:
        artifact = ""
        if isinstance(model, str | Path):
            from transformers import AutoModelForCausalLM, AutoTokenizer

            identity, artifact = hash_of_files(Path(model)), artifact_id(Path(model))
            tokenizer = tokenizer or AutoTokenizer.from_pretrained(model, local_files_only=True)
            loaded: Any = AutoModelForCausalLM.from_pretrained(model, local_files_only=True, use_safetensors=True)
            model = loaded.to(device)
        else:
            identity = hash_of_tensors(model)
        super().__init__(_Writer(model.eval(), tokenizer, f"sha256:{identity}", artifact), sampling, name)


class _Writer:
    def __init__(self, model: Any, tokenizer: Any, identity: str, artifact: str) -> None:
        if getattr(tokenizer, "backend_tokenizer", None) is None or tokenizer.eos_token_id is None:
            raise BadRequestError("the model needs a fast tokenizer that has an end-of-sequence token")
        self._model, self._tokenizer, self.identity, self.artifact = model, tokenizer, identity, artifact
        self.context = int(getattr(model.config, "max_position_embeddings", tokenizer.model_max_length))
        rows = model.get_output_embeddings().weight.shape[0]
        self.vocabulary = Vocabulary(tokenizer.backend_tokenizer, rows, tokenizer.eos_token_id)

    def prompt(self, call: Call) -> list[int]:
        tokenizer = self._tokenizer
        if tokenizer.chat_template:
            turns = [message._asdict() for message in call.messages]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            return list(tokenizer.encode(text, add_special_tokens=False))
        return list(tokenizer.encode(call.prompt)) or [tokenizer.eos_token_id]

    def scores(self, capacity: int) -> Scores:
        return _Cached(self._model)

    def text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


class _Cached:
    """A model with the cache of one text."""

    def __init__(self, model: Any) -> None:
        self._model, self._past = model, None

    @torch.inference_mode()
    def __call__(self, tokens: Sequence[int]) -> Float[Tensor, "*vocabulary"]:
        fed = torch.tensor([list(tokens)], device=self._model.device)
        found = self._model(input_ids=fed, past_key_values=self._past, use_cache=True)
        self._past = found.past_key_values
        scores: Tensor = found.logits[0, -1]
        return scores
