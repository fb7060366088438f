"""Packed rows give the loss and the gradient of their examples one by one; what is cut is counted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.chat import Chat, Message
from glasshouse.language.conversations import Conversation
from glasshouse.language.finetune import FineTuning, SupervisedFineTuning, finetune
from glasshouse.language.letters import conversations
from glasshouse.language.packing import best_fit, pack
from glasshouse.language.scoring import log_probabilities, mean_loss, segment_mask, token_loss
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.loss import IGNORE
from glasshouse.nn.transformer import Transformer
from glasshouse.training.data import DataError
from glasshouse.training.objective import Step

CONTEXT = 96


@pytest.fixture(scope="module")
def chat():
    texts = [message.content for item in conversations(200) for message in item.messages]
    return Chat(train_bpe([*texts, "<|user|>\n<|assistant|>\n"] * 2, 320), 0)


def ours(**changes):
    shape = {"vocabulary": 320, "width": 32, "layers": 2, "heads": 2, "feed_forward": 64, "context": CONTEXT}
    return Transformer(TransformerConfig(**(shape | changes)), seed=1)


def theirs(attention):
    transformers = pytest.importorskip("transformers")
    config = transformers.OlmoConfig(
        vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=CONTEXT, pad_token_id=1, eos_token_id=0, attn_implementation=attention,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.OlmoForCausalLM(config)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_best_fit_places_everything_once_and_never_overfills(lengths):
    rows = best_fit(lengths, 20)
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    totals = [sum(lengths[item] for item in row) for row in rows]
    assert max(totals) <= 20
    assert len(rows) <= 1.7 * np.ceil(sum(lengths) / 20) + 1  # best-fit's bound (Johnson et al. 1974)


@pytest.mark.parametrize("make", [ours, lambda: theirs("sdpa"), lambda: theirs("eager")], ids=["ours", "sdpa", "eager"])
def test_packed_rows_have_the_loss_of_their_examples(chat, make):
    model, items = make().eval(), conversations(12)
    packed = pack(items, chat, CONTEXT)
    assert packed.rows < len(items) / 1.5
    batch = packed.batch(np.arange(packed.rows))
    loss = token_loss(model, batch)
    loss.total.backward()
    gradient = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    total, count = torch.zeros(()), 0
    for item in items:
        encoded = chat.encode(item.messages)
        tokens = torch.from_numpy(encoded.tokens)[None]
        found = model(tokens).logits[0, :-1].log_softmax(-1)[torch.arange(tokens.shape[1] - 1), tokens[0, 1:]]
        learnt = torch.from_numpy(encoded.learnt[1:])
        total, count = total - found[learnt].sum(), count + int(learnt.sum())
    total.backward()
    assert int(loss.counted) == count
    torch.testing.assert_close(loss.total, total, rtol=1e-6, atol=1e-5)
    for packed_gradient, parameter in zip(gradient, model.parameters(), strict=True):
        torch.testing.assert_close(packed_gradient, parameter.grad, rtol=1e-4, atol=1e-5)


def test_without_the_segments_the_loss_would_differ(chat):
    model, packed = ours(), pack(conversations(12), chat, CONTEXT)
    batch = packed.batch(np.arange(packed.rows))
    blind = {name: batch[name] for name in ("tokens", "targets")}
    with torch.no_grad():
        assert abs(float(token_loss(model, batch).mean - token_loss(model, blind).mean)) > 1e-3


def test_log_probabilities_are_minus_the_losses_also_in_many_pieces(chat, monkeypatch):
    model, packed = ours(), pack(conversations(12), chat, CONTEXT)
    batch = packed.batch(np.arange(packed.rows))
    whole = log_probabilities(model, batch)
    torch.testing.assert_close(-whole.sum(), token_loss(model, batch).total)
    assert (whole[batch["targets"] == IGNORE] == 0).all()
    (whole**2).sum().backward()
    expected = model.embedding.weight.grad.clone()
    model.zero_grad()
    monkeypatch.setattr("glasshouse.language.scoring.CHUNK", 7)
    pieces = log_probabilities(model, batch)
    (pieces**2).sum().backward()
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(model.embedding.weight.grad, expected, rtol=1e-4, atol=1e-5)


def test_the_mask_of_segments_is_the_definition():
    segments = torch.tensor([[1, 1, 2, 2, 2, 0, 0]])
    mask = segment_mask(segments)[0, 0]
    for query in range(7):
        for key in range(7):
            assert bool(mask[query, key]) == (key <= query and segments[0, query] == segments[0, key])


def test_cuts_are_counted_and_what_has_no_answer_left_is_named(chat):
    short = Conversation((Message("user", "hi"), Message("assistant", "yes")), name="short")
    long = Conversation((Message("user", "hi"), Message("assistant", "no " * 200)), name="long")
    empty = Conversation((Message("user", "hi " * 200), Message("assistant", "no")), name="empty")
    rows = pack([short, long, empty], chat, CONTEXT, packed=False)
    assert (rows.truncated, list(rows.left_out), list(rows.names)) == (1, ["empty"], ["short", "long"])
    assert rows.counts == {
        "examples": 2, "rows": 2, "tokens": sum(len(item.tokens) for item in rows.examples),
        "learnt_tokens": sum(item.learnt for item in rows.examples), "truncated": 1, "left_out": 1,
    }  # fmt: skip
    assert len(rows.examples[1].tokens) == CONTEXT
    assert rows.batch(np.array([0]))["tokens"].shape[1] == len(rows.examples[0].tokens)
    with pytest.raises(DataError, match="none of 1 conversations has an answer inside the first 96 tokens"):
        pack([empty], chat, CONTEXT)


def test_fine_tuning_learns_answers_and_resumes_exactly(chat, tmp_path):
    items, settings = conversations(60), FineTuning(learning_rate=3e-3, batch_size=8, precision="fp32", log_every=1)
    model = ours()
    before = mean_loss(model, pack(items, chat, CONTEXT))
    whole, rows = finetune(
        model, items, chat, settings, tmp_path / "whole", validation=conversations(8, split="holdout")
    )
    assert mean_loss(model, rows) < 0.7 * before
    again = ours()
    finetune(again, items, chat, settings, tmp_path / "half", stop=lambda step: step == 3)
    again = ours()
    resumed, _ = finetune(again, items, chat, settings, tmp_path / "half")
    assert resumed.resumed_from == 3
    assert resumed.weights_hash == whole.weights_hash


def test_accumulation_counts_tokens_not_rows(chat):
    model, packed = ours(), pack(conversations(12), chat, CONTEXT)
    objective, step = SupervisedFineTuning(model), Step(1, 1, 0, torch.Generator())
    whole = packed.batch(np.arange(packed.rows))
    parts = [packed.batch(np.array([row])) for row in range(packed.rows)]
    total = sum(objective.weight(part) for part in parts)
    mean = sum(objective.weight(part) / total * objective.loss(part, step).value for part in parts)
    torch.testing.assert_close(mean, objective.loss(whole, step).value)
    logits = model(whole["tokens"], mask=segment_mask(whole["segments"]), positions=whole["positions"]).logits
    expected = functional.cross_entropy(logits.flatten(0, 1), whole["targets"].flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(mean, expected)


def test_the_defaults_are_those_of_olmo():
    training = FineTuning().training(1000)
    assert (training.learning_rate, training.warmup, training.schedule, training.final_fraction) == (
        2e-6,
        0.03,
        "linear",
        0,
    )
    assert (training.weight_decay, training.clip_norm, training.batch_size, training.examples) == (0, None, 128, 3000)


def test_a_foreign_tokenizer_and_too_long_a_context_are_refused(chat, tmp_path):
    with pytest.raises(DataError, match="the tokenizer has ids up to 319, the model embeds 300"):
        finetune(ours(vocabulary=300), conversations(4), chat, FineTuning(), tmp_path)
    with pytest.raises(DataError, match="a context of 200 tokens exceeds the model's 96"):
        finetune(ours(), conversations(4), chat, FineTuning(context=200), tmp_path)
