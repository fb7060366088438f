"""Log-likelihoods of continuations against one token at a time, any batch size, and lm-evaluation-harness."""

import random

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from evaluation_standins import requests
from tokenizers import processors

from glasshouse.evaluation.encoding import Encoded, encode_requests, prefix_of
from glasshouse.evaluation.likelihood import log_likelihoods
from glasshouse.evaluation.requests import LogLikelihood, ScoringError
from glasshouse.nn.configuration import llama, olmo, olmo_2
from glasshouse.nn.transformer import Transformer

CONTEXT = 24
HARNESS = [
    -46.229, -8.983, -53.577, -157.934, -138.269, -10.996, -51.763, -39.202, -31.686, -85.633, -58.191, -11.161,
    -81.582, -68.826, -50.29, -25.581, -63.552, -94.88, -43.526, -58.969, -53.812, -36.578, -55.828, -69.371,
    -33.025, -14.295,
]  # fmt: skip
"""`HFLM(pretrained=..., tokenizer=...).loglikelihood` of lm-evaluation-harness 0.4.13 (float32) on the stand-in model
and its requests, in their order: white space on either side of a border, borders inside words, an empty context, and a
context that is too long for the model."""


def own(family, **changes):
    small = {"vocabulary": 50, "context": CONTEXT, "layers": 2, "width": 32, "heads": 4, "feed_forward": 64}
    return Transformer(family.but(**small | changes), seed=2).eval()


def foreign():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config).eval()


MODELS = {
    "olmo": lambda: own(olmo("7B")),
    "olmo 2, grouped": lambda: own(olmo_2(), key_value_heads=2),
    "llama": lambda: own(llama()),
    "gpt2 of transformers": foreign,
}


def encoded(seed=0, questions=14):
    """Several continuations for each context, some of one token, two as long as the context allows."""
    draw = random.Random(seed)
    found = []
    for _ in range(questions):
        context = tuple(draw.randrange(50) for _ in range(draw.randint(1, 12)))
        for _ in range(draw.randint(1, 5)):
            found.append(Encoded(context, tuple(draw.randrange(50) for _ in range(draw.choice([1, 1, 2, 5, 9])))))
    return [*found, Encoded((4,), tuple(range(CONTEXT))), Encoded((4,), tuple(range(CONTEXT - 1)))]


@torch.no_grad()
def one_by_one(module, request):
    total, greedy = 0.0, True
    for index, token in enumerate(request.continuation):
        given = torch.tensor([[*request.context, *request.continuation[:index]]])
        scores = module(given).logits[0, -1].double().log_softmax(-1)
        total += float(scores[token])
        greedy &= int(scores.argmax()) == token
    return total, greedy


@pytest.mark.parametrize("name", MODELS)
def test_equals_one_token_at_a_time_for_any_batch(name):
    module, given = MODELS[name](), encoded()
    expected = [one_by_one(module, request) for request in given]
    for batch_tokens in (1, 60, 4096):
        for share in (True, False):
            found = log_likelihoods(module, given, context=CONTEXT, batch_tokens=batch_tokens, share=share)
            np.testing.assert_allclose(found.log_likelihood, [value for value, _ in expected], rtol=1e-5, atol=1e-5)
            assert found.greedy.tolist() == [greedy for _, greedy in expected]


def test_the_likeliest_continuation_is_greedy():
    module = own(olmo("7B"))
    with torch.no_grad():
        best = int(module(torch.tensor([[1, 2, 3]])).logits[0, -1].argmax())
    found = log_likelihoods(
        module, [Encoded((1, 2, 3), (best,)), Encoded((1, 2, 3), ((best + 1) % 50,))], context=CONTEXT
    )
    assert found.greedy.tolist() == [True, False]


def test_continuations_of_one_context_share_its_pass():
    module, seen = own(olmo("7B")), []
    module.register_forward_pre_hook(lambda _, given: seen.append(given[0].numel()))
    given = [Encoded(tuple(range(10)), (token, token, token)) for token in range(4)]
    shared = log_likelihoods(module, given, context=CONTEXT).log_likelihood
    assert sum(seen) == 10 + 4 * 2
    seen.clear()
    apart = log_likelihoods(module, given, context=CONTEXT, share=False).log_likelihood
    assert sum(seen) == 4 * (10 + 2)
    np.testing.assert_allclose(shared, apart, rtol=1e-5)


def test_equals_lm_evaluation_harness(model):
    given = encode_requests(model.tokenizer, requests(), end_of_sequence=model.end_of_sequence, context=model.context)
    found = log_likelihoods(model.transformer, given, context=model.context)
    np.testing.assert_allclose(found.log_likelihood, HARNESS, atol=6e-4)
    assert sum(request.cut > 0 for request in given) == 1


def test_a_transformers_tokenizer_gives_the_same_tokens(model):
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=model.tokenizer)
    options = {"end_of_sequence": model.end_of_sequence, "context": model.context}
    assert encode_requests(theirs, requests(), **options) == encode_requests(model.tokenizer, requests(), **options)


def words_tokenizer():
    """Whole words, and `ab` + `cd` written together as one token: a merge over the border."""
    vocabulary = {"<s>": 0, "ab": 1, "cd": 2, "abcd": 3, "the": 4, "Ġcd": 5}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<s>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("abcd|ab|cd|the| "), "isolated")
    return tokenizer


def encode(tokenizer, *given, context=CONTEXT):
    return encode_requests(tokenizer, [LogLikelihood(*pair) for pair in given], end_of_sequence=0, context=context)


def test_a_merge_over_the_border_is_scored_whole():
    assert encode(words_tokenizer(), ("ab", "cd"), ("the", "cd")) == [Encoded((0,), (3,)), Encoded((4,), (2,))]


def test_space_at_the_end_of_a_context_belongs_to_the_continuation(model):
    with_space, before = encode(model.tokenizer, ("the gate is ", "green"), ("the gate is", " green"), context=64)
    assert with_space == before


def test_a_token_that_the_tokenizer_puts_first_stands_before_the_context(model):
    begun = tokenizers.Tokenizer.from_str(model.tokenizer.to_str())
    begun.post_processor = processors.TemplateProcessing(single="<|padding|> $A", special_tokens=[("<|padding|>", 1)])
    assert prefix_of(begun) == (1,)
    assert prefix_of(model.tokenizer) == ()
    (plain,) = encode(model.tokenizer, ("the gate", " is"))
    assert encode(begun, ("the gate", " is"), ("", " is")) == [
        Encoded((1, *plain.context), plain.continuation),
        Encoded((1,), plain.continuation),
    ]


def test_a_padding_or_truncating_tokenizer_does_neither(model):
    odd = tokenizers.Tokenizer.from_str(model.tokenizer.to_str())
    odd.enable_padding(length=40)
    odd.enable_truncation(3)
    pairs = ("the gate is green and open", " by the river"), ("the", " door")
    assert encode(odd, *pairs, context=64) == encode(model.tokenizer, *pairs, context=64)


def test_the_context_is_cut_on_its_left_and_the_continuation_never(model):
    (whole,) = encode(model.tokenizer, ("the gate is green " * 9, "and open"), context=999)
    (cut,) = encode(model.tokenizer, ("the gate is green " * 9, "and open"), context=20)
    assert cut.continuation == whole.continuation
    assert len(cut.context) + len(cut.continuation) - 1 == 20
    assert cut.context == whole.context[-len(cut.context) :]
    assert cut.cut == len(whole.context) - len(cut.context)
    with pytest.raises(ScoringError, match=r"'the gate is green the gate.* has \d+ tokens, the model's context is 20"):
        encode(model.tokenizer, ("green", "the gate is green " * 9), context=20)
    with pytest.raises(ScoringError, match="nothing to score after 'the gate'"):
        encode(model.tokenizer, ("the gate", ""))


def test_damaged_weights_are_told():
    module = own(olmo("7B"))
    with torch.no_grad():
        module.embedding.weight[7] = torch.nan
    with pytest.raises(ScoringError, match="request 1 a log-likelihood of nan"):
        log_likelihoods(module, [Encoded((1, 2), (3,)), Encoded((7,), (3, 4))], context=CONTEXT)
