"""DPO against its equation written out, the kept reference, and its options."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.chat import Chat, Message
from glasshouse.language.conversations import Preference
from glasshouse.language.dpo import (
    DirectPreference,
    PreferenceTuning,
    StaleReferenceError,
    encode_preferences,
    measured,
    prefer,
    reference_log_probabilities,
    with_reference,
)
from glasshouse.language.letters import preferences
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.training.data import DataError
from glasshouse.training.objective import Objective, Step

CONTEXT, STEP = 96, Step(1, 1, 0, torch.Generator())
SETTINGS = PreferenceTuning(learning_rate=3e-3, batch_size=8, precision="fp32", log_every=1)


@pytest.fixture(scope="module")
def chat():
    texts = [message.content for item in preferences(200) for message in item.messages]
    return Chat(train_bpe([*texts, "<|user|>\n<|assistant|>\n"] * 2, 320), 0)


def small(seed=1):
    shape = {"vocabulary": 320, "width": 32, "layers": 2, "heads": 2, "feed_forward": 64, "context": CONTEXT}
    return Transformer(TransformerConfig(**shape), seed=seed)


def by_hand(model, chat, item, answer):
    """log p of one answer and its end token, and how many tokens that is."""
    prompt = chat.prompt(item.prompt)
    goal = [*chat.tokenizer.encode(answer, add_special_tokens=False).ids, chat.end]
    scores = model(torch.tensor([prompt + goal])).logits[0].log_softmax(-1)
    return sum(scores[len(prompt) - 1 + place, token] for place, token in enumerate(goal)), len(goal)


def equation(policy, reference, chat, items, *, beta, normalised=False, smoothing=0.0):
    losses = []
    for item in items:
        (pc, nc), (pr, nr) = (by_hand(policy, chat, item, text) for text in (item.chosen, item.rejected))
        rc, rr = (by_hand(reference, chat, item, text)[0].detach() for text in (item.chosen, item.rejected))
        margin = (pc - rc) / nc - (pr - rr) / nr if normalised else (pc - pr) - (rc - rr)
        p = torch.sigmoid(beta * margin)
        losses.append(-(1 - smoothing) * torch.log(p) - smoothing * torch.log(1 - p))
    return torch.stack(losses).mean()


@pytest.mark.parametrize(
    "options",
    [{"beta": 0.1}, {"beta": 5.0, "length_normalised": True}, {"beta": 0.5, "label_smoothing": 0.2}],
    ids=["plain", "normalised", "smoothed"],
)
def test_the_loss_and_its_gradient_are_the_equation(chat, options):
    items, policy, reference = preferences(6), small(1), small(2)
    items[0] = Preference(items[0].prompt, "a much longer answer than the other one", "no")
    rows = encode_preferences(items, chat, CONTEXT)
    batch = rows.batch(np.arange(6)) | {"reference": reference_log_probabilities(reference, rows)}
    objective = DirectPreference(policy, SETTINGS.but(**options))
    assert isinstance(objective, Objective)
    found = objective.loss(batch, STEP)
    found.value.backward()
    gradient = policy.embedding.weight.grad.clone()
    policy.zero_grad()
    expected = equation(
        policy, reference, chat, items, beta=options["beta"],
        normalised=options.get("length_normalised", False), smoothing=options.get("label_smoothing", 0.0),
    )  # fmt: skip
    expected.backward()
    torch.testing.assert_close(found.value, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, policy.embedding.weight.grad, rtol=1e-3, atol=1e-5)
    assert objective.weight(batch) == 6


def test_a_model_that_is_its_reference_has_no_margin(chat):
    model, rows = small(), encode_preferences(preferences(6), chat, CONTEXT)
    batch = rows.batch(np.arange(6)) | {"reference": reference_log_probabilities(model, rows, batch=2)}
    found = DirectPreference(model, SETTINGS).loss(batch, STEP)
    assert float(found.value.detach()) == pytest.approx(math.log(2), abs=1e-5)
    assert float(found.metrics["margin"]) == pytest.approx(0, abs=1e-5)


def test_a_hugging_face_model_has_the_same_numbers(chat, tmp_path):
    transformers = pytest.importorskip("transformers")
    model, rows = small(), encode_preferences(preferences(6), chat, CONTEXT)
    save_huggingface(model, tmp_path / "model", end=0)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(
        reference_log_probabilities(theirs, rows), reference_log_probabilities(model, rows), rtol=1e-5, atol=1e-4
    )


def test_ties_count_half():
    rewards = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [3.0, 1.0]])
    found = measured(rewards, rewards)
    assert float(found["accuracy"]) == 2.5 / 4
    assert float(found["margin"]) == 0.5


def test_tuning_learns_keeps_the_reference_and_resumes_exactly(chat, tmp_path):
    items, held_out = preferences(40), preferences(10, split="holdout")
    model = small()
    whole, rows = prefer(
        model, items, chat, SETTINGS.but(validate_every=5), tmp_path / "whole", validation=held_out
    )  # fmt: skip
    kept = load_file(tmp_path / "whole.reference.safetensors")["reference"]
    torch.testing.assert_close(kept, reference_log_probabilities(small(), rows))
    lines = whole.metrics.read_text()
    assert "validation/accuracy" in lines
    assert "chosen_log_probability" in lines
    assert whole.loss < 0.9 * math.log(2)
    prefer(small(), items, chat, SETTINGS.but(validate_every=5), tmp_path / "half", stop=lambda step: step == 4)
    resumed, _ = prefer(small(), items, chat, SETTINGS.but(validate_every=5), tmp_path / "half")
    assert resumed.resumed_from == 4
    assert resumed.weights_hash == whole.weights_hash


def test_a_reference_of_other_weights_or_pairs_is_refused(chat, tmp_path):
    rows, file = encode_preferences(preferences(6), chat, CONTEXT), tmp_path / "reference.safetensors"
    made = with_reference(rows, small(1), file)
    again = with_reference(rows, small(1), file)
    assert torch.equal(made.reference, again.reference)
    assert made.fingerprint == again.fingerprint != rows.fingerprint
    with pytest.raises(StaleReferenceError, match="weights were"):
        with_reference(rows, small(2), file)
    with pytest.raises(StaleReferenceError, match="pairs were"):
        with_reference(encode_preferences(preferences(5), chat, CONTEXT), small(1), file)
    with pytest.raises(StaleReferenceError, match="precision were 'fp32', now 'bf16'"):
        with_reference(rows, small(1), file, precision="bf16")


def test_cuts_are_counted_and_pairs_without_a_difference_left_out(chat):
    prompt, same = (Message("user", "hi"),), "no " * 200
    items = [
        Preference(prompt, "yes", same, "cut"),
        Preference(prompt, same + "a", same + "b", "alike"),
        Preference((Message("user", "hi " * 200),), "a", "b", "far"),
    ]
    rows = encode_preferences(items, chat, CONTEXT)
    assert (list(rows.names), rows.truncated, list(rows.left_out)) == (["cut"], 1, ["alike", "far"])
    with pytest.raises(DataError, match="none of 1 preferences"):
        encode_preferences(items[1:2], chat, CONTEXT)


def test_the_defaults_are_those_of_olmo():
    settings = PreferenceTuning()
    training = settings.training(1000)
    assert (settings.beta, training.learning_rate, training.warmup, training.final_fraction) == (0.1, 5e-7, 0.1, 0)
    assert (training.weight_decay, training.clip_norm, training.batch_size, training.examples) == (0, None, 32, 3000)


def test_padding_beside_a_longer_answer_changes_nothing(chat):
    items = [Preference((Message("user", "hi"),), "yes", "no"), Preference((Message("user", "hi"),), "yes " * 20, "no")]
    rows, model = encode_preferences(items, chat, CONTEXT), small()
    together, alone = (reference_log_probabilities(model, rows, batch=size) for size in (2, 1))
    torch.testing.assert_close(together, alone)
