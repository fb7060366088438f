"""Low-rank adapters: what learns, what is saved, and that peft itself loads and merges to the same model."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.adapters import (
    AdapterError,
    Lora,
    add_adapters,
    base_model,
    learning_parts,
    merge_adapters,
    save_adapters,
)
from glasshouse.language.chat import Chat
from glasshouse.language.dpo import PreferenceTuning, prefer
from glasshouse.language.finetune import FineTuning, finetune
from glasshouse.language.letters import conversations, preferences
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.huggingface import load_huggingface, save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.training.parallel import Layout, ParallelPlan

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

CONTEXT = 96
EVERY = Lora(rank=4, targets=("query", "key", "value", "output", "gate", "up", "down"))
SETTINGS = FineTuning(learning_rate=1e-2, batch_size=8, precision="fp32", log_every=1)


@pytest.fixture(scope="module")
def chat():
    texts = [message.content for item in conversations(200) for message in item.messages]
    return Chat(train_bpe([*texts, "<|user|>\n<|assistant|>\n"] * 2, 320), 0)


def small():
    shape = {"vocabulary": 320, "width": 32, "layers": 2, "heads": 2, "feed_forward": 64, "context": CONTEXT}
    return Transformer(TransformerConfig(**shape), seed=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "model"
    save_huggingface(small(), folder, end=0)
    return folder


def hugging_face(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture(scope="module", params=["ours", "hugging face"])
def tuned(request, exported, chat, tmp_path_factory):
    """A model with adapters, fine-tuned, and where its run is."""
    model = small() if request.param == "ours" else hugging_face(exported)
    model = add_adapters(model, EVERY)
    home = tmp_path_factory.mktemp("run")
    finetune(model, conversations(40), chat, SETTINGS, home / "run")
    return model.eval(), home


TOKENS = torch.arange(2, 62).view(2, 30)


def test_only_adapters_learn_and_are_checkpointed(tuned, exported):
    model, home = tuned
    stored = load_file(next((home / "run" / "checkpoints").glob("step-*")) / "learns.safetensors")
    assert all("lora_" in name for name in stored)
    assert sum(tensor.numel() for tensor in stored.values()) == sum(
        parameter.numel() for name, parameter in model.named_parameters() if ".lora_" in name
    )
    before = load_file(exported / "model.safetensors")
    kept = dict(base_model(model).named_parameters())
    weight = next(
        tensor
        for name, tensor in kept.items()
        if name.endswith(("query.base_layer.weight", "q_proj.base_layer.weight"))
    )
    assert torch.equal(weight, before["model.layers.0.self_attn.q_proj.weight"])
    identity = json.loads((home / "run" / "run.json").read_text())
    assert list(identity["frozen"]) == ["base"]


def test_peft_loads_what_was_saved_onto_the_exported_base(tuned, exported, tmp_path):
    model, _ = tuned
    save_adapters(model, tmp_path / "adapters", base=exported)
    loaded = peft.PeftModel.from_pretrained(hugging_face(exported), tmp_path / "adapters").eval()
    with torch.no_grad():
        expected, base = model(TOKENS).logits, small()(TOKENS).logits
        torch.testing.assert_close(loaded(TOKENS).logits, expected, rtol=0, atol=1e-5)
    assert (expected - base).abs().max() > 1e-2  # the adapters do something
    automatic = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapters").eval()
    with torch.no_grad():
        torch.testing.assert_close(automatic(TOKENS).logits, expected, rtol=0, atol=1e-5)


def test_merging_gives_the_same_logits_and_exports(exported, chat, tmp_path):
    for number, model in enumerate([small(), hugging_face(exported)]):
        adapted = add_adapters(model, EVERY)
        finetune(adapted, conversations(40), chat, SETTINGS, tmp_path / f"run {number}")
        with torch.no_grad():
            expected = adapted(TOKENS).logits
            merged = merge_adapters(adapted).eval()
            torch.testing.assert_close(merged(TOKENS).logits, expected, rtol=0, atol=1e-5)
        assert type(merged) is type(model)
        assert all(parameter.requires_grad for parameter in merged.parameters())
    ours = small()
    adapted = add_adapters(ours, EVERY)
    finetune(adapted, conversations(40), chat, SETTINGS, tmp_path / "run again")
    merged = merge_adapters(adapted).eval()
    save_huggingface(merged, tmp_path / "merged", end=0)
    with torch.no_grad():
        assert torch.equal(load_huggingface(tmp_path / "merged")(TOKENS).logits, merged(TOKENS).logits)
        assert torch.equal(hugging_face(tmp_path / "merged")(TOKENS).logits, merged(TOKENS).logits)


def test_adapters_resume_exactly_and_a_changed_base_is_refused(chat, tmp_path):
    items, lora = conversations(40), EVERY.but(dropout=0.1)
    whole, _ = finetune(add_adapters(small(), lora), items, chat, SETTINGS, tmp_path / "whole")
    finetune(add_adapters(small(), lora), items, chat, SETTINGS, tmp_path / "half", stop=lambda step: step == 3)
    resumed, _ = finetune(add_adapters(small(), lora), items, chat, SETTINGS, tmp_path / "half")
    assert resumed.resumed_from == 3
    assert resumed.weights_hash == whole.weights_hash
    other = Transformer(small().config, seed=9)
    with pytest.raises(Exception, match=r"frozen\.base was"):
        finetune(add_adapters(other, lora), items, chat, SETTINGS, tmp_path / "half")


def test_preferences_are_tuned_on_adapters(chat, tmp_path):
    settings = PreferenceTuning(learning_rate=1e-2, batch_size=8, precision="fp32", log_every=1)
    result, _ = prefer(add_adapters(small(), EVERY), preferences(40), chat, settings, tmp_path / "run")
    first = json.loads(result.metrics.read_text().splitlines()[0])["loss"]
    assert first == pytest.approx(np.log(2), abs=1e-4)
    assert result.loss < 0.9 * first


def test_drawing_is_seeded_and_dropout_is_told_to_the_trainer():
    first, same, other = (add_adapters(small(), Lora(seed=seed)) for seed in (1, 1, 2))
    drawn = [
        model.state_dict()["base_model.model.blocks.0.attention.query.lora_A.default.weight"]
        for model in (first, same, other)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert learning_parts(first)[2]
    assert not learning_parts(add_adapters(small(), Lora(dropout=0.1)))[2]
    assert learning_parts(small())[0].keys() == {"model"}


def test_dropout_is_on_while_training(chat):
    model = add_adapters(small(), EVERY.but(dropout=0.5))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    learns, _, _ = learning_parts(model)
    learns["adapters"].train()
    assert not torch.equal(model(TOKENS).logits, model(TOKENS).logits)
    learns["adapters"].eval()
    assert torch.equal(model(TOKENS).logits, model(TOKENS).logits)


def test_what_has_no_adapters_or_no_such_layer_is_refused(tmp_path):
    with pytest.raises(AdapterError, match="no linear layer is called convolution; the model has"):
        add_adapters(small(), Lora(targets=("convolution",)))
    for refuse in (lambda: save_adapters(small(), tmp_path), lambda: merge_adapters(small())):
        with pytest.raises(AdapterError, match="Transformer has no adapters"):
            refuse()


def test_adapters_on_parts_of_a_model_are_refused(monkeypatch):
    model = add_adapters(small(), EVERY)
    sharded = ParallelPlan(layout=Layout(shard=2))
    monkeypatch.setattr(ParallelPlan, "current", classmethod(lambda cls, config=None: sharded))
    with pytest.raises(AdapterError, match="set shard=1 and tensor=1"):
        learning_parts(model)
    assert learning_parts(small())[0].keys() == {"model"}
