"""Entropy of a grammar against enumeration and sampling, and a trained model that approaches it from above."""

import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from glasshouse.evaluation.grammar import BRACKETS, GARDEN, Grammar, GrammarError, KnownEntropy, Rule
from glasshouse.language.model import LoadedModel
from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import Transformer
from glasshouse.store.progress import SilentBar
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train

SMALL = Grammar(
    "s",
    (Rule("s", 0.6, "a", ("t",)), Rule("s", 0.4, "bb"), Rule("t", 0.9, "."), Rule("t", 0.1, "ü", ("s", "t"))),
)


def enumerated(grammar, least):
    """Every sentence that is likelier than `least`, with its probability: all derivations, leftmost symbol first."""
    found, open_ = {}, [("", 1.0, (grammar.start,))]
    while open_:
        text, probability, waiting = open_.pop()
        if probability < least:
            continue
        if not waiting:
            assert text not in found, "two derivations of one sentence"
            found[text] = probability
            continue
        for rule in grammar.of(waiting[0]):
            open_.append((text + rule.text, probability * rule.probability, rule.rest + waiting[1:]))
    return found


def test_entropy_and_length_are_those_of_all_sentences():
    every = enumerated(SMALL, 1e-7)
    assert sum(every.values()) == pytest.approx(1, abs=1e-3)
    bits = sum(-p * math.log2(p) for p in every.values())
    size = sum(p * len(text.encode()) for text, p in every.items())
    assert SMALL.moments() == pytest.approx((bits, size), rel=3e-3)
    assert SMALL.bits_per_byte == pytest.approx(bits / size, rel=2e-3)
    for text, probability in list(every.items())[:200]:
        assert SMALL.bits(text) == pytest.approx(-math.log2(probability))


@pytest.mark.parametrize("grammar", [SMALL, BRACKETS, GARDEN], ids=["small", "brackets", "garden"])
def test_drawn_sentences_cost_their_entropy(grammar):
    generator = np.random.default_rng(0)
    drawn = [grammar.sentence(generator) for _ in range(4000)]
    bits = np.array([grammar.bits(text) for text in drawn])
    error = bits.std() / math.sqrt(len(bits))
    assert bits.mean() == pytest.approx(grammar.moments().bits, abs=4 * error)
    size = np.array([len(text.encode()) for text in drawn])
    assert size.mean() == pytest.approx(grammar.moments().size, abs=4 * size.std() / math.sqrt(len(size)))


def test_a_document_costs_the_sum_of_its_sentences():
    generator = np.random.default_rng(1)
    sentences = [BRACKETS.sentence(generator) for _ in range(5)]
    assert BRACKETS.bits("".join(sentences)) == pytest.approx(sum(map(BRACKETS.bits, sentences)))
    assert GARDEN.document(3, 1) == GARDEN.document(3, 1) != GARDEN.document(3, 2)
    with pytest.raises(GrammarError, match="is not what"):
        BRACKETS.bits("(x]\n")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([Rule("s", 0.9, "a")], "sum to 0.9"),
        ([Rule("s", 1.0, "a", ("t",))], "rules of t have probabilities that sum to 0"),
        ([Rule("s", 0.5, "a"), Rule("s", 0.5, "ab")], "begin alike"),
        ([Rule("s", 0.5, "a"), Rule("s", 0.5, "a", ("s",))], "begin alike"),
        ([Rule("s", 0.5, ""), Rule("s", 0.5, "a")], "begin alike, or one with nothing"),
        ([Rule("s", 0.5, "a", ("s", "s")), Rule("s", 0.5, "b")], "grow without end"),
    ],
)
def test_what_is_no_such_grammar_is_refused(rules, message):
    with pytest.raises(GrammarError, match=message):
        Grammar("s", tuple(rules))


def bytes_tokenizer():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {letter: number for number, letter in enumerate(alphabet, start=1)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_a_trained_model_approaches_the_entropy_from_above(tmp_path):
    tokenizer, context = bytes_tokenizer(), 64
    text = [token for n in range(400) for token in [0, *tokenizer.encode(BRACKETS.document(8, 0, "train", n)).ids]]
    rows = torch.tensor(text[: len(text) // context * context]).view(-1, context)
    model = Transformer(olmo(depth=2).but(vocabulary=264, context=context), seed=0)
    measure = KnownEntropy(BRACKETS, documents=24)
    loaded = LoadedModel(model, tokenizer, 0)

    def values():
        return measure.measure(loaded, lambda *_: SilentBar())["values"]

    before = values()
    training = Training(steps=150, batch_size=16, learning_rate=6e-3, precision="fp32", final_fraction=0, compile=False)
    train(LanguageModelling(model), TensorRows({"tokens": rows}), training, tmp_path / "run")
    model.eval()
    after = values()
    assert after["grammar/exact"] == before["grammar/exact"]
    assert after["grammar/exact"] == pytest.approx(after["grammar/entropy"], rel=0.1)
    assert before["grammar/excess"] > 5
    assert 0 < after["grammar/excess"] < 0.2 * after["grammar/entropy"]
