"""The data room's artifacts and steps: documents -> signals -> corpus -> tokenizer -> token shards."""

from glasshouse.data.steps.artifacts import Corpus, Documents, Signals
from glasshouse.data.steps.curation import curate, measure_signals
from glasshouse.data.steps.mixing import mix
from glasshouse.data.steps.reading import installed_text, read_text
from glasshouse.data.steps.tokens import Shards, Tokenizer, tokenize, train_tokenizer

__all__ = [
    "Corpus",
    "Documents",
    "Shards",
    "Signals",
    "Tokenizer",
    "curate",
    "installed_text",
    "measure_signals",
    "mix",
    "read_text",
    "tokenize",
    "train_tokenizer",
]
