"""Generation: greedy against transformers, sampling against its definitions, refusals."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from glasshouse.language.generation import (
    GenerationError,
    Sampling,
    check_vocabulary,
    generate,
    generate_text,
    stream,
    stream_text,
)
from glasshouse.nn.configuration import llama, olmo, olmo_2
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.store.configuration import ConfigurationError

torch.set_num_threads(1)

SMALL = {"vocabulary": 260, "width": 64, "layers": 2, "heads": 4, "feed_forward": 128, "context": 100}
PROMPTS = [[5, 6, 7, 8, 9], [1], [3, 200, 11]]


def sharp(config=None, seed: int = 4) -> Transformer:
    """A model whose scores are far apart, so that greedy choices are not decided by rounding."""
    model = Transformer(config or olmo("7B").but(**SMALL), seed=seed)
    with torch.no_grad():
        model.head_weight.mul_(10)
    return model.eval()


def byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return tokenizer


@pytest.mark.parametrize(
    "config", [olmo("7B").but(**SMALL), olmo_2().but(**SMALL), llama().but(**SMALL, key_value_heads=2)]
)
def test_greedy_equals_transformers_for_64_tokens(config, tmp_path):
    transformers = pytest.importorskip("transformers", reason="parity is against transformers")
    model = sharp(config)
    save_huggingface(model, tmp_path / "m", end=0, padding=1)
    other = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)
    for prompt in PROMPTS:
        inputs = torch.tensor([prompt])
        reference = other.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=64,
            min_new_tokens=64,
            do_sample=False,
            eos_token_id=[],
        )
        ours = generate(model, [prompt], Sampling(tokens=64))[0]
        assert ours == reference[0, len(prompt) :].tolist()
        assert ours == list(stream(model, prompt, Sampling(tokens=64)))
    penalised = other.generate(
        torch.tensor(PROMPTS[:1]), max_new_tokens=64, do_sample=False, repetition_penalty=1.3, no_repeat_ngram_size=2
    )[0, 5:].tolist()
    rules = Sampling(tokens=64, repetition_penalty=1.3, no_repeat=2)
    assert generate(model, PROMPTS[:1], rules, end=0)[0] == [token for token in penalised if token != 0]


@pytest.mark.parametrize("sampling", [Sampling(tokens=40), Sampling(tokens=40, temperature=1.0, top_k=50, seed=3)])
def test_a_batch_equals_its_rows(sampling):
    model = sharp()
    together = generate(model, PROMPTS, sampling)
    assert together[0] == generate(model, PROMPTS[:1], sampling)[0]
    if sampling.temperature == 0:
        assert together == [generate(model, [prompt], sampling)[0] for prompt in PROMPTS]
    assert together[1:] == generate(model, [[9, 9], *PROMPTS[1:]], sampling)[1:]


def test_the_seed_decides():
    model = Transformer(olmo("7B").but(**SMALL))
    runs = [generate(model, PROMPTS, Sampling(temperature=1.0, tokens=20, seed=seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert model.training


def test_end_stops_each_row_and_the_context_stops_all():
    model = sharp()
    free = generate(model, PROMPTS, Sampling(tokens=1000))
    assert len(free[0]) == 95
    end = free[0][3]
    stopped = generate(model, PROMPTS, Sampling(tokens=60), end=end)
    for row, tokens in enumerate(stopped):
        expected = free[row][:60]
        assert tokens == (expected[: expected.index(end)] if end in expected else expected)
    assert list(stream(model, PROMPTS[0], Sampling(tokens=60), end=end)) == stopped[0]


def draws(logits: torch.Tensor, **rules) -> Counter[int]:
    from glasshouse.language.generation import choose

    generator = torch.Generator().manual_seed(0)
    return Counter(choose(logits, [0], Sampling(temperature=1.0, **rules), generator) for _ in range(3000))


def test_sampling_follows_its_distribution():
    probabilities = torch.tensor([0.1, 0.4, 0.3, 0.15, 0.05])
    logits = probabilities.log() + 3
    counts = draws(logits)
    for token, probability in enumerate(probabilities.tolist()):
        assert counts[token] / 3000 == pytest.approx(probability, abs=0.03)
    assert set(draws(logits, top_k=2)) == {1, 2}
    assert set(draws(logits, top_p=0.69)) == {1, 2}
    assert set(draws(logits, top_p=0.71)) == {1, 2, 3}
    assert set(draws(logits, top_p=0.01)) == {1}
    assert draws(logits, top_k=2)[1] / 3000 == pytest.approx(4 / 7, abs=0.03)


def test_no_sequence_is_repeated():
    tokens = generate(sharp(), [[5, 6, 7]], Sampling(tokens=90, no_repeat=3))[0]
    whole = [5, 6, 7, *tokens]
    triples = [tuple(whole[i : i + 3]) for i in range(len(whole) - 2)]
    assert len(triples) == len(set(triples))


def test_text_streams_whole_characters():
    tokenizer = byte_tokenizer()
    model = sharp()
    sampling = Sampling(tokens=80, temperature=2.0, seed=1)
    pieces = list(stream_text(model, tokenizer, "né", sampling, end="<end>"))
    whole = generate_text(model, tokenizer, ["né"], sampling, end="<end>")[0]
    assert "".join(pieces) == whole
    assert generate_text(model, tokenizer, [""], sampling, end="<end>") != [""]


def test_misfits_are_refused():
    model, tokenizer = sharp(), byte_tokenizer()
    small = Transformer(olmo("7B").but(**SMALL | {"vocabulary": 200}))
    with pytest.raises(GenerationError, match="257 tokens up to id 256, but the model's embedding has 200 rows"):
        check_vocabulary(small, tokenizer)
    with pytest.raises(GenerationError, match="'<eos>' is not in the tokenizer"):
        generate_text(model, tokenizer, ["a"], end="<eos>")
    with pytest.raises(GenerationError, match="prompt is empty"):
        generate_text(model, tokenizer, [""])
    with pytest.raises(GenerationError, match="prompt 1 is empty"):
        generate(model, [[1], []])
    with pytest.raises(GenerationError, match="prompt 0 has 100 tokens; the model's context is 100"):
        generate(model, [[1] * 100])
    with pytest.raises(GenerationError, match="ids from 1 to 260; the model's vocabulary is 260"):
        generate(model, [[1, 260]])
    with pytest.raises(ConfigurationError, match=r"top_p got 1\.5"):
        Sampling(top_p=1.5)
    assert generate(model, []) == []
