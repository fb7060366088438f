"""Duplicates: exact, and near ones against the theory of MinHash with banding."""

import random

import numpy as np
import pytest

from glasshouse.data.deduplication.methods import exact, minhash
from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.executor import map_shards


def batch_of(texts):
    return to_batch([Document(str(i), text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)])


def test_exact_keeps_the_first():
    method = exact()
    texts = ["a", "b", "a", "", "b", "", "a "]
    assert method.keepers(method.sign(batch_of(texts))).tolist() == [0, 1, 0, 3, 1, 3, 6]
    assert method.keepers(method.sign(batch_of([]))).tolist() == []


def test_minhash_ignores_case_and_wordless_documents():
    method = minhash()
    text = "the quick brown fox jumps over the lazy dog again and again"
    texts = ["", text, " \n", text.upper(), "two words", "Two\nwords", "other words entirely"]
    assert method.keepers(method.sign(batch_of(texts))).tolist() == [0, 1, 2, 1, 4, 4, 6]


def pair(similarity, rng, size=400):
    """Two texts whose sets of single words have exactly about this Jaccard similarity."""
    shared = round(2 * size * similarity / (1 + similarity))
    words = [f"w{rng.getrandbits(60)}" for _ in range(2 * size - shared)]
    return " ".join(words[:size]), " ".join(words[size - shared :]), shared / (2 * size - shared)


@pytest.mark.parametrize("similarity", [0.6, 0.7, 0.8, 0.9])
def test_recall_follows_the_theory(similarity):
    rng, method, pairs = random.Random(7), minhash(shingle=1), 600
    made = [pair(similarity, rng) for _ in range(pairs)]
    signatures = method.sign(batch_of([text for one, other, _ in made for text in (one, other)]))
    agree = (signatures[0::2] == signatures[1::2]).mean(axis=1)
    assert agree.mean() == pytest.approx(made[0][2], abs=0.01)
    expected = 1 - (1 - made[0][2] ** 8) ** 14
    spread = np.sqrt(expected * (1 - expected) / pairs)
    found = (method.keepers(signatures)[1::2] == np.arange(0, 2 * pairs, 2)).mean()
    assert abs(found - expected) < max(4 * spread, 0.01)


def test_shingles_of_five_words_see_the_order():
    words = [f"w{i}" for i in range(200)]
    texts = [" ".join(words), " ".join(reversed(words))]
    signatures = minhash().sign(batch_of(texts))
    assert (signatures[0] == signatures[1]).mean() < 0.05
    assert minhash(seed=1).sign(batch_of(texts)).tolist() != signatures.tolist()


def test_chains_join_at_the_smallest_row_with_any_number_of_workers():
    rng = random.Random(1)
    words = [f"w{rng.getrandbits(40)}" for _ in range(300)]
    chain = [" ".join([*words[8 * i :], *(f"x{j}" for j in range(8 * i))]) for i in range(12)]
    texts = ["unrelated text of its own kind here", *reversed(chain), "another one that is unrelated to all"] * 2
    method = minhash()
    results = []
    for workers in (1, 2, 4):
        shards = [batch_of(texts[i : i + 3]) for i in range(0, len(texts), 3)]
        results.append(method.keepers(np.concatenate(list(map_shards(method.sign, shards, workers)))).tolist())
    assert results[0] == results[1] == results[2]
    assert results[0][:14] == [0, *[1] * 12, 13]
    assert results[0][14:] == results[0][:14]


def test_map_shards_keeps_order_and_raises_in_place():
    assert list(map_shards(lambda x: x * x, range(50), 4)) == [x * x for x in range(50)]
    got = []
    with pytest.raises(ZeroDivisionError):
        got.extend(map_shards(lambda x: 1 // x, [1, 1, 0, 1], 2))
    assert got == [1, 1]
    with pytest.raises(ValueError, match="workers"):
        list(map_shards(abs, [], 0))
