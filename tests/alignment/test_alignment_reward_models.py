"""Reward models on language models: embeddings by hand, training, and what `transformers` makes of the folders."""

import numpy as np
import pytest
import torch
import transformers

from glasshouse.alignment.embeddings import embed
from glasshouse.alignment.preference_rows import chat_encoding, encode_pairs, tokenizer_encoding
from glasshouse.alignment.reward_files import (
    RewardModelError,
    load_reward_model,
    open_classifier,
    open_encoder,
    save_reward_model,
)
from glasshouse.alignment.reward_models import RewardTraining, train_classifier, train_head
from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.chat import Chat, Message, write_chat_template
from glasshouse.language.conversations import Preference, RowError
from glasshouse.language.letters import preferences, prose
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.data import DataError

CONTEXT = 96
QUICK = RewardTraining(epochs=4, learning_rate=3e-3, batch_size=32, head=EpistemicConfig(hidden=(32,), particles=4))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A small model of ours, not trained, as a folder."""
    home = tmp_path_factory.mktemp("base")
    tokenizer = train_bpe([*prose(300), "<|user|>\n<|assistant|>\n"], 320)
    files = [home / name for name in ("tokenizer.json", "tokenizer_config.json")]
    tokenizer.save(str(files[0]))
    settings = '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}'
    files[1].write_text(settings)
    shape = {"vocabulary": 320, "width": 32, "layers": 2, "heads": 2, "feed_forward": 64, "context": CONTEXT}
    model = Transformer(TransformerConfig(**shape), seed=1)
    save_huggingface(model, home / "model", end=0, begin=0, tokenizer_files=files)
    write_chat_template(home / "model")
    return home / "model"


def asked(count=4, seed=7):
    return [[*item.prompt, Message("assistant", item.chosen)] for item in preferences(count, seed=seed)]


def their_rewards(folder, conversations):
    """What plain transformers says, one conversation at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    found = []
    for messages in conversations:
        given = tokenizer.apply_chat_template([m._asdict() for m in messages], return_dict=True, return_tensors="pt")
        with torch.no_grad():
            found.append(model(**given).logits[0])
    return torch.stack(found).T


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_embeddings_are_those_of_each_conversation_alone(base, pooling):
    opened = open_encoder(base)
    encoder, encode, padding = opened.module, opened.encode, opened.padding
    rows = [encode(messages) for messages in asked()]
    found = embed(encoder, rows, padding=padding, pooling=pooling, batch=3)
    theirs = transformers.AutoModel.from_pretrained(base)
    for row, vector in zip(rows, found, strict=True):
        hidden = theirs(torch.tensor(row.ids)[None]).last_hidden_state[0]
        expected = hidden[-1] if pooling == "last" else hidden[row.answer :].mean(0)
        assert torch.allclose(vector, expected, atol=1e-4)
        answer = encoder(torch.tensor(row.ids)[None]) and row.ids[row.answer :]
        assert len(answer) < len(row.ids) / 2


@pytest.mark.parametrize("kind", ["point", "ensemble", "epinet"])
def test_a_head_learns_from_pairs_and_is_the_same_when_loaded(base, kind, tmp_path):
    settings = QUICK.but(head=QUICK.head.but(kind=kind))
    made, result, worth = train_head(
        open_encoder(base), preferences(240), settings, tmp_path / "run", validation=preferences(80, split="holdout"),
    )  # fmt: skip
    assert result.finished
    assert worth["pairs"] == 240
    assert worth["accuracy"] > 0.75
    save_reward_model(made, base, tmp_path / "saved")
    loaded, conversations = load_reward_model(tmp_path / "saved"), asked()
    assert made.rewards(conversations).shape == (1 if kind == "point" else 4, 4)
    assert torch.allclose(loaded.rewards(conversations), made.rewards(conversations), atol=1e-5)
    same = transformers.AutoModel.from_pretrained(tmp_path / "saved").state_dict()
    assert all(torch.equal(same[k], v) for k, v in transformers.AutoModel.from_pretrained(base).state_dict().items())


@pytest.mark.parametrize(("kind", "particles"), [("point", 1), ("ensemble", 2), ("ensemble", 3)])
def test_a_linear_head_on_the_last_token_is_a_sequence_classifier(base, kind, particles, tmp_path):
    settings = QUICK.but(epochs=1, pooling="last", head=QUICK.head.but(kind=kind, particles=particles, hidden=()))
    made, *_ = train_head(open_encoder(base), preferences(64), settings, tmp_path / "run")
    save_reward_model(made, base, tmp_path / "saved")
    conversations = asked()
    assert made.rewards(conversations).shape == (particles, 4)
    assert torch.allclose(their_rewards(tmp_path / "saved", conversations), made.rewards(conversations), atol=1e-4)
    loaded = load_reward_model(tmp_path / "saved").rewards(conversations)
    assert torch.allclose(loaded, made.rewards(conversations), atol=1e-4)


def test_a_whole_classifier_learns_and_transformers_loads_it(base, tmp_path):
    classifier, again = open_classifier(base, seed=3), open_classifier(base, seed=3)
    assert torch.equal(classifier.module.score.weight, again.module.score.weight)
    settings = RewardTraining(learn="everything", epochs=6, learning_rate=3e-3, batch_size=32)
    made, _, worth = train_classifier(
        classifier, preferences(240), settings, tmp_path / "run", validation=preferences(80, split="holdout"),
    )  # fmt: skip
    assert worth["accuracy"] > 0.9
    save_reward_model(made, base, tmp_path / "saved")
    conversations = asked()
    assert torch.allclose(their_rewards(tmp_path / "saved", conversations), made.rewards(conversations), atol=1e-4)
    assert torch.allclose(load_reward_model(tmp_path / "saved").rewards(conversations), made.rewards(conversations))


def test_another_architecture_with_a_tokenizer_without_a_template(base, tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = None
    config = transformers.GPT2Config(
        vocab_size=320, n_embd=32, n_layer=1, n_head=2, n_positions=CONTEXT, eos_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    classifier = open_classifier(tmp_path / "gpt2")
    tokens = classifier.encode([Message("user", "hi"), Message("assistant", "yes")])
    assert tokenizer.decode(tokens.ids) == "\n\nHuman: hi\n\nAssistant: yes<|endoftext|>"
    assert tokenizer.decode(tokens.ids[tokens.answer :]) == " yes<|endoftext|>"
    settings = RewardTraining(learn="everything", epochs=1, batch_size=8)
    made, *_ = train_classifier(
        classifier,
        preferences(16),
        settings,
        tmp_path / "run",
    )
    encoder = open_encoder(tmp_path / "gpt2")
    with_head, *_ = train_head(encoder, preferences(16), QUICK, tmp_path / "head")
    for number, (model, particles) in enumerate(((made, 1), (with_head, 4))):
        save_reward_model(model, tmp_path / "gpt2", tmp_path / f"saved-{number}")
        found = load_reward_model(tmp_path / f"saved-{number}").rewards(asked())
        assert found.shape == (particles, 4)
        assert torch.allclose(found, model.rewards(asked()), atol=1e-5)


def test_the_beginning_is_cut_and_margins_are_kept(base):
    opened = open_encoder(base)
    encode, padding = opened.encode, opened.padding
    item = preferences(1)[0]
    long = Preference(item.prompt, "so " * 200 + "yes", "so " * 200 + "no", "long", margin=0.5)
    rows = encode_pairs([item, long], encode, 32, padding)
    assert (rows.rows, rows.truncated) == (2, 1 + (len(encode([*item.prompt, ("assistant", item.chosen)]).ids) > 32))
    batch = rows.batch(np.array([1, 0]))
    assert batch["margin"].tolist() == [0.5, 0.0]
    assert batch["tokens"].shape[:2] == batch["lengths"].shape == (2, 2)
    whole = encode([*long.prompt, Message("assistant", long.chosen)]).ids
    assert batch["tokens"][0, 0, :32].tolist() == whole[-32:].tolist()
    with pytest.raises(DataError, match="none of 1 preferences has two answers that differ in 2 tokens"):
        encode_pairs([Preference(item.prompt, "a b", "b b", "same")], encode, 2, padding)


def test_our_chat_form_is_that_of_the_folder_for_transformers(base):
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    encode = open_encoder(base).encode
    theirs, messages = tokenizer_encoding(tokenizer), asked(1)[0]
    assert encode(messages).ids.tolist() == theirs(messages).ids.tolist()
    assert encode(messages).answer == theirs(messages).answer
    assert chat_encoding(Chat(tokenizer.backend_tokenizer, 0))(messages).ids.tolist() == encode(messages).ids.tolist()


def test_what_is_no_reward_model_is_told(base, tmp_path):
    with pytest.raises(RewardModelError, match="is this a model folder"):
        load_reward_model(tmp_path)
    with pytest.raises(RewardModelError, match="holds OlmoForCausalLM: a reward model is a sequence classifier"):
        load_reward_model(base)
    made, *_ = train_head(open_encoder(base), preferences(16), QUICK.but(epochs=1), tmp_path / "run")
    with pytest.raises(DataError, match="a context of 97 tokens exceeds the model's 96"):
        train_head(open_encoder(base), preferences(16), QUICK.but(context=97), tmp_path / "longer")
    with pytest.raises(ValueError, match="conversation 1 does not end with an answer"):
        made.rewards([asked(1)[0], [Message("user", "hi")]])
    save_reward_model(made, base, tmp_path / "saved")
    with pytest.raises(RewardModelError, match="is not empty"):
        save_reward_model(made, base, tmp_path / "saved")
    weights = tmp_path / "saved" / "reward_head.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RewardModelError, match=r"reward_head.safetensors is not the head"):
        load_reward_model(tmp_path / "saved")
    (tmp_path / "saved" / "reward_head.json").write_text('{"settings": {"pooling": "first"}}')
    with pytest.raises(RewardModelError, match="does not describe a reward model"):
        load_reward_model(tmp_path / "saved")
    with pytest.raises(ConfigurationError, match="leave lora out"):
        RewardTraining(lora={"rank": 2})


def test_margins_are_read_and_written_as_trl_has_them():
    row = {"prompt": "hi", "chosen": "Hello!", "rejected": "go", "margin": 2}
    found = Preference.of_row(row, "")
    assert found.margin == 2.0
    assert Preference.of_row(found.row(), "") == found
    for bad in ("2", float("nan"), True):
        with pytest.raises(RowError, match="margin is a finite number, got"):
            Preference.of_row(row | {"margin": bad}, "")
