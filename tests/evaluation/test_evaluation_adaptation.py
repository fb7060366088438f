"""The steps of adaptation from prose to a tuned model, what they leave behind, and what is measured of it."""

import json

import pytest
import torch
from click.testing import CliRunner

from glasshouse.cli import cli
from glasshouse.data.steps import tokenize, train_tokenizer
from glasshouse.evaluation.adaptation import Recall, format_accuracy, kl_to, preference_accuracy
from glasshouse.evaluation.steps import evaluate
from glasshouse.language import letters
from glasshouse.language.adaptation import Conversations, conversations, finetune, prefer, preferences
from glasshouse.language.adapters import Lora
from glasshouse.language.chat import Message
from glasshouse.language.dpo import PreferenceTuning
from glasshouse.language.finetune import FineTuning
from glasshouse.language.generation import Sampling
from glasshouse.language.letter_steps import letter_conversations, letter_preferences, letter_prose
from glasshouse.language.letters import conversations as asked
from glasshouse.language.steps import pretrain
from glasshouse.language.trace import trace_of
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.execution import execute
from glasshouse.store.lineage import ancestors
from glasshouse.store.store import Store, StoreError
from glasshouse.training.configuration import Training

SHAPE = TransformerConfig(vocabulary=320, width=32, layers=1, heads=2, feed_forward=64, context=96, tied=True)
SFT = FineTuning(epochs=1, learning_rate=5e-3, batch_size=4, precision="fp32", log_every=1)
DPO = PreferenceTuning(epochs=1, learning_rate=1e-3, batch_size=8, precision="fp32", log_every=1)
ADAPTERS = Lora(rank=2)


class Made:
    """The graph, run once."""

    def __init__(self, folder):
        self.store = Store(folder / "store")
        prose = letter_prose(documents=200)
        shards = tokenize(prose, train_tokenizer(prose, vocabulary=320), holdout=0.1)
        training = Training(steps=3, batch_size=4, learning_rate=5e-3, precision="fp32", compile=False)
        self.asked, self.pairs = letter_conversations(train=60, holdout=10), letter_preferences(train=24, holdout=10)
        self.base = pretrain(shards, SHAPE, training)
        self.tuned = finetune(self.base, self.asked, SFT)
        self.preferring = prefer(self.tuned, self.pairs, DPO.but(lora=ADAPTERS))

    def run(self, node):
        return execute(node, self.store)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("adaptation"))


def test_the_tuned_model_is_a_folder_that_transformers_chats_with(made):
    transformers = pytest.importorskip("transformers")
    artifact = made.run(made.tuned)
    loaded, messages = artifact.load(), [Message("user", "Repeat the letters a b c.")]
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact.path)
    rows = [message._asdict() for message in messages]
    ids = tokenizer.apply_chat_template(rows, add_generation_prompt=True, return_dict=False)
    assert loaded.chat.prompt(messages) == list(ids)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(artifact.path)
    written = theirs.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False)[0, len(ids) :]
    answer = "".join(loaded.stream_answer(messages, Sampling(tokens=8)))
    assert loaded.chat.decode(written.tolist()).startswith(answer)
    assert made.run(made.base).load().chat is None


def test_the_lineage_reaches_the_base_and_its_shards(made):
    artifact = made.run(made.preferring)
    found = set(ancestors(made.store, artifact.path.name))
    assert {made.run(item).path.name for item in (made.base, made.tuned, made.asked, made.pairs)} <= found
    assert artifact.training["stage"] == "prefer"
    assert made.run(made.tuned).manifest["measurements"]["truncated"] == 0
    with pytest.raises(StoreError, match="tuned from"):
        trace_of(artifact, made.store)
    assert [panel.y for panel in artifact.panels() if panel.title == "Loss"] == ["nats per pair"]


def test_adapters_lie_beside_the_merged_model(made):
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    base, artifact = made.run(made.tuned), made.run(made.preferring)
    theirs = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(base.path), artifact.path / "adapters"
    ).eval()
    tokens = torch.arange(2, 42)[None]
    with torch.no_grad():
        merged, before = artifact.load().transformer(tokens).logits, base.load().transformer(tokens).logits
        torch.testing.assert_close(theirs(tokens).logits, merged, rtol=0, atol=1e-5)
    assert (merged - before).abs().max() > 1e-4


def test_measures_are_values_and_panels(made):
    measures = [
        format_accuracy(made.asked),
        preference_accuracy(made.pairs, made.tuned),
        kl_to(made.tuned, made.pairs),
        Recall(),
    ]
    found = made.run(evaluate(made.preferring, measures))
    assert {
        "answers/format",
        "answers/right",
        "preferences/accuracy",
        "kl/exact",
        "kl/k3",
        "recall",
    } <= found.values.keys()
    assert 0 <= found.values["preferences/accuracy"] <= 1
    assert found.values["kl/exact"] > 0
    titles = [panel.title for panel in found.panels()]
    assert {"Answers to held-out instructions", "Held-out preferences", "KL to the reference"} <= set(titles)
    itself = made.run(
        evaluate(made.tuned, [preference_accuracy(made.pairs, made.tuned), kl_to(made.tuned, made.pairs)])
    )
    assert itself.values["preferences/accuracy"] == 0.5  # every pair is a tie
    assert abs(itself.values["kl/exact"]) < 1e-6


def test_chat_answers_in_the_form(made):
    artifact = made.run(made.tuned)
    script = "Repeat the letters a b.\n" * 6 + "long " * 200 + "\n/new\nSort the letters b a.\n/quit\n"
    arguments = [
        "chat",
        artifact.path.name,
        "--tokens",
        "4",
        "--system",
        "Be brief.",
        "--store",
        str(made.store.location),
    ]
    done = CliRunner().invoke(cli, arguments, input=script)
    assert done.exit_code == 0, done.output
    assert "answers in its chat form" in done.output
    assert "shorten the prompt" in done.output  # and the conversation went on
    base = ["chat", made.run(made.base).path.name, "--system", "x", "--store", str(made.store.location)]
    refused = CliRunner().invoke(cli, base, input="/quit\n")
    assert "has no chat form" in str(refused.exception)


def test_the_oldest_turns_are_forgotten_first(made):
    loaded = made.run(made.tuned).load()
    turns = [Message("system", "Be kind.")]
    for number in range(8):
        turns += [Message("user", f"Repeat {number}"), Message("assistant", "a b c")]
    kept = loaded.recent([*turns, Message("user", "last")], room=16)
    assert kept[0] == turns[0]
    assert kept[-1].content == "last"
    assert len(loaded.chat.prompt(kept)) <= loaded.context - 16
    assert len(kept) < len(turns)
    assert kept[1:-1] == turns[-len(kept) + 2 :]


def test_files_are_read_into_artifacts_with_what_was_put_aside(made, tmp_path):
    rows = [item.row() for item in asked(40)]
    (tmp_path / "a.jsonl").write_text("\n".join([*map(json.dumps, rows), "{ bad"]) + "\n")
    found = made.run(conversations(str(tmp_path / "a.jsonl"), holdout=0.3))
    counts = found.manifest["measurements"]
    assert counts["seen"] == 41 == counts["train"] + counts["holdout"] + counts["quarantined"]
    assert (len(found.train), len(found.holdout)) == (counts["train"], counts["holdout"])
    assert counts["holdout"] > 0
    assert not {item.prompt for item in found.train} & {item.prompt for item in found.holdout}
    (tmp_path / "b.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    pairs = made.run(preferences(str(tmp_path / "b.jsonl"), holdout=0))
    assert (len(pairs.train), pairs.holdout) == (1, [])
    (tmp_path / "c.jsonl").write_text("{ bad\n")
    with pytest.raises(ConfigurationError, match="nothing to learn from"):
        made.run(conversations(str(tmp_path / "c.jsonl")))


def test_a_damaged_row_of_an_artifact_is_not_passed_over(tmp_path):
    rows = [conversation.row() for conversation in letters.conversations(2)]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [item.row() for item in Conversations(tmp_path).train] == rows
    path.write_text(path.read_text()[:-20])
    with pytest.raises(StoreError, match=r"is damaged: train.jsonl, line 2: not a JSON value"):
        _ = Conversations(tmp_path).train
