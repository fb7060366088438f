"""Any causal language model to be scored: a Hugging Face folder, or a model and a tokenizer in memory.

A folder of a family that Glasshouse has is read without `transformers`; others need it, and only safetensors, a
`tokenizer.json` and code of `transformers` itself are used. Nothing is downloaded. Weights are in float32.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glasshouse.data.tokens.tokenizer import load_tokenizer
from glasshouse.evaluation.encoding import prefix_of
from glasshouse.language.measures import CausalModel
from glasshouse.language.model import model_of
from glasshouse.language.pretrain import model_context
from glasshouse.language.quantisation.files import read_quantised
from glasshouse.nn.families import FAMILIES
from glasshouse.nn.huggingface import load_huggingface
from glasshouse.store.store import Store


class ModelError(ValueError):
    """A folder that holds no model which can be scored."""


@dataclasses.dataclass(frozen=True)
class ScoredModel:
    """A model with its tokenizer: what `glasshouse.language.measures.CausalModel` asks for.

    `ends` are the tokens after which the model has nothing more to say; `end_of_sequence` stands before a text.
    """

    transformer: nn.Module
    tokenizer: Any
    end_of_sequence: int
    context: int
    ends: frozenset[int] = frozenset()


def scored_model(
    model: nn.Module,
    tokenizer: Any,
    *,
    end_of_sequence: int | None = None,
    context: int | None = None,
    ends: Iterable[int] | None = None,
) -> ScoredModel:
    """A causal model of `transformers` or of this house, to be measured.

    Args:
        tokenizer: of `tokenizers` or `transformers`.
        end_of_sequence: the token that stands before a text; by default what the tokenizer puts there, else the
            `eos_token_id` of the model's configuration.
        context: longest input, in tokens; by default the model's.
        ends: tokens that end a text; by default the `eos_token_id` of the model's configuration, and `end_of_sequence`
            where it has none.

    Raises:
        ModelError: no such token is known.
    """
    prefix = prefix_of(tokenizer)
    stated = getattr(getattr(model, "config", None), "eos_token_id", None)
    stops = [token for token in (stated if isinstance(stated, list) else [stated]) if token is not None]
    ids = [end_of_sequence, *prefix[:1], *stops]
    begin = next((token for token in ids if token is not None), None)
    if begin is None:
        raise ModelError("neither the tokenizer nor the model says which token stands before a text: give it")
    ended = frozenset(stops or [begin]) if ends is None else frozenset(ends)
    return ScoredModel(model.eval(), tokenizer, int(begin), context or model_context(model), ended)


def open_folder(folder: str | Path, device: str = "cpu") -> ScoredModel:
    """The model in a Hugging Face folder.

    Raises:
        ModelError: naming the file that is missing.
        ImportError: the family is not one of ours and `transformers` is not installed.
    """
    home = Path(folder)
    config = home / "config.json"
    if not config.is_file() or not (home / "tokenizer.json").is_file():
        raise ModelError(f"{home} is no model folder: it needs config.json, tokenizer.json and safetensors files")
    stated: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    module: nn.Module
    if stated.get("model_type") in FAMILIES:
        module = load_huggingface(home, dtype=torch.float32, device=device)
    elif "quantization_config" in stated:
        module = read_quantised(home, device)
    else:
        try:
            from transformers import AutoModelForCausalLM
        except ImportError:
            raise ImportError(
                f"a model of the family {stated.get('model_type')!r} needs the package transformers: "
                "pip install 'glasshouse[huggingface]'"
            ) from None
        try:
            opened: Any = AutoModelForCausalLM.from_pretrained(
                home, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
            module = opened.to(device)
        except OSError as error:
            raise ModelError(f"{home} cannot be opened: {error}") from None
    tokenizer = load_tokenizer(home)
    begin, ends = prefix_of(tokenizer), _ends(home, stated, tokenizer)
    return scored_model(module, tokenizer, end_of_sequence=(*begin, *ends, None)[0], ends=ends or None)


def open_named(name: str, *, store: str = ".glasshouse", device: str = "cpu") -> CausalModel:
    """A model by what people call it: a folder, `hf:NAME` of the local cache, or an id, a pin or a recipe of the store.

    Raises:
        ModelError, StoreError: there is none of that name.
    """
    if Path(name).is_dir():
        return open_folder(name, device)
    if name.startswith("hf:"):
        return open_cached(name.removeprefix("hf:"), device)
    loaded: CausalModel = model_of(Store(store), name).load(device)
    return loaded


def open_cached(name: str, device: str = "cpu") -> ScoredModel:
    """A model of the Hugging Face Hub by name, out of the local cache; it is never fetched.

    Raises:
        ModelError: it is not in the cache.
        ImportError: `huggingface_hub` is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise ImportError(
            "models are found by name in the cache of huggingface_hub: pip install 'glasshouse[huggingface]'"
        ) from None
    try:
        return open_folder(snapshot_download(name, local_files_only=True), device)
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"{name} is not in the local Hugging Face cache ({type(error).__name__}), and nothing is downloaded: fetch "
            f"it yourself with `hf download {name}`, or give a folder"
        ) from None


def _ends(home: Path, stated: dict[str, Any], tokenizer: Any) -> list[int]:
    """The end tokens that a folder states: for generation, of the model, and of the tokenizer (a chat's may differ)."""
    found: list[Any] = []
    for name, key in (("generation_config.json", "eos_token_id"), ("tokenizer_config.json", "eos_token")):
        beside = home / name
        said = json.loads(beside.read_text(encoding="utf-8")).get(key) if beside.is_file() else None
        found += said if isinstance(said, list) else [said]
    said = stated.get("eos_token_id")
    found += said if isinstance(said, list) else [said]
    words = [token["content"] if isinstance(token, dict) else token for token in found]
    ids = [tokenizer.token_to_id(word) if isinstance(word, str) else word for word in words]
    return list(dict.fromkeys(int(token) for token in ids if token is not None))
