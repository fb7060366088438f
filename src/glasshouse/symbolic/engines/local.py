"""One of this project's language models as an engine: a checkpoint of the store, or a model in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from glasshouse.language.chat import Message
from glasshouse.language.generation import Sampling, check_vocabulary, encode_prompt, next_scores
from glasshouse.language.model import LanguageModel, LoadedModel
from glasshouse.nn.transformer import KeyValueCache, Transformer
from glasshouse.symbolic.call import Call
from glasshouse.symbolic.completion import Scores
from glasshouse.symbolic.constrain import Vocabulary
from glasshouse.symbolic.engines.decoding import TextEngine, hash_of_tensors
from glasshouse.symbolic.provenance import artifact_id, hash_of_files


class LocalEngine(TextEngine):
    """A language model of this project. A tuned one reads messages in its chat form, another reads them as one text.

    The reply's `model` is the sha256 of the checkpoint's weights as the store's manifest has it, and `artifact` the id
    there: the way back to the training data (`provenance`). For a model in memory `model` is that of its tensors.
    """

    def __init__(
        self,
        model: LanguageModel | LoadedModel,
        sampling: Sampling | None = None,
        *,
        device: str = "cpu",
        name: str = "local",
    ) -> None:
        super().__init__(LocalWriter(model, device), sampling, name)


class LocalWriter:
    """The model as `decoding.Writer`; `device` is where a checkpoint is loaded to."""

    def __init__(self, model: LanguageModel | LoadedModel, device: str = "cpu") -> None:
        if isinstance(model, LoadedModel):
            self._loaded, self.identity, self.artifact = model, f"sha256:{hash_of_tensors(model.transformer)}", ""
        else:
            self._loaded, self.identity = model.load(device), f"sha256:{hash_of_files(model.path)}"
            self.artifact = artifact_id(model.path)
        loaded = self._loaded
        check_vocabulary(loaded.transformer, loaded.tokenizer)
        self.context = loaded.context
        self.vocabulary = Vocabulary(loaded.tokenizer, loaded.transformer.config.vocabulary, loaded.end_of_sequence)

    def prompt(self, call: Call) -> list[int]:
        loaded = self._loaded
        if loaded.chat is not None:
            return loaded.chat.prompt([Message(*message) for message in call.messages])
        return encode_prompt(loaded.tokenizer, call.prompt, loaded.end_of_sequence)

    def scores(self, capacity: int) -> Scores:
        self._loaded.transformer.eval()
        return _Cached(self._loaded.transformer, capacity)

    def text(self, tokens: list[int]) -> str:
        return str(self._loaded.tokenizer.decode(tokens))


class _Cached:
    """A transformer with the cache of one text."""

    def __init__(self, model: Transformer, capacity: int) -> None:
        weight = model.embedding.weight
        self._model, self._before = model, torch.zeros(1, dtype=torch.long, device=weight.device)
        self._cache = KeyValueCache(model.config, 1, capacity, dtype=weight.dtype, device=weight.device)

    @torch.inference_mode()
    def __call__(self, tokens: Sequence[int]) -> Float[Tensor, "*vocabulary"]:
        fed = torch.tensor([list(tokens)], device=self._before.device)
        return next_scores(self._model, fed, self._cache, self._before)[0]
