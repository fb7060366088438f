"""Answers of models in memory: the same as lm-evaluation-harness finds, batched or one by one, ours or others'."""

import dataclasses
import random

import pytest
import torch
import transformers
from evaluation_standins import WORDS, loaded_model, requests
from tokenizers.processors import TemplateProcessing

from glasshouse.data.tokens.tokenizer import save_tokenizer
from glasshouse.evaluation.models import open_folder, scored_model
from glasshouse.evaluation.requests import Generate, Likelihood, LogLikelihood, ScoringError, Written, read_answer
from glasshouse.evaluation.scorers import LocalScorer, answers
from glasshouse.language.generation import Sampling, generate


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A random Llama of `transformers` whose tokenizer puts a token before every text."""
    home = tmp_path_factory.mktemp("llama")
    tokenizer = loaded_model().tokenizer
    tokenizer.add_special_tokens(["<s>"])
    begin = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=96, bos_token_id=begin, eos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(home)
    save_tokenizer(tokenizer, home)
    tokens = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token=tokenizer.id_to_token(0)
    )
    tokens.save_pretrained(home)
    return home


def prompts(count=50, seed=2):
    draw = random.Random(seed)
    stops = [(), (" the",), ("\n", " g"), ("e",)]
    return [
        Generate(" ".join(draw.choices(WORDS, k=draw.randint(1, 90))), stops[number % 4], 24) for number in range(count)
    ]


def theirs(home):
    """The folder as `transformers` opens it: another implementation of the same model."""
    model = transformers.AutoModelForCausalLM.from_pretrained(home, dtype=torch.float32)
    return scored_model(model, transformers.AutoTokenizer.from_pretrained(home))


@pytest.mark.parametrize("opened", [open_folder, theirs])
def test_answers_are_those_of_the_harness(llama, opened):
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = transformers.AutoModelForCausalLM.from_pretrained(llama, dtype=torch.float32)
    harness = HFLM(pretrained=model, tokenizer=transformers.AutoTokenizer.from_pretrained(llama), batch_size=8)
    asked = [request for request in requests(40) if request.context]
    told = harness.loglikelihood(
        [Instance("loglikelihood", {}, (r.context, r.continuation), n) for n, r in enumerate(asked)], disable_tqdm=True
    )
    scorer = LocalScorer(opened(llama))
    for mine, (nats, greedy) in zip(answers(scorer, asked), told, strict=True):
        assert mine.nats == pytest.approx(nats, abs=1e-4)
        assert mine.greedy == greedy
    texts = harness.generate_until(
        [
            Instance("generate_until", {}, (r.prompt, {"until": list(r.stop), "max_gen_toks": r.tokens}), n)
            for n, r in enumerate(prompts())
        ],
        disable_tqdm=True,
    )
    written = answers(scorer, prompts())
    assert [answer.text for answer in written] == texts
    assert len(set(texts)) > 20
    assert any(answer.cut for answer in written)


@pytest.mark.parametrize("opened", [open_folder, theirs])
def test_answers_do_not_depend_on_batches(llama, opened):
    model, asked = opened(llama), [*requests(16), *prompts(16)]
    together = answers(LocalScorer(model), asked)
    for number, request in enumerate(asked):
        (alone,) = answers(LocalScorer(model, batch_tokens=1), [request])
        if isinstance(alone, Written):
            assert alone == together[number]
        else:
            assert alone.nats == pytest.approx(together[number].nats, abs=1e-3)


def test_a_mixed_sequence_is_answered_in_its_order(model):
    asked = [Generate("the gate", (), 3), LogLikelihood("the gate", " is"), Generate("the river", (), 5)]
    written, likelihood, longer = answers(LocalScorer(model), asked)
    assert isinstance(likelihood, Likelihood)
    assert (written.tokens, longer.tokens) == (3, 5)
    assert [read_answer(dataclasses.asdict(a)) for a in (written, likelihood)] == [written, likelihood]


def test_batches_that_are_known_are_left_out_and_the_others_stay_the_same(model):
    asked = [*requests(16), *prompts(6)]
    scorer = LocalScorer(model, batch_tokens=150)
    batches = list(scorer.batches(asked))
    assert len(batches) > 6
    known = {*batches[0], *batches[3], *list(batches[5])[:1]}
    again = list(scorer.batches(asked, known))
    assert again == [batch for batch in batches if not set(batch) <= known]


def test_a_prompt_that_is_too_long_loses_its_beginning_and_says_how_much(model):
    long = "the gate is green " * 40
    (answer,) = answers(LocalScorer(model), [Generate(long, (), 8)])
    ids = model.tokenizer.encode(long, add_special_tokens=False).ids
    assert answer.cut == len(ids) - (64 - 8)
    kept = model.tokenizer.decode(ids[answer.cut :])
    assert answers(LocalScorer(model), [Generate(kept, (), 8)])[0].text == answer.text


def test_text_ends_before_the_end_token(model):
    """By the tokens of the house's own generation, which the harness knows nothing of."""
    prompt = model.tokenizer.encode("the old gate", add_special_tokens=False).ids
    (free,) = generate(model.transformer, [prompt], Sampling(tokens=12))
    ending = dataclasses.replace(model, end_of_sequence=free[4])
    first = free.index(free[4])
    (short,) = answers(LocalScorer(ending), [Generate("the old gate", (), 12)])
    assert (short.text, short.tokens) == (model.tokenizer.decode(free[:first]), first)


@pytest.mark.parametrize("opened", [open_folder, theirs])
def test_damaged_weights_are_told(llama, opened):
    broken = opened(llama)
    with torch.no_grad():
        next(broken.transformer.parameters())[:] = float("nan")
    for asked in (LogLikelihood("the", " gate"), Generate("the", (), 4)):
        with pytest.raises(ScoringError, match="weights are damaged"):
            answers(LocalScorer(broken), [asked])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (LogLikelihood("the gate", ""), "the continuation is empty"),
        (Generate("the gate", (), 0), "0 tokens are to be written after 'the gate'"),
        (Generate("the gate", (), 64), "the model's context is 64: ask for one or more"),
    ],
)
def test_what_cannot_be_answered_is_refused(model, asked, message):
    with pytest.raises(ScoringError, match=message):
        answers(LocalScorer(model), [asked])


def test_identity_is_that_of_weights_and_tokenizer(model):
    same, other = loaded_model(), loaded_model(seed=4)
    assert LocalScorer(model).identity == LocalScorer(same).identity != LocalScorer(other).identity
    plain = dataclasses.replace(same, tokenizer=loaded_model(vocabulary=280).tokenizer)
    assert LocalScorer(plain).identity != LocalScorer(model).identity
