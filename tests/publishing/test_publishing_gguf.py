"""GGUF: what is in the file by `gguf`'s own reader, and what llama.cpp makes of it where it is installed."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from glasshouse.data.tokens.tokenizer import load_tokenizer
from glasshouse.nn.huggingface import load_huggingface, save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.publishing.gguf import write_gguf
from glasshouse.publishing.gguf_tokenizer import GgufError, gguf_tokenizer

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def parity():
    """The benchmark's own functions."""
    sys.path.insert(0, str(BENCHMARKS))  # it imports its neighbours
    try:
        spec = importlib.util.spec_from_file_location("gguf_parity", BENCHMARKS / "gguf_parity.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.fixture(scope="module")
def words(parity):
    return parity.tokenizer()


def saved(parity, words, name, home):
    parity.save_model(parity.CONFIGS[name], home / "model", words)
    return home / "model"


def field(reader, name):
    return reader.fields[name].contents()


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("olmo, clipped", "olmo"), ("olmo 2, grouped", "olmo2"), ("llama 3, grouped, tied", "llama")],
)
def test_hyper_parameters_and_tokenizer(parity, words, tmp_path, name, architecture):
    config = parity.CONFIGS[name]
    write_gguf(saved(parity, words, name, tmp_path), tmp_path / "m.gguf", name="seedling", about={"license": "mit"})
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    expected = {
        "context_length": config.context, "embedding_length": config.width, "block_count": config.layers,
        "feed_forward_length": config.feed_forward, "attention.head_count": config.heads,
        "attention.head_count_kv": config.groups, "rope.dimension_count": config.head_size,
    }  # fmt: skip
    assert field(reader, "general.architecture") == architecture
    assert {key: field(reader, f"{architecture}.{key}") for key in expected} == expected
    assert field(reader, f"{architecture}.rope.freq_base") == config.rope_theta
    epsilon = "attention.layer_norm_epsilon" if architecture == "olmo" else "attention.layer_norm_rms_epsilon"
    assert field(reader, f"{architecture}.{epsilon}") == pytest.approx(config.epsilon)
    assert ("olmo.attention.clamp_kqv" in reader.fields) == (architecture == "olmo")
    assert (field(reader, "general.name"), field(reader, "general.license")) == ("seedling", "mit")
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    assert len(tokens) == len(types) == config.vocabulary
    assert tokens[:600] == [words.id_to_token(number) for number in range(600)]
    assert (types[0], types[1], types[2], types[-1]) == (3, 3, 1, 5)  # two special ones, words, rows without a token
    assert field(reader, "tokenizer.ggml.eos_token_id") == 0
    assert field(reader, "tokenizer.ggml.pre") == "gpt-2"
    assert field(reader, "tokenizer.ggml.add_bos_token") is False
    merges = json.loads(words.to_str())["model"]["merges"]
    assert field(reader, "tokenizer.ggml.merges") == [" ".join(pair) for pair in merges]


@pytest.mark.parametrize("name", ["olmo", "olmo 2, grouped", "olmo 2, tied", "llama 3, grouped, tied"])
def test_tensors_are_ours_with_llama_cpps_rotation(parity, words, tmp_path, name):
    config = parity.CONFIGS[name]
    folder = saved(parity, words, name, tmp_path)
    write_gguf(folder, tmp_path / "m.gguf")
    state = load_huggingface(folder).state_dict()
    tensors = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert np.array_equal(tensors["token_embd.weight"], state["embedding.weight"])
    assert ("output.weight" in tensors) == (not config.tied or config.norm_placement == "after")
    for ours, theirs in (("value", "attn_v"), ("output", "attn_output")):
        assert np.array_equal(tensors[f"blk.1.{theirs}.weight"], state[f"blocks.1.attention.{ours}.weight"])
    for ours, theirs in (("query", "attn_q"), ("key", "attn_k")):
        stored, wanted = tensors[f"blk.2.{theirs}.weight"], state[f"blocks.2.attention.{ours}.weight"].numpy()
        for row in range(len(wanted)):
            head, place = divmod(row, config.head_size)
            pair, second = place % (config.head_size // 2), place // (config.head_size // 2)
            moved = head * config.head_size + 2 * pair + second  # (i, i + size/2) -> (2i, 2i + 1)
            assert np.array_equal(stored[row if config.norm_placement == "after" else moved], wanted[row])
    norms = {key for key in tensors if key.startswith("blk.0.") and "norm" in key}
    after = {f"blk.0.{kind}.weight" for kind in ("post_attention_norm", "post_ffw_norm", "attn_q_norm", "attn_k_norm")}
    before = {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"}
    assert norms == (set() if name == "olmo" else before if name.startswith("llama") else after)
    expected = sum(parameter.size for parameter in tensors.values())
    extra = state["embedding.weight"].numel() if config.tied and config.norm_placement == "after" else 0
    assert expected == config.parameters + extra


def test_narrow_precisions(parity, words, tmp_path):
    folder = saved(parity, words, "olmo 2", tmp_path)
    state = load_huggingface(folder).state_dict()
    sizes = {}
    for precision in ("f32", "f16", "q8_0"):
        write_gguf(folder, tmp_path / f"{precision}.gguf", precision)
        sizes[precision] = (tmp_path / f"{precision}.gguf").stat().st_size
    by_name = {t.name: t for t in gguf.GGUFReader(tmp_path / "f16.gguf").tensors}
    assert np.array_equal(by_name["blk.0.ffn_up.weight"].data, state["blocks.0.feed_forward.up.weight"].half())
    assert by_name["output_norm.weight"].tensor_type.name == "F32"
    by_name = {t.name: t for t in gguf.GGUFReader(tmp_path / "q8_0.gguf").tensors}
    coded = by_name["blk.0.ffn_up.weight"]
    assert coded.tensor_type.name == "Q8_0"
    values = gguf.quants.dequantize(coded.data, coded.tensor_type)
    wanted = state["blocks.0.feed_forward.up.weight"].numpy()
    step = np.abs(wanted.reshape(-1, 32)).max(1, keepdims=True) / 127  # one scale for 32 values, kept in float16
    assert (np.abs(values - wanted).reshape(-1, 32) <= 0.5 * step + 127 * step * 2**-11).all()
    assert sizes["q8_0"] < 0.6 * sizes["f16"] < 0.4 * sizes["f32"]


def test_rows_that_are_no_multiple_of_32_stay_float16(parity, words, tmp_path):
    config = parity.CONFIGS["olmo"].but(feed_forward=200)
    parity.save_model(config, tmp_path / "model", words)
    write_gguf(tmp_path / "model", tmp_path / "m.gguf", "q8_0")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert kinds["blk.0.ffn_down.weight"] == "F16"
    assert kinds["blk.0.ffn_up.weight"] == "Q8_0"


def test_other_sources_give_the_same_file(parity, words, tmp_path):
    """Shards, and OLMo's original layout."""
    folder = saved(parity, words, "olmo", tmp_path)
    model = load_huggingface(folder)
    files = [folder / "tokenizer.json", folder / "tokenizer_config.json"]
    save_huggingface(model, tmp_path / "shards", end=0, begin=0, padding=1, tokenizer_files=files, shard_bytes=300_000)
    save_huggingface(model, tmp_path / "old", end=0, begin=0, padding=1, tokenizer_files=files, family="hf_olmo")
    contents = []
    for number, place in enumerate([folder, tmp_path / "shards", tmp_path / "old"]):
        write_gguf(place, tmp_path / f"{number}.gguf", name="same")
        contents.append((tmp_path / f"{number}.gguf").read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_bad_input_is_told(parity, words, tmp_path):
    folder = saved(parity, words, "olmo", tmp_path)
    write_gguf(folder, tmp_path / "m.gguf")
    with pytest.raises(GgufError, match="exists: name a new file"):
        write_gguf(folder, tmp_path / "m.gguf")
    model = Transformer(parity.CONFIGS["olmo"])
    with torch.no_grad():
        model.blocks[0].feed_forward.up.weight[0, 0] = 1e6
    files = [folder / "tokenizer.json"]
    save_huggingface(model, tmp_path / "large", tokenizer_files=files)
    with pytest.raises(GgufError, match=r"blk\.0\.ffn_up\.weight has values beyond float16"):
        write_gguf(tmp_path / "large", tmp_path / "large.gguf", "f16")
    assert not list(tmp_path.glob("large.gguf*"))
    save_huggingface(model, tmp_path / "bare")
    with pytest.raises(GgufError, match="needs the tokenizer beside the model"):
        write_gguf(tmp_path / "bare", tmp_path / "bare.gguf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"type": "Unigram", "vocab": []}}, "is a Unigram tokenizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "does not split into bytes"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "leading space"),
        ({"normalizer": {"type": "Lowercase"}}, "changes text before it splits it"),
        (
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [
                        {"type": "Split", "pattern": {"Regex": "a+"}},
                        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
                    ],
                }
            },
            "no name for here",
        ),
    ],
)
def test_tokenizers_that_llama_cpp_would_read_otherwise_are_refused(words, tmp_path, change, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(words.to_str()) | change))
    with pytest.raises(GgufError, match=message):
        gguf_tokenizer(path, 640)
    path.write_text(words.to_str())
    with pytest.raises(GgufError, match="ids up to 599, the model's embedding has 500 rows"):
        gguf_tokenizer(path, 500)


def test_the_rules_of_olmo_2_and_llama_3_have_names(words, tmp_path):
    rule = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+"
    )
    document = json.loads(words.to_str())
    document["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": rule}, "behavior": "Removed", "invert": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    }
    document["normalizer"] = {"type": "NFC"}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    load_tokenizer(path)  # it is a tokenizer
    found = gguf_tokenizer(path, 640)
    assert found.pre == "dbrx"
    assert "NFC" in found.note
    document["model"]["ignore_merges"] = True
    path.write_text(json.dumps(document))
    assert gguf_tokenizer(path, 640).pre == "llama-bpe"


@pytest.mark.parametrize("name", ["olmo, tied", "olmo, clipped", "olmo 2, grouped", "llama 3, grouped, tied", "20M"])
def test_llama_cpp_computes_the_same(parity, words, tmp_path, name):
    pytest.importorskip(
        "llama_cpp", reason="llama-cpp-python is not installed (benchmarks/results/gguf.json has a run)"
    )
    found = parity.compare(saved(parity, words, name, tmp_path), "f32", greedy=16)
    assert found["logits"] <= parity.LOGITS_BAR
    assert found["tokens_equal"] == found["decoded_equal"] == found["texts"]
    assert found["greedy_equal"] == found["prompts"]
