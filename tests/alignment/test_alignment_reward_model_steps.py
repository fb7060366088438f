"""The step that trains a reward model: its artifact, and what `transformers` makes of it."""

import pytest
import torch
import transformers

from glasshouse.alignment.reward_model_steps import RewardModel, train_reward_model
from glasshouse.alignment.reward_models import RewardTraining
from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.chat import Message
from glasshouse.language.letter_steps import letter_preferences
from glasshouse.language.letters import prose
from glasshouse.language.model import LanguageModel
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.store.execution import execute
from glasshouse.store.lineage import ancestors
from glasshouse.store.step import Run, step
from glasshouse.store.store import Store

SHAPE = TransformerConfig(vocabulary=320, width=32, layers=1, heads=2, feed_forward=64, context=96, tied=True)
QUICK = RewardTraining(epochs=2, learning_rate=3e-3, batch_size=16, head=EpistemicConfig(hidden=(16,), particles=3))
ASKED = [[Message("user", "Repeat the letters a b."), Message("assistant", "Answer: [ a b ]")]]


@step()
def untrained(run: Run, seed: int = 0) -> LanguageModel:
    """A language model as it is drawn, with a tokenizer and no chat template."""
    tokenizer = run.scratch / "tokenizer.json"
    train_bpe(prose(100), 320).save(str(tokenizer))
    settings = run.scratch / "tokenizer_config.json"
    settings.write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}')
    save_huggingface(Transformer(SHAPE, seed=seed), run.output, end=0, begin=0, tokenizer_files=[tokenizer, settings])
    return LanguageModel(run.output)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("rewards") / "store")
    return store, untrained(), letter_preferences(train=48, holdout=20)


def test_the_artifact_judges_and_says_what_it_is_worth(made):
    store, base, pairs = made
    artifact = execute(train_reward_model(base, pairs, QUICK), store)
    assert isinstance(artifact, RewardModel)
    assert artifact.load().rewards(ASKED).shape == (3, 1)
    values = artifact.values
    assert values["reward_model/pairs"] == 48
    assert 0 <= values["reward_model/accuracy"] <= 1
    assert values["reward_model/dyadic_nll"] < 10 * values["reward_model/marginal_nll"] + 1e-9
    assert [panel.title for panel in artifact.panels()] == ["Reward model", "Loss"]
    assert len(ancestors(store, artifact.path.name)) >= 3
    again = execute(train_reward_model(base, pairs, QUICK), store)
    assert again.id == artifact.id
    transformers.AutoModel.from_pretrained(artifact.path)


def test_everything_learnt_is_a_sequence_classifier_with_our_chat_form(made):
    store, base, pairs = made
    artifact = execute(train_reward_model(base, pairs, QUICK.but(learn="everything")), store)
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact.path)
    rows = [message._asdict() for message in ASKED[0]]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(artifact.path)
    with torch.no_grad():
        theirs = model(**tokenizer.apply_chat_template(rows, return_dict=True, return_tensors="pt")).logits
    assert torch.allclose(theirs, artifact.load().rewards(ASKED), atol=1e-5)
