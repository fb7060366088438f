"""Whole models quantised: ours and transformers', calibrated as a plain walk over layers would, written and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glasshouse.evaluation.models import open_folder
from glasshouse.language.quantisation.files import read_quantised, write_quantised
from glasshouse.language.quantisation.gptq import gptq
from glasshouse.language.quantisation.grid import round_to_nearest
from glasshouse.language.quantisation.model import pack_model, quantise_model
from glasshouse.language.quantisation.settings import Quantisation, QuantisationError
from glasshouse.nn.configuration import TransformerConfig, llama, olmo, olmo_2
from glasshouse.nn.families import ConversionError
from glasshouse.nn.huggingface import load_huggingface, save_huggingface
from glasshouse.nn.quantised import Layout, QuantisedLinear
from glasshouse.nn.transformer import Transformer
from glasshouse.nn.weight_files import OurTensors, WeightFiles

torch.set_num_threads(1)
SHAPE: dict[str, Any] = {"vocabulary": 96, "width": 64, "layers": 2, "heads": 2, "feed_forward": 96, "context": 24}
FAMILIES: dict[str, TransformerConfig] = {
    "olmo": olmo("1B").but(**SHAPE),
    "olmo 2": olmo_2().but(**SHAPE, key_value_heads=1),
    "llama": llama().but(**SHAPE),
}
LAYERS = ["attention.query", "attention.key", "attention.value", "attention.output"]
LAYERS += ["feed_forward.gate", "feed_forward.up", "feed_forward.down"]


def batches(count: int = 3, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 96, (4, 24), generator=generator) for _ in range(count)]


def inputs_of(model: nn.Module, name: str, given: list[Tensor]) -> Tensor:
    """What one layer reads, by whole passes of the model."""
    found: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, args: found.append(args[0].detach()))
    with torch.no_grad():
        for batch in given:
            model(batch)
    handle.remove()
    return torch.cat([part.flatten(0, -2) for part in found])


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_is_calibrated_on_what_the_quantised_model_feeds_it(family: str, sequential: bool) -> None:
    model, walked = Transformer(FAMILIES[family]), Transformer(FAMILIES[family])
    settings = Quantisation(bits=3, group_size=32, sequential=sequential, act_order=True)
    told: list[int] = []
    found = quantise_model(model, settings, batches(), advance=told.append)
    names = [f"blocks.{block}.{layer}" for block in range(2) for layer in LAYERS]
    assert sorted(found) == sorted(names)
    assert sum(told) == len(names)
    together = [names[:3], names[3:4], names[4:6], names[6:7], names[7:10], names[10:11], names[11:13], names[13:]]
    for group in together if sequential else [names[:7], names[7:]]:
        given = {name: inputs_of(walked, name, batches()) for name in group}
        for name in group:
            linear = walked.get_submodule(name)
            hessian = given[name].double().T @ given[name].double()
            linear.weight.data = gptq(linear.weight.data, hessian, settings).dequantise()
            # Batches are summed in another order, so that now and then a weight between two codes goes to the other.
            same = (linear.weight == model.get_submodule(name).weight).double().mean()
            assert same > 0.98, (name, float(same))
            linear.weight.data = model.get_submodule(name).weight.data.clone()
            error = found[name].error
            assert error is not None
            assert 0 < error < 0.5


def test_round_to_nearest_needs_no_text_and_gptq_does() -> None:
    model, other = Transformer(FAMILIES["olmo"]), Transformer(FAMILIES["olmo"])
    settings = Quantisation(method="rtn", bits=4, group_size=16)
    found = quantise_model(model, settings)
    weight = other.get_submodule("blocks.1.feed_forward.down").weight.data
    assert torch.equal(
        model.get_submodule("blocks.1.feed_forward.down").weight, round_to_nearest(weight, settings).dequantise()
    )
    assert all(layer.error is None for layer in found.values())
    assert torch.equal(model.embedding.weight, other.embedding.weight)
    with pytest.raises(QuantisationError, match="needs calibration tokens"):
        quantise_model(other, settings.but(method="gptq"))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_gives_back_the_model_plain_and_packed(family: str, bits: int, tmp_path: Path) -> None:
    config = FAMILIES[family]
    model = Transformer(config)
    settings = Quantisation(bits=bits, group_size=32, act_order=bits == 3, symmetric=bits == 4)
    layers = quantise_model(model, settings, batches())
    layout: Layout = "gptq_v2" if bits == 2 else "gptq"
    write_quantised(model, layers, settings, tmp_path / "made", special={"eos_token_id": 0}, layout=layout)
    plain = load_huggingface(tmp_path / "made", dtype=torch.float32)
    packed = load_huggingface(tmp_path / "made", dtype=torch.float32, packed=True)
    for name in layers:
        assert torch.equal(plain.get_submodule(name).weight, model.get_submodule(name).weight)
        assert isinstance(packed.get_submodule(name), QuantisedLinear)
    given = batches(1, seed=5)[0]
    expected = plain(given).logits
    assert torch.equal(packed(given).logits, expected)
    in_memory = plain(given).logits
    pack_model(plain, layers)
    assert torch.equal(plain(given).logits, in_memory)
    assert (expected - model(given).logits).abs().max() < 0.05  # the embedding is in 16 bits
    assert not list(packed.blocks[0].attention.query.parameters())
    stated = json.loads((tmp_path / "made/quantize_config.json").read_text())
    assert stated["bits"] == bits
    assert stated == json.loads((tmp_path / "made/config.json").read_text())["quantization_config"]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_packed_layers_take_the_bytes_that_are_promised(bits: int, group: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(256, 256, generator=generator)
    packed = round_to_nearest(weight, Quantisation(method="rtn", bits=bits, group_size=group)).pack()
    size = sum(tensor.numel() * tensor.element_size() for tensor in packed.values())
    assert size <= (bits + 32 / group) * weight.numel() / 8 * 1.05


def test_models_of_transformers_are_quantised_written_and_opened(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    save_huggingface(Transformer(FAMILIES["llama"]), tmp_path / "dense", end=0)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float32)
    ours = load_huggingface(tmp_path / "dense")
    settings = Quantisation(bits=3, group_size=32)
    found, expected = (quantise_model(model, settings, batches()) for model in (theirs, ours))
    pairs = zip(
        [f"model.layers.{block}.{name}" for block in range(2) for name in
         ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
          "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]],
        [f"blocks.{block}.{layer}" for block in range(2) for layer in LAYERS], strict=True,
    )  # fmt: skip
    for name, own in pairs:
        assert (found[name].weight.codes == expected[own].weight.codes).double().mean() > 0.98
    write_quantised(theirs, found, settings, tmp_path / "made")
    read = load_huggingface(tmp_path / "made", dtype=torch.float32)
    given = batches(1)[0]
    assert torch.allclose(read(given).logits, theirs(given).logits, atol=1e-2)


def test_a_family_that_is_not_ours_keeps_biases_and_tied_heads(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    shape = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 24}
    torch.manual_seed(0)
    config = transformers.Qwen2Config(**shape, tie_word_embeddings=True, eos_token_id=0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    settings = Quantisation(bits=4, group_size=32)
    layers = quantise_model(model, settings, batches())
    assert len(layers) == 14
    write_quantised(model, layers, settings, tmp_path / "made")
    given = batches(1)[0]
    for packed in (False, True):
        read: Any = read_quantised(tmp_path / "made", packed=packed)
        assert torch.allclose(read(given).logits, model(given).logits, atol=2e-2)
    assert "lm_head.weight" not in load_file(tmp_path / "made/model.safetensors")
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({f"w{index}": index for index in range(96)}, unk_token="w1")).save(
        str(tmp_path / "made/tokenizer.json")
    )
    opened = open_folder(tmp_path / "made")
    assert torch.equal(opened.transformer(given).logits, read_quantised(tmp_path / "made")(given).logits)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = Transformer(FAMILIES["olmo"])
    settings = Quantisation(bits=4, group_size=32, method="rtn")
    layers = quantise_model(model, settings)
    write_quantised(model, layers, settings, tmp_path / "made")
    with pytest.raises(QuantisationError, match="not empty"):
        write_quantised(model, layers, settings, tmp_path / "made")
    with pytest.raises(QuantisationError, match="no list of blocks"):
        quantise_model(nn.Linear(3, 3), settings)
    with torch.no_grad():
        model.embedding.weight[0, 0] = 1e6
    with pytest.raises(QuantisationError, match=r"embedding.weight holds numbers up to 1e\+06"):
        write_quantised(model, layers, settings, tmp_path / "other")
    with pytest.raises(ConversionError, match="packed by GPTQ, which are not converted"):
        OurTensors(WeightFiles(tmp_path / "made"), FAMILIES["olmo"], "olmo")
    config = tmp_path / "made/config.json"
    document = json.loads(config.read_text())
    config.write_text(json.dumps(document | {"quantization_config": {"quant_method": "awq", "bits": 4}}))
    with pytest.raises(ConversionError, match="awq"):
        load_huggingface(tmp_path / "made")
    config.write_text(json.dumps(document))
    tensors = load_file(tmp_path / "made/model.safetensors")
    tensors.pop("model.layers.0.mlp.up_proj.scales")
    save_file(tensors, tmp_path / "made/model.safetensors")
    with pytest.raises(ConversionError, match=r"up_proj is packed but lacks scales"):
        load_huggingface(tmp_path / "made")


def test_a_layer_that_is_damaged_is_named() -> None:
    model = Transformer(FAMILIES["olmo"])
    with torch.no_grad():
        model.get_submodule("blocks.1.attention.value").weight[0, 0] = torch.nan
    with pytest.raises(QuantisationError, match=r"blocks\.1\.attention\.value: .*not finite"):
        quantise_model(model, Quantisation(bits=4), batches())
