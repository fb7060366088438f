"""Both loops on a language model of our own, small: answers, pools, exploration, collected pairs, policies."""

from __future__ import annotations

import json

import pytest
import torch

from glasshouse.alignment.algebra import Good
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.interaction import Interaction
from glasshouse.alignment.language_answers import asked, scores_of_all
from glasshouse.alignment.language_policy import PolicyTuning, optimise, win_rate
from glasshouse.alignment.language_world import draw_pool
from glasshouse.alignment.ledger import Ledger
from glasshouse.alignment.online import NeuralAgent, explore
from glasshouse.alignment.preference_rows import chat_encoding
from glasshouse.alignment.reward_models import Base, LoadedRewardModel, RewardTraining, train_head
from glasshouse.alignment.rloo import Rloo
from glasshouse.alignment.trl import from_trl_rows
from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.chat import Chat, Message
from glasshouse.language.conversations import Preference
from glasshouse.language.dpo import PreferenceTuning, prefer
from glasshouse.language.letters import preferences
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.nn.transformer import Transformer
from glasshouse.training.data import DataError

torch.set_num_threads(1)
CONTEXT, TOKENS = 96, 8


@pytest.fixture(scope="module")
def chat():
    texts = [message.content for item in preferences(200) for message in item.messages]
    return Chat(train_bpe([*texts, "<|user|>\n<|assistant|>\n"] * 2, 320), 0)


def small(seed=1):
    shape = {"vocabulary": 320, "width": 32, "layers": 2, "heads": 2, "feed_forward": 64, "context": CONTEXT}
    return Transformer(TransformerConfig(**shape), seed=seed)


def base(chat):
    return Base(small(seed=9).requires_grad_(False), chat_encoding(chat), CONTEXT, chat.end)


def judge(chat, directory, seed=0):
    """A head that learnt to tell long answers from short ones."""
    pairs = [
        Preference(item.prompt, item.chosen + " and so on and so on", item.chosen, f"pair {number}")
        for number, item in enumerate(preferences(40, seed=seed))
    ]
    settings = RewardTraining(head=EpistemicConfig(kind="point", hidden=(16,)), epochs=5, learning_rate=1e-2)
    made, _, _ = train_head(base(chat), pairs, settings, directory)
    return made


class Lengths(LoadedRewardModel):
    """A judge whose verdict is known: the length of the answer."""

    def rewards(self, conversations, *, batch=16):
        return torch.tensor([[float(len(messages[-1].content)) for messages in conversations]])


def lengths(chat):
    return Lengths(base(chat))


def questions(chat, most=6, seed=0):
    return asked(preferences(40, seed=seed), chat, CONTEXT, TOKENS, most)


def test_prompts_are_different_and_leave_room(chat):
    found = questions(chat)
    assert len(set(found.conversations)) == 6
    assert all(len(row) + TOKENS <= CONTEXT for row in found.rows.prompts)
    with pytest.raises(DataError, match="none of 40 prompts leaves room for 95"):
        asked(preferences(40), chat, CONTEXT, 95, 6)


def test_answers_are_judged_as_the_next_turn_of_their_own_prompt(chat):
    found = questions(chat)
    drawn = found.draw(small(), 3, seed=0, batch=4)
    assert [len(part.prompts) for part in drawn] == [4, 2]
    conversations = [item for part in drawn for item in found.continued(part)]
    texts = [text for part in drawn for several in found.texts(part) for text in several]
    for number, messages in enumerate(conversations):
        assert messages == [*found.conversations[number // 3], Message("assistant", texts[number])]
    scores = scores_of_all(found, {"length": lengths(chat)}, drawn)["length"]
    assert scores.flatten().tolist() == [len(text) for text in texts]


def test_a_pool_is_explored_and_what_was_asked_is_learnt_with_dpo(chat, tmp_path):
    model = small()
    pool = draw_pool(model, questions(chat, most=12), judge(chat, tmp_path / "judge"), 10, seed=0)
    assert pool.embeddings.shape[:2] == pool.rewards.shape == (12, 10)
    assert float(pool.rewards.std()) == pytest.approx(1, abs=1e-4)
    world = pool.world()
    assert (world.rows, world.held_out.rows) == (range(9), range(9, 12))
    candidates = world.draw(4, 6, torch.Generator().manual_seed(0))
    words = {(prompt, text) for prompt, several in zip(pool.prompts, pool.texts, strict=True) for text in several}
    for row in range(4):
        assert {(candidates.prompt(row), candidates.text(row, place)) for place in range(6)} <= words
        assert candidates.prompt(row) in pool.prompts[:9]
    with pytest.raises(DataError, match="11 candidates"):
        world.draw(1, 11, torch.Generator())

    settings = Interaction(epochs=4, prompts=6, candidates=6, capacity=100, assessed_prompts=20)
    agent = NeuralAgent(head=EpistemicConfig(hidden=(8,), particles=3), updates=2, batch_size=8)
    curve = explore(world, Rule(name="double_ts"), settings, agent, tmp_path / "asked")
    assert curve.queries == [0, 6, 12, 18, 24]
    ledger = Ledger(tmp_path / "asked" / "queries.jsonl")
    assert len(ledger) == 24
    assert {query.prompt for query in ledger} <= set(pool.prompts[:9])

    collected = list(ledger.preferences())
    assert [(p.prompt, p.chosen, p.rejected) for p in from_trl_rows(ledger.rows())] == [
        (p.prompt, p.chosen, p.rejected) for p in collected
    ]
    tuning = PreferenceTuning(epochs=8, learning_rate=3e-3, batch_size=8, precision="fp32", log_every=1)
    result, _ = prefer(model, collected, chat, tuning, tmp_path / "dpo")
    records = [json.loads(line) for line in result.metrics.read_text().splitlines()]
    assert records[0]["accuracy"] == 0.5
    assert records[-1]["accuracy"] > 0.8


def tuned(chat, directory, *, stop=None):
    model = small()
    settings = PolicyTuning(
        rloo=Rloo(gamma=0.01, answers=8), steps=24, batch_size=4, learning_rate=1e-2, tokens=TOKENS, base_answers=4,
        validate_every=8, checkpoint_every=4,
    )  # fmt: skip
    result, compared = optimise(
        model, questions(chat), questions(chat, most=4, seed=1), {"long": lengths(chat)}, {"long": lengths(chat)},
        Good("long"), settings, directory, stop=stop,
    )  # fmt: skip
    return result, compared


def test_a_policy_learns_what_is_judged_and_goes_on_after_a_stop(chat, tmp_path):
    whole, compared = tuned(chat, tmp_path / "whole")
    records = [record for line in whole.metrics.read_text().splitlines() if "utility" in (record := json.loads(line))]
    assert records[-1]["utility"] > records[0]["utility"] + 1
    assert compared["win/judge/long"] == compared["win/other judge/long"] > 0.6
    assert compared["kl"] > 0.1
    tuned(chat, tmp_path / "parts", stop=lambda step: step == 10)
    again, compared_again = tuned(chat, tmp_path / "parts")
    assert (again.resumed_from, again.weights_hash) == (10, whole.weights_hash)
    assert compared_again == compared


def test_a_win_rate_compares_answers_to_the_same_prompt():
    ours, theirs = torch.tensor([[0.0, 1.0], [50.0, 50.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert win_rate(ours, theirs) == pytest.approx((0.5 + torch.sigmoid(torch.tensor(1.0)).item()) / 4 + 0.5)
