"""The published model layouts as data: which switches a family has, how it names its fields and its tensors.

`olmo`, `olmo2` and `llama` are the Hugging Face layouts; `hf_olmo` is OLMo's original one with fused matrices
(`att_proj` = query, key, value; `ff_proj` = up, then gate).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.transformer import Transformer


class ConversionError(ValueError):
    """A model folder cannot be read, or a model has no place in the family it should be written as."""


@dataclass(frozen=True)
class Family:
    """One published layout: `fields` maps our configuration to its keys, `tensors` its names to ours.

    A tensor with several of our names is those tensors stacked along the first dimension. `{}` is the layer.
    """

    architecture: str
    switches: Mapping[str, Any]
    fields: Mapping[str, str]
    tensors: Mapping[str, tuple[str, ...]]
    required: Mapping[str, Any]
    defaults: Mapping[str, Any]


_FIELDS = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "key_value_heads": "num_key_value_heads",
    "feed_forward": "intermediate_size",
    "context": "max_position_embeddings",
    "tied": "tie_word_embeddings",
}
_TENSORS = {
    "model.embed_tokens.weight": ("embedding.weight",),
    "model.layers.{}.self_attn.q_proj.weight": ("blocks.{}.attention.query.weight",),
    "model.layers.{}.self_attn.k_proj.weight": ("blocks.{}.attention.key.weight",),
    "model.layers.{}.self_attn.v_proj.weight": ("blocks.{}.attention.value.weight",),
    "model.layers.{}.self_attn.o_proj.weight": ("blocks.{}.attention.output.weight",),
    "model.layers.{}.mlp.gate_proj.weight": ("blocks.{}.feed_forward.gate.weight",),
    "model.layers.{}.mlp.up_proj.weight": ("blocks.{}.feed_forward.up.weight",),
    "model.layers.{}.mlp.down_proj.weight": ("blocks.{}.feed_forward.down.weight",),
    "lm_head.weight": ("head.weight",),
}
_PLAIN = {"hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0}
_OLMO = {"norm": "layer_norm", "norm_placement": "before", "query_key_norm": False}

FAMILIES: dict[str, Family] = {
    "olmo": Family(
        architecture="OlmoForCausalLM",
        switches=_OLMO | {"epsilon": 1e-5},
        fields=_FIELDS | {"clip_qkv": "clip_qkv"},
        tensors=_TENSORS,
        required=_PLAIN,
        defaults={"initialization": "mitchell"},
    ),
    "olmo2": Family(
        architecture="Olmo2ForCausalLM",
        switches={"norm": "rms_norm", "norm_placement": "after", "query_key_norm": True, "clip_qkv": None},
        fields=_FIELDS | {"epsilon": "rms_norm_eps"},
        tensors=_TENSORS
        | {
            "model.layers.{}.self_attn.q_norm.weight": ("blocks.{}.attention.query_norm.weight",),
            "model.layers.{}.self_attn.k_norm.weight": ("blocks.{}.attention.key_norm.weight",),
            "model.layers.{}.post_attention_layernorm.weight": ("blocks.{}.attention_norm.weight",),
            "model.layers.{}.post_feedforward_layernorm.weight": ("blocks.{}.feed_forward_norm.weight",),
            "model.norm.weight": ("final_norm.weight",),
        },
        required=_PLAIN,
        defaults={"initialization": "normal", "epsilon": 1e-5},
    ),
    "llama": Family(
        architecture="LlamaForCausalLM",
        switches={"norm": "rms_norm", "norm_placement": "before", "query_key_norm": False, "clip_qkv": None},
        fields=_FIELDS | {"epsilon": "rms_norm_eps"},
        tensors=_TENSORS
        | {
            "model.layers.{}.input_layernorm.weight": ("blocks.{}.attention_norm.weight",),
            "model.layers.{}.post_attention_layernorm.weight": ("blocks.{}.feed_forward_norm.weight",),
            "model.norm.weight": ("final_norm.weight",),
        },
        required=_PLAIN | {"mlp_bias": False},
        defaults={"initialization": "normal", "epsilon": 1e-6},
    ),
    "hf_olmo": Family(
        architecture="OLMoForCausalLM",
        switches=_OLMO | {"epsilon": 1e-5},
        fields={
            "vocabulary": "embedding_size",
            "width": "d_model",
            "layers": "n_layers",
            "heads": "n_heads",
            "context": "max_sequence_length",
            "tied": "weight_tying",
            "clip_qkv": "clip_qkv",
        },
        tensors={
            "model.transformer.wte.weight": ("embedding.weight",),
            "model.transformer.blocks.{}.att_proj.weight": tuple(
                f"blocks.{{}}.attention.{part}.weight" for part in ("query", "key", "value")
            ),
            "model.transformer.blocks.{}.attn_out.weight": ("blocks.{}.attention.output.weight",),
            "model.transformer.blocks.{}.ff_proj.weight": (
                "blocks.{}.feed_forward.up.weight",
                "blocks.{}.feed_forward.gate.weight",
            ),
            "model.transformer.blocks.{}.ff_out.weight": ("blocks.{}.feed_forward.down.weight",),
            "model.transformer.ff_out.weight": ("head.weight",),
        },
        required={
            "include_bias": False,
            "rope": True,
            "alibi": False,
            "activation_type": "swiglu",
            "layer_norm_type": "default",
            "layer_norm_with_affine": False,
            "block_type": "sequential",
            "attention_layer_norm": False,
        },
        defaults={"initialization": "mitchell"},
    ),
}


def family_of(config: TransformerConfig) -> str:
    """The family whose switches `config` has. Raises `ConversionError` naming what stands in the way of each."""
    reasons = []
    for name in FAMILIES:
        if not (differs := _differences(config, name)):
            return name
        reasons.append(f"{name}: {', '.join(differs)}")
    raise ConversionError(f"no Hugging Face family has these switches ({'; '.join(reasons)})")


def family_for(config: TransformerConfig, wanted: str | None = None) -> str:
    """The family to write as: `wanted`, which must have the switches of `config`; the one that fits when None."""
    if wanted is None:
        return family_of(config)
    if wanted not in FAMILIES:
        raise ConversionError(f"there is no family {wanted!r}; there are {', '.join(FAMILIES)}")
    if differs := _differences(config, wanted):
        raise ConversionError(f"the model cannot be written as {wanted}: {', '.join(differs)}")
    return wanted


def _differences(config: TransformerConfig, family: str) -> list[str]:
    differs = [
        f"{switch} is {getattr(config, switch)!r}, not {value!r}"
        for switch, value in FAMILIES[family].switches.items()
        if getattr(config, switch) != value
    ]
    if family == "hf_olmo" and config.groups != config.heads:
        differs.append(f"key_value_heads is {config.groups}, not {config.heads}")
    return differs


def to_config(config: TransformerConfig, family: str) -> dict[str, Any]:
    """The content of `config.json`, special tokens aside."""
    layout = FAMILIES[family]
    values = {key: getattr(config, name) for name, key in layout.fields.items()}
    if family == "hf_olmo":
        original = {
            "vocab_size": config.vocabulary,
            "mlp_hidden_size": 2 * config.feed_forward,
            "rope_theta": config.rope_theta,
            "init_fn": config.initialization,
        }
        return {"architectures": [layout.architecture], "model_type": family, **values, **original, **layout.required}
    return {
        "architectures": [layout.architecture],
        "model_type": family,
        **values,
        "num_key_value_heads": config.groups,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "rope_theta": config.rope_theta,
        "initializer_range": 0.02,
        "initialization": config.initialization,
        "use_cache": True,
        **layout.required,
    }


def from_config(document: Mapping[str, Any], family: str) -> TransformerConfig:
    """Our configuration from the content of a `config.json`; refuses settings the model here does not have."""
    layout = FAMILIES[family]
    rope = document.get("rope_parameters") or document.get("rope_scaling") or {}
    values: dict[str, Any] = {**layout.defaults, **layout.switches}
    values |= {name: document[key] for name, key in layout.fields.items() if document.get(key) is not None}
    if family == "hf_olmo":
        hidden = document.get("mlp_hidden_size") or document.get("mlp_ratio", 4) * document.get("d_model", 0)
        values |= {"feed_forward": hidden // 2, "vocabulary": document.get("embedding_size") or document["vocab_size"]}
    values["rope_theta"] = float(rope.get("rope_theta") or document.get("rope_theta") or 10_000.0)
    stated = document.get("initialization", document.get("init_fn"))
    if stated in ("mitchell", "normal"):
        values["initialization"] = stated
    if values.get("key_value_heads") == values.get("heads"):
        values["key_value_heads"] = None
    config = TransformerConfig(**values)
    wrong = [
        f"{key} is {document[key]!r}, supported is {value!r}"
        for key, value in layout.required.items()
        if document.get(key) is not None and document[key] != value
    ]
    if (kind := rope.get("rope_type", rope.get("type", "default"))) not in (None, "default"):
        wrong.append(f"rope_type is {kind!r}, supported is 'default'")
    if document.get("head_dim") not in (None, config.head_size):
        wrong.append(f"head_dim is {document['head_dim']}, supported is width / heads = {config.head_size}")
    if wrong:
        raise ConversionError(f"config.json ({family}): {'; '.join(wrong)}")
    return config


def to_names(state: Mapping[str, Tensor], config: TransformerConfig, family: str) -> dict[str, Tensor]:
    """Our state under the family's names. A tied head is left out."""
    return {
        theirs: torch.cat([state[name] for name in ours]) if len(ours) > 1 else state[ours[0]]
        for theirs, ours in family_names(config, family)
    }


def from_names(tensors: Mapping[str, Tensor], config: TransformerConfig, family: str) -> dict[str, Tensor]:
    """A family's tensors as our state. Raises `ConversionError` naming missing, unknown and mis-shaped ones."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Transformer(config).state_dict().items()}
    expected = dict(family_names(config, family))
    left = dict(tensors)
    if config.tied:
        _drop_tied_copy(left, family)
    problems = [f"missing {name}" for name in expected if name not in left]
    problems += [f"unknown {name} {tuple(left[name].shape)}" for name in left if name not in expected]
    state: dict[str, Tensor] = {}
    for theirs, ours in expected.items():
        rows = [shapes[name][0] for name in ours]
        shape = (sum(rows), *shapes[ours[0]][1:])
        if theirs not in left:
            continue
        if tuple(left[theirs].shape) != shape:
            problems.append(f"{theirs} has shape {tuple(left[theirs].shape)}, expected {shape}")
            continue
        parts = torch.split(left[theirs], rows) if len(ours) > 1 else [left[theirs]]
        state |= {name: part.clone() if len(ours) > 1 else part for name, part in zip(ours, parts, strict=True)}
    if problems:
        raise ConversionError(f"the tensors do not fit the configuration ({family}): {'; '.join(problems)}")
    return state


def family_names(config: TransformerConfig, family: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The family's tensor names in order, each with our names it is stacked from. A tied head is left out."""
    for theirs, ours in FAMILIES[family].tensors.items():
        if ours == ("head.weight",) and config.tied:
            continue
        layers = range(config.layers) if "{}" in theirs else [0]
        for layer in layers:
            yield theirs.format(layer), tuple(name.format(layer) for name in ours)


def _drop_tied_copy(tensors: dict[str, Tensor], family: str) -> None:
    by_ours = {ours[0]: theirs for theirs, ours in FAMILIES[family].tensors.items()}
    head, embedding = by_ours["head.weight"], by_ours["embedding.weight"]
    if head in tensors and embedding in tensors:
        if not torch.equal(tensors[head], tensors[embedding]):
            raise ConversionError(f"{head} differs from {embedding}, but the configuration ties them")
        del tensors[head]


def guess_family(tensors: Mapping[str, Tensor], config: TransformerConfig) -> str:
    return "hf_olmo" if any(".att_proj." in name for name in tensors) else family_of(config)
