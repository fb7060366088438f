"""A small language model of our own that answers, for the recipes: from the text on this machine to the chat form."""

from __future__ import annotations

from glasshouse.data.curation.rules import dolma_rules
from glasshouse.data.deduplication.methods import exact
from glasshouse.data.sources.installed import InstalledText
from glasshouse.data.steps import Shards, curate, installed_text, tokenize, train_tokenizer
from glasshouse.language.adaptation import Conversations, Preferences, finetune, write_splits
from glasshouse.language.chat import Message
from glasshouse.language.conversations import Conversation, Preference
from glasshouse.language.finetune import FineTuning
from glasshouse.language.model import LanguageModel
from glasshouse.language.scaling import dial
from glasshouse.language.steps import pretrain
from glasshouse.store.step import Run, step

TUNING = FineTuning(epochs=1, learning_rate=1e-3, batch_size=8, micro_batch_size=4, seed=0)


@step()
def preferred_answers(run: Run, data: Preferences) -> Conversations:
    """The preferred answers of pairs as conversations to be fine-tuned on."""

    def answered(item: Preference) -> Conversation:
        messages = (*item.prompt, Message("assistant", item.chosen))
        return Conversation(messages, len(item.prompt), item.name)

    write_splits(run, map(answered, data.train), map(answered, data.holdout))
    return Conversations(run.output)


def own_text(megabytes: int = 10) -> Shards:
    """Text that is on this machine, curated and tokenised."""
    corpus = curate(installed_text(InstalledText(megabytes=megabytes)), keep=dolma_rules, deduplicate=[exact()])
    return tokenize(corpus, train_tokenizer(corpus, vocabulary=4096), holdout=0.02)


def own_model(shards: Shards, data: Preferences, depth: int, tokens: int, seed: int = 0) -> LanguageModel:
    """A model that is pre-trained on text and fine-tuned on the preferred answers of some pairs."""
    shape, training = dial(depth, tokens, seed=seed)
    base = pretrain(shards, shape, training.but(checkpoint_every=100))
    return finetune(base, preferred_answers(data), TUNING)
