"""A model folder as one GGUF file, which llama.cpp and what is built on it run.

Facts about the layout are llama.cpp's (`conversion/`, `src/models/{olmo,olmo2,llama}.cpp`, `src/llama-model.cpp`):

- `olmo` and `llama` turn neighbouring features (2i, 2i + 1) by rotary positions, Hugging Face's layout and `olmo2` the
  features (i, i + size/2), so the rows of query and key are reordered for the first two;
- OLMo's norms have no tensors, only an epsilon; its clamp of queries, keys and values is `attention.clamp_kqv`;
- OLMo 2's norms are `post_attention_norm`, `post_ffw_norm`, `attn_q_norm` and `attn_k_norm`;
- a tied head is left out, except for `olmo2`, which asks for `output.weight`;
- vectors stay float32 in every precision; a matrix whose rows are not a multiple of 32 stays float16 in q8_0.

Tensors are read, converted and written one at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.families import family_for, family_of
from glasshouse.nn.huggingface import read_config
from glasshouse.nn.weight_files import OurTensors, WeightFiles, shapes_of
from glasshouse.publishing.gguf_tokenizer import GgufError, GgufTokenizer, gguf_tokenizer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from gguf import GGMLQuantizationType, GGUFWriter

Precision = Literal["f32", "f16", "q8_0"]
BLOCK = 32
"""Values that share a scale in q8_0."""
_FILE_TYPES = {"f32": 0, "f16": 1, "q8_0": 7}

_OUTSIDE = {"embedding": "token_embd", "final_norm": "output_norm", "head": "output"}
_INSIDE = {
    "attention.query": "attn_q",
    "attention.key": "attn_k",
    "attention.value": "attn_v",
    "attention.output": "attn_output",
    "attention.query_norm": "attn_q_norm",
    "attention.key_norm": "attn_k_norm",
    "feed_forward.gate": "ffn_gate",
    "feed_forward.up": "ffn_up",
    "feed_forward.down": "ffn_down",
}
_NORMS = {
    "before": {"attention_norm": "attn_norm", "feed_forward_norm": "ffn_norm"},
    "after": {"attention_norm": "post_attention_norm", "feed_forward_norm": "post_ffw_norm"},
}


def write_gguf(
    folder: str | Path,
    file: str | Path,
    precision: Precision = "f32",
    *,
    name: str | None = None,
    about: Mapping[str, str] | None = None,
) -> GgufTokenizer:
    """Write the model in `folder` (as `save_huggingface` leaves it, with its tokenizer) to a new `file`.

    Args:
        name: shown by programs that load it; the folder's name by default.
        about: further `general.*` fields, such as a licence.

    Returns:
        The tokenizer's fields; its `note` says when llama.cpp may cut text into other tokens.

    Raises:
        GgufError: llama.cpp would not read model or tokenizer the same way, the file exists, or `gguf` is missing.
        ConversionError: the folder is not a model of a known family.
    """
    try:
        import gguf
    except ImportError:
        raise GgufError("writing GGUF needs the package gguf: pip install 'glasshouse[gguf]'") from None
    source, target = Path(folder), Path(file)
    if target.exists():
        raise GgufError(f"{target} exists: name a new file")
    stored, config = read_config(source)
    family = family_of(config) if stored == "hf_olmo" else family_for(config, stored)
    tokenizer = gguf_tokenizer(source / "tokenizer.json", config.vocabulary)
    tensors = OurTensors(WeightFiles(source), config, stored)
    partial = target.with_name(f"{target.name}.partial")
    writer = gguf.GGUFWriter(partial, family)
    writer.add_name(name or source.resolve().name)
    for key, value in (about or {}).items():
        writer.add_string(f"general.{key}", value)
    writer.add_file_type(_FILE_TYPES[precision])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _hyper_parameters(writer, config, family)
    _tokenizer_fields(writer, tokenizer, json.loads((source / "config.json").read_text()))
    try:
        _write(writer, tensors, config, family, precision)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return tokenizer


def tensor_names(config: TransformerConfig, family: str) -> Iterator[tuple[str, str]]:
    """(GGUF's name, ours) of every tensor, in the order in which they are written."""
    inside = _INSIDE | _NORMS[config.norm_placement]
    for ours in shapes_of(config):
        parts = ours.split(".")
        if parts[0] == "blocks":
            yield f"blk.{parts[1]}.{inside['.'.join(parts[2:-1])]}.{parts[-1]}", ours
        else:
            yield f"{_OUTSIDE[parts[0]]}.{parts[-1]}", ours
    if config.tied and family == "olmo2":
        yield "output.weight", "embedding.weight"


def _hyper_parameters(writer: GGUFWriter, config: TransformerConfig, family: str) -> None:
    writer.add_vocab_size(config.vocabulary)
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.feed_forward)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.groups)
    writer.add_rope_dimension_count(config.head_size)
    writer.add_rope_freq_base(config.rope_theta)
    if family == "olmo":
        writer.add_layer_norm_eps(config.epsilon)
        if config.clip_qkv is not None:
            writer.add_clamp_kqv(config.clip_qkv)
    else:
        writer.add_layer_norm_rms_eps(config.epsilon)


def _tokenizer_fields(writer: GGUFWriter, tokenizer: GgufTokenizer, document: Mapping[str, Any]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list(tokenizer.tokens)
    writer.add_token_types(tokenizer.types)
    writer.add_token_merges(tokenizer.merges)
    for role, add in (
        ("eos_token_id", writer.add_eos_token_id),
        ("bos_token_id", writer.add_bos_token_id),
        ("pad_token_id", writer.add_pad_token_id),
    ):
        if isinstance(number := document.get(role), int):
            add(number)
    # Our models see text without a token before it unless one is written there.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def _write(
    writer: GGUFWriter, tensors: OurTensors, config: TransformerConfig, family: str, precision: Precision
) -> None:
    import numpy as np
    from gguf.quants import quant_shape_to_byte_shape, quantize

    names, shapes = list(tensor_names(config, family)), shapes_of(config)
    kinds = [_kind(shapes[ours], precision) for _, ours in names]
    for (theirs, ours), kind in zip(names, kinds, strict=True):
        stored = quant_shape_to_byte_shape(shapes[ours], kind)
        writer.add_tensor_info(theirs, stored, np.dtype(np.uint8), int(np.prod(stored)), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for (theirs, ours), kind in zip(names, kinds, strict=True):
        values = _values(tensors[ours], ours, config, family)
        if kind.name == "F16" and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise GgufError(f"{theirs} has values beyond float16's largest (65504): write f32")
        writer.write_tensor_data(quantize(values, kind))
    writer.close()


def _kind(shape: tuple[int, ...], precision: Precision) -> GGMLQuantizationType:
    from gguf import GGMLQuantizationType

    if len(shape) == 1 or precision == "f32":
        return GGMLQuantizationType.F32
    if precision == "f16" or shape[-1] % BLOCK:
        return GGMLQuantizationType.F16
    return GGMLQuantizationType.Q8_0


def _values(tensor: torch.Tensor, ours: str, config: TransformerConfig, family: str) -> npt.NDArray[np.float32]:
    wide = tensor.float()
    if family != "olmo2" and ours.endswith(("attention.query.weight", "attention.key.weight")):
        heads = config.heads if ours.endswith("query.weight") else config.groups
        halves = wide.view(heads, 2, config.head_size // 2, -1)
        wide = halves.transpose(1, 2).reshape(wide.shape)
    values: npt.NDArray[np.float32] = wide.contiguous().numpy()
    return values
