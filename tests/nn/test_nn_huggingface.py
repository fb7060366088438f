"""Parity with transformers, and the round trip through Hugging Face folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glasshouse.nn.configuration import TransformerConfig, llama, llama_3, olmo, olmo_1_7, olmo_2
from glasshouse.nn.families import ConversionError, family_of, from_names, to_config, to_names
from glasshouse.nn.huggingface import load_huggingface, read_config, save_huggingface
from glasshouse.nn.loss import cross_entropy
from glasshouse.nn.transformer import Transformer
from glasshouse.nn.weight_files import OurTensors, WeightFiles

transformers = pytest.importorskip("transformers", reason="parity is against transformers")
torch.set_num_threads(1)

SMALL = {"vocabulary": 199, "width": 96, "layers": 3, "heads": 4, "feed_forward": 256, "context": 128}
CONFIGS = {
    "olmo": olmo("7B").but(**SMALL),
    "olmo tied": olmo("1B").but(**SMALL),
    "olmo clipped": olmo_1_7().but(**SMALL | {"clip_qkv": 0.3}),
    "olmo 2": olmo_2().but(**SMALL),
    "olmo 2 grouped": olmo_2().but(**SMALL, key_value_heads=2),
    "llama": llama().but(**SMALL, tied=True),
    "llama grouped": llama().but(**SMALL, key_value_heads=2),
    "llama 3": llama_3().but(**SMALL | {"key_value_heads": 2}),
}
EXACT = {"olmo", "olmo tied", "olmo clipped"}


@pytest.fixture(params=list(CONFIGS))
def named(request: pytest.FixtureRequest) -> tuple[str, TransformerConfig]:
    return request.param, CONFIGS[request.param]


def model_of(config: TransformerConfig, seed: int = 1) -> Transformer:
    model = Transformer(config, seed=seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # weights of norms away from 1, so that a swapped pair shows
                parameter.copy_(torch.rand(parameter.shape, generator=torch.Generator().manual_seed(len(name))) + 0.5)
    return model


def theirs(folder: Path) -> torch.nn.Module:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32)


def tokens(batch: int = 2, length: int = 65, seed: int = 3) -> torch.Tensor:
    return torch.randint(SMALL["vocabulary"], (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [False, True])
def test_logits_equal_transformers(named, tmp_path, training):
    name, config = named
    model = model_of(config).train(training)
    save_huggingface(model, tmp_path / "m", end=0)
    other = theirs(tmp_path / "m").train(training)
    with torch.no_grad():
        for length in (1, 2, 17, 64, 128):
            ours, reference = model(tokens(length=length)).logits, other(tokens(length=length)).logits
            assert ours.dtype == torch.float32
            if name in EXACT:
                assert torch.equal(ours, reference), (length, (ours - reference).abs().max())
            else:
                assert (ours - reference).abs().max() <= 1e-6


def test_loss_and_gradients_equal_transformers(named, tmp_path):
    _, config = named
    model = model_of(config).train()
    save_huggingface(model, tmp_path / "m")
    other = theirs(tmp_path / "m").train()
    batch = tokens()
    loss = cross_entropy(model(batch[:, :-1]).logits, batch[:, 1:]).mean
    loss.backward()
    reference = other(batch, labels=batch).loss
    reference.backward()
    assert abs(loss.item() - reference.item()) <= 2e-6
    state = {name: parameter.grad for name, parameter in model.named_parameters()}
    if config.tied:
        state["head.weight"] = state["embedding.weight"]
    gradients = to_names(state, config, family_of(config))
    parameters = dict(other.named_parameters())
    for name, gradient in gradients.items():
        difference = (gradient - parameters[name].grad).norm() / parameters[name].grad.norm()
        assert difference <= 1e-5, name


def test_round_trip_is_bitwise(named, tmp_path):
    _, config = named
    model = model_of(config)
    save_huggingface(model, tmp_path / "ours", end=5, padding=1)
    other = theirs(tmp_path / "ours")
    assert other.config.eos_token_id == 5
    assert other.config.pad_token_id == 1
    other.save_pretrained(tmp_path / "theirs")
    again = load_huggingface(tmp_path / "theirs")
    assert again.config == config
    assert model.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert read_config(tmp_path / "ours")[1] == config
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_shards_are_written_and_read(tmp_path):
    model = model_of(CONFIGS["olmo"])
    save_huggingface(model, tmp_path / "m", shard_bytes=200_000)
    assert len(list((tmp_path / "m").glob("*.safetensors"))) > 3
    again = load_huggingface(tmp_path / "m", dtype=torch.bfloat16)
    assert torch.equal(again(tokens()).logits, model.bfloat16()(tokens()).logits)
    assert torch.equal(theirs(tmp_path / "m").lm_head.weight.bfloat16(), again.head_weight)


@pytest.mark.parametrize("prefix", ["model.transformer.", "transformer."])
def test_original_olmo_names_are_read(tmp_path, prefix):
    config = CONFIGS["olmo clipped"]
    model = model_of(config)
    original = to_names(model.state_dict(), config, "hf_olmo")
    state = model.state_dict()
    fused = original["model.transformer.blocks.1.ff_proj.weight"]
    assert torch.equal(fused[: config.feed_forward], state["blocks.1.feed_forward.up.weight"])  # up first, then gate
    save_file(
        {name.replace("model.transformer.", prefix): value for name, value in original.items()},
        tmp_path / "model.safetensors",
    )
    document = {
        "model_type": "hf_olmo",
        "d_model": 96,
        "n_layers": 3,
        "n_heads": 4,
        "mlp_hidden_size": 512,
        "embedding_size": 199,
        "vocab_size": 190,
        "max_sequence_length": 128,
        "weight_tying": False,
        "clip_qkv": 0.3,
        "include_bias": False,
        "rope": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(document))
    again = load_huggingface(tmp_path)
    assert again.config == config
    assert torch.equal(again(tokens()).logits, model(tokens()).logits)
    assert torch.equal(load_huggingface(tmp_path, config=config)(tokens()).logits, model(tokens()).logits)


@pytest.mark.parametrize("name", ["olmo", "olmo tied", "olmo clipped"])
def test_original_olmo_names_go_round(tmp_path, name):
    config = CONFIGS[name]
    model = model_of(config)
    save_huggingface(model, tmp_path / "original", end=5, family="hf_olmo", shard_bytes=200_000)
    files = WeightFiles(tmp_path / "original")
    head = set() if config.tied else {"model.transformer.ff_out.weight"}
    layer = ("att_proj", "attn_out", "ff_proj", "ff_out")
    blocks = {f"model.transformer.blocks.{i}.{part}.weight" for i in range(3) for part in layer}
    assert set(files.names) == {"model.transformer.wte.weight"} | blocks | head
    assert files.shape("model.transformer.blocks.0.att_proj.weight") == (3 * 96, 96)
    assert files.shape("model.transformer.blocks.0.ff_proj.weight") == (2 * 256, 96)
    document = json.loads((tmp_path / "original" / "config.json").read_text())
    assert (document["mlp_hidden_size"], document["embedding_size"], document["eos_token_id"]) == (512, 199, 5)
    again = load_huggingface(tmp_path / "original")
    assert again.config == config
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    ours = OurTensors(files, config, "hf_olmo")  # a tensor at a time, out of the stacked ones
    assert all(torch.equal(ours[key], value) for key, value in model.state_dict().items())


def test_only_an_olmo_has_the_original_names(tmp_path):
    with pytest.raises(ConversionError, match="cannot be written as hf_olmo: norm is 'rms_norm'"):
        save_huggingface(model_of(CONFIGS["llama grouped"]), tmp_path / "m", family="hf_olmo")
    with pytest.raises(ConversionError, match="there is no family 'gpt2'"):
        save_huggingface(model_of(CONFIGS["olmo"]), tmp_path / "m", family="gpt2")


PUBLISHED = {
    "OLMo 1B": (olmo("1B"), 1_176_764_416),
    "OLMo 7B": (olmo("7B"), 6_888_095_744),
    "OLMo 65B by the rule": (olmo("65B"), 65_332_576_256),
    "OLMo 1.7-7B": (olmo_1_7(), 6_888_095_744),
    "OLMo 2 1B": (olmo_2("1B"), 1_484_916_736),
    "OLMo 2 7B": (olmo_2("7B"), 7_298_617_344),
    "OLMo 2 13B": (olmo_2("13B"), 13_716_198_400),
    "OLMo 2 32B": (olmo_2("32B"), 32_234_279_936),
    "Llama 7B": (llama("7B"), 6_738_415_616),
    "Llama 13B": (llama("13B"), 13_015_864_320),
    "Llama 65B": (llama("65B"), 65_285_660_672),
    "Llama 3 8B": (llama_3("8B"), 8_030_261_248),
    "Llama 3 70B": (llama_3("70B"), 70_553_706_496),
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_every_size_has_the_parameters_that_transformers_gives_it(name):
    config, published = PUBLISHED[name]
    document = to_config(config, family_of(config))
    extra = ("architectures", "rope_theta", "initialization")
    theirs = transformers.AutoConfig.for_model(**{key: value for key, value in document.items() if key not in extra})
    with torch.device("meta"):
        other = transformers.AutoModelForCausalLM.from_config(theirs)
    assert sum(parameter.numel() for parameter in other.parameters()) == config.parameters == published
    assert theirs.rope_parameters["rope_theta"] == config.rope_theta


def test_every_wrong_tensor_is_named(tmp_path):
    config = CONFIGS["olmo"]
    names = to_names(Transformer(config).state_dict(), config, "olmo")
    del names["lm_head.weight"]
    names["model.extra"] = torch.zeros(2)
    names["model.embed_tokens.weight"] = torch.zeros(7, 96)
    with pytest.raises(ConversionError) as error:
        from_names(names, config, "olmo")
    for part in ("missing lm_head.weight", "unknown model.extra (2,)", "model.embed_tokens.weight has shape (7, 96)"):
        assert part in str(error.value)
    save_file(names, tmp_path / "model.safetensors")
    with pytest.raises(ConversionError) as lazily:
        OurTensors(WeightFiles(tmp_path), config, "olmo")
    problems = [set(str(found.value).partition(": ")[2].split("; ")) for found in (lazily, error)]
    assert problems[0] == problems[1]


def test_a_tied_head_must_equal_its_embedding(tmp_path):
    config = CONFIGS["olmo tied"]
    save_huggingface(Transformer(config), tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    assert "lm_head.weight" not in tensors
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / "m" / "model.safetensors")
    load_huggingface(tmp_path / "m")
    OurTensors(WeightFiles(tmp_path / "m"), config, "olmo")
    save_file(tensors | {"lm_head.weight": torch.zeros(199, 96)}, tmp_path / "m" / "model.safetensors")
    with pytest.raises(ConversionError, match="differs"):
        load_huggingface(tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"head_dim": 8}, "head_dim is 8"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "yarn"),
        ({"hidden_size": 97}, "multiple of heads"),
    ],
)
def test_unsupported_settings_are_refused(tmp_path, change, message):
    save_huggingface(Transformer(CONFIGS["olmo"]), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_huggingface(tmp_path / "m")


def test_folders_are_checked(tmp_path):
    model = Transformer(CONFIGS["olmo"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(ConversionError, match="not empty"):
        save_huggingface(model, tmp_path / "full")
    with pytest.raises(ConversionError, match="end token 199"):
        save_huggingface(model, tmp_path / "new", end=199)
    with pytest.raises(ConversionError, match=r"absent\.json"):
        save_huggingface(model, tmp_path / "new", tokenizer_files=[tmp_path / "absent.json"])
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConversionError, match="model folder"):
        load_huggingface(tmp_path / "full")
    save_huggingface(model, tmp_path / "new", tokenizer_files=[tmp_path / "full" / "mine.txt"])
    assert (tmp_path / "new" / "mine.txt").read_text() == "keep"
    (tmp_path / "new" / "model.safetensors").write_bytes(b"\x00" * 5)
    with pytest.raises(ConversionError, match="cannot be read"):
        load_huggingface(tmp_path / "new")
    (tmp_path / "new" / "model.safetensors").rename(tmp_path / "new" / "pytorch_model.bin")
    with pytest.raises(ConversionError, match="other weight formats"):
        load_huggingface(tmp_path / "new")
    (tmp_path / "new" / "config.json").write_text("{")
    with pytest.raises(ConversionError, match="not JSON"):
        load_huggingface(tmp_path / "new")


def test_a_shape_without_a_family_says_why():
    with pytest.raises(ConversionError, match=r"olmo: epsilon is 1e-06"):
        family_of(CONFIGS["olmo"].but(epsilon=1e-6))
    assert family_of(olmo("20M")) == "llama"
