"""Duplicate documents: exact, by address, and near ones against the theory of MinHash with banding."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.deduplication.grouping import first_rows, groups
from glasshouse.data.deduplication.keys import NO_KEY, Keys
from glasshouse.data.deduplication.methods import UnknownMethodError, exact, method, minhash, url
from glasshouse.data.deduplication.selector import MetadataError, SelectorError, parsed
from glasshouse.data.deduplication.url import UniqueUrl, normalised
from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.executor import Threads, map_shards
from glasshouse.store.configuration import ConfigurationError


class Shuffled:
    """Runs what it is given in a random order and hands it back in the right one."""

    workers = 3

    def __init__(self, seed):
        self.random = random.Random(seed)

    def map(self, function, items):
        items = list(items)
        done = {place: function(items[place]) for place in self.random.sample(range(len(items)), len(items))}
        yield from (done[place] for place in range(len(items)))


def batch_of(texts, metadata=None):
    metadata = metadata or ["{}"] * len(texts)
    return to_batch(
        [
            Document(str(i), text, "s", Origin("f", 0, 0), metadata=about)
            for i, (text, about) in enumerate(zip(texts, metadata, strict=True))
        ]
    )


def slow_groups(rows):
    """Connected components of rows that share a key in some column, by flooding."""
    keepers = list(range(len(rows)))
    changed = True
    while changed:
        changed = False
        for i, j in itertools.combinations(range(len(rows)), 2):
            shared = any(a == b != int(NO_KEY) for a, b in zip(rows[i], rows[j], strict=True))
            if shared and keepers[i] != keepers[j]:
                keepers[i] = keepers[j] = min(keepers[i], keepers[j])
                changed = True
    return keepers


def test_exact_keeps_the_first():
    texts = ["a", "b", "a", "", "b", "", "a "]
    assert exact().keepers(exact().sign(batch_of(texts))).tolist() == [0, 1, 0, 3, 1, 3, 6]
    assert exact().keepers(exact().sign(batch_of([]))).tolist() == []
    assert exact().keepers(Keys([])).tolist() == []


def test_exact_reads_a_sliced_batch_in_its_place():
    whole = batch_of(["x", "same", "y", "same", "z"])
    assert np.array_equal(exact().sign(whole)[1:4], exact().sign(whole.slice(1, 3)))
    assert np.array_equal(minhash().sign(whole)[1:4], minhash().sign(whole.slice(1, 3)))


keys_of_rows = st.lists(
    st.lists(st.sampled_from([0, 1, 2, 2**40, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]), min_size=3, max_size=3),
    max_size=14,
)


@given(keys_of_rows, st.sampled_from([1, 2, 8, 64]), st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_groups_are_the_components_whatever_the_partitions_and_the_scheduling(rows, partitions, seed):
    array = np.array(rows, np.uint64).reshape(-1, 3)
    cut = len(rows) // 2
    got = groups(Keys([array[:cut], array[cut:]]), Shuffled(seed), partitions)
    assert got.tolist() == slow_groups(rows)


@given(keys_of_rows, st.sampled_from([1, 2, 8, 64]))
@settings(max_examples=100, deadline=None)
def test_first_rows_compare_both_halves_of_a_key(rows, partitions):
    array = np.array(rows, np.uint64).reshape(-1, 3)
    got = first_rows([array[:, 0], array[:, 1]], Threads(2), partitions).tolist()
    pairs = [tuple(row[:2]) for row in rows]
    no_key = (2**64 - 1, 2**64 - 1)
    assert got == [i if pair == no_key else pairs.index(pair) for i, pair in enumerate(pairs)]


def test_partitions_must_be_a_power_of_two():
    with pytest.raises(ValueError, match=r"power of two.*got 3"):
        exact().keepers(exact().sign(batch_of(["a", "b"])), None, 3)


def test_only_living_rows_are_compared():
    keys = exact().sign(batch_of(["a", "a", "b", "a"]))
    assert exact().keepers(Keys([keys], np.array([False, True, True, True]))).tolist() == [0, 1, 0]


def test_minhash_ignores_case_and_wordless_documents():
    text = "the quick brown fox jumps over the lazy dog again and again"
    texts = ["", text, " \n", text.upper(), "two words", "Two\nwords", "other words entirely"]
    assert minhash().keepers(minhash().sign(batch_of(texts))).tolist() == [0, 1, 2, 1, 4, 4, 6]


def pair(similarity, rng, size=400):
    """Two texts whose sets of single words have exactly about this Jaccard similarity."""
    shared = round(2 * size * similarity / (1 + similarity))
    words = [f"w{rng.getrandbits(60)}" for _ in range(2 * size - shared)]
    return " ".join(words[:size]), " ".join(words[size - shared :]), shared / (2 * size - shared)


@pytest.mark.parametrize("similarity", [0.6, 0.7, 0.8, 0.9])
def test_the_estimate_and_the_recall_follow_the_theory(similarity):
    rng, pairs = random.Random(7), 1500
    near = minhash(shingle=1)
    made = [pair(similarity, rng, size=120) for _ in range(pairs)]
    batch = batch_of([text for one, other, _ in made for text in (one, other)])
    jaccard = made[0][2]
    values = near.signature(batch)
    assert values.shape == (2 * pairs, 112)
    assert values.dtype == np.uint32
    agree = (values[0::2] == values[1::2]).mean(axis=1)
    error = np.sqrt(np.mean((agree - jaccard) ** 2)) / np.sqrt(jaccard * (1 - jaccard) / 112)
    assert 0.85 < error < 1.15
    expected = 1 - (1 - jaccard**8) ** 14
    spread = np.sqrt(expected * (1 - expected) / pairs)
    found = (near.keepers(near.sign(batch))[1::2] == np.arange(0, 2 * pairs, 2)).mean()
    assert abs(found - expected) < 0.01 + 2.6 * spread


def test_band_keys_are_equal_exactly_where_the_bands_are():
    rng = random.Random(3)
    near = minhash(shingle=1)
    batch = batch_of([text for _ in range(40) for text in pair(0.8, rng, size=60)[:2]])
    values, keys = near.signature(batch), near.sign(batch)
    assert keys.shape == (80, 14)
    bands = values.reshape(80, 14, 8)
    for one, other in itertools.combinations(range(80), 2):
        assert ((bands[one] == bands[other]).all(axis=1) == (keys[one] == keys[other])).all()


def test_shingles_of_five_words_see_the_order():
    words = [f"w{i}" for i in range(200)]
    texts = [" ".join(words), " ".join(reversed(words))]
    values = minhash().signature(batch_of(texts))
    assert (values[0] == values[1]).mean() < 0.05
    assert minhash(seed=1).signature(batch_of(texts)).tolist() != values.tolist()


def test_chains_join_at_the_smallest_row_with_any_number_of_workers():
    rng = random.Random(1)
    words = [f"w{rng.getrandbits(40)}" for _ in range(300)]
    chain = [" ".join([*words[8 * i :], *(f"x{j}" for j in range(8 * i))]) for i in range(12)]
    texts = ["unrelated text of its own kind here", *reversed(chain), "another one that is unrelated to all"] * 2
    near = minhash()
    results = []
    for workers, partitions in itertools.product((1, 2, 4), (1, 4, 32)):
        shards = [batch_of(texts[i : i + 3]) for i in range(0, len(texts), 3)]
        keys = Keys(list(map_shards(near.sign, shards, workers)))
        results.append(near.keepers(keys, Threads(workers), partitions).tolist())
    assert all(result == results[0] for result in results)
    assert results[0][:14] == [0, *[1] * 12, 13]
    assert results[0][14:] == results[0][:14]


def test_documents_without_an_address_are_nobodys_duplicates():
    about = ['{"url": "http://a"}', "{}", '{"url": null}', '{"url": "http://a"}', '{"url": " "}', '{"url": " "}', "[]"]
    assert url().keepers(url().sign(batch_of(["x"] * 7, about))).tolist() == [0, 1, 2, 0, 4, 5, 6]
    strict = UniqueUrl(skip_empty=False)
    assert strict.keepers(strict.sign(batch_of(["x"] * 7, about))).tolist() == [0, 1, 2, 0, 4, 4, 6]
    long = UniqueUrl(minimum_length=9)
    assert long.keepers(long.sign(batch_of(["x"] * 7, about))).tolist() == list(range(7))


def test_selectors_reach_columns_and_nested_values():
    about = ['{"page url": [{"n": 1}, {"n": 2}]}', '{"page url": [{"n": "1"}]}', '{"page url": 5}', '{"page url": []}']
    nested = UniqueUrl(selector="$.metadata['page url'][0].n")
    assert list(nested.keys(batch_of("abcd", about))) == ["1", "1", None, None]
    assert list(UniqueUrl(selector="$.text").keys(batch_of("aba"))) == ["a", "b", "a"]
    assert list(UniqueUrl(selector="$.source.x").keys(batch_of("aba"))) == [None] * 3


@pytest.mark.parametrize("selector", ["", "url", "$", "$.", "$..url", "$.metadata[*]", "$.url", "$.metadata[?(@.a)]"])
def test_a_selector_that_is_not_understood_is_refused_at_once(selector):
    with pytest.raises(SelectorError, match="selector"):
        parsed(selector)
    with pytest.raises(ConfigurationError, match="selector"):
        UniqueUrl(selector=selector)


def test_broken_metadata_name_the_document():
    with pytest.raises(MetadataError, match="document '1'"):
        url().sign(batch_of(["x", "y"], ["{}", "{"]))


def test_normalised_addresses():
    same = ["HTTPS://User@Example.ORG:443/A?b=C#d", " http://example.org/A?b=C", "http://example.org.:80/A?b=C"]
    assert {normalised(address) for address in same} == {"http://example.org/A?b=C"}
    assert normalised("https://example.org") == normalised("http://EXAMPLE.org/") == "http://example.org/"
    different = ["http://example.org/a", "http://example.org/A", "http://example.org:81/A", "ftp://example.org/A",
                 "http://www.example.org/A", "http://example.org/A?x"]  # fmt: skip
    assert len({normalised(address) for address in different}) == len(different)
    assert normalised(" not an address ") == "not an address"
    about = ['{"url": "http://a/"}', '{"url": "https://A#x"}']
    assert url().keepers(url().sign(batch_of("xy", about))).tolist() == [0, 1]
    loose = url(normalise=True)
    assert loose.keepers(loose.sign(batch_of("xy", about))).tolist() == [0, 0]


def test_methods_by_name():
    assert method("minhash", bands=4).width == 4
    with pytest.raises(UnknownMethodError, match="did you mean minhash"):
        method("minhsh")


def test_map_shards_keeps_order_and_raises_in_place():
    assert list(map_shards(lambda x: x * x, range(50), 4)) == [x * x for x in range(50)]
    got = []
    with pytest.raises(ZeroDivisionError):
        got.extend(map_shards(lambda x: 1 // x, [1, 1, 0, 1], 2))
    assert got == [1, 1]
    with pytest.raises(ValueError, match="workers"):
        list(map_shards(abs, [], 0))
