"""Bloom filters against theory, and their files against damage."""

import struct

import numpy as np
import pytest

from glasshouse.data.deduplication import bloom_file
from glasshouse.data.deduplication.bloom import (
    BloomFilter,
    BloomLookup,
    BloomOverfullError,
    BloomReadOnlyError,
    expected_false_positives,
    rate_after,
    size_of,
)
from glasshouse.data.deduplication.bloom_file import BloomFileError, load, save
from glasshouse.data.deduplication.methods import Paragraphs
from glasshouse.data.document import Document, Origin, to_batch


def keys(count, seed):
    """Different keys."""
    return np.unique(np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64))


@pytest.mark.parametrize(("expected", "rate"), [(20_000, 0.05), (50_000, 0.01), (200_000, 0.001)])
def test_false_positives_are_those_of_theory(expected, rate):
    found = wanted = 0.0
    for seed in range(3):
        bloom = BloomFilter(expected, rate, seed)
        found += bloom.add(np.random.default_rng(9).permutation(keys(expected, 9))).sum()
        wanted += expected_false_positives(expected, bloom.bits, bloom.hashes)
    assert abs(found - wanted) < 2.576 * np.sqrt(wanted) + 1


def test_keys_in_a_row_are_as_good_as_random_ones():
    bloom = BloomFilter(50_000, 0.01)
    found = bloom.add(np.arange(50_000, dtype=np.uint64)).sum()
    wanted = expected_false_positives(50_000, bloom.bits, bloom.hashes)
    assert abs(found - wanted) < 4 * np.sqrt(wanted)


def test_nothing_is_forgotten_and_strangers_are_taken_for_known_at_the_rate():
    known, strangers = keys(30_000, 1), keys(30_000, 2)
    bloom = BloomFilter(30_000, 0.02)
    bloom.add(known)
    assert bloom.contains(known).all()
    assert bloom.add(known).all()
    rate = rate_after(30_000, bloom.bits, bloom.hashes)
    assert rate == pytest.approx(0.02, rel=0.02)
    assert abs(bloom.contains(strangers).mean() - rate) < 3.5 * np.sqrt(rate / 30_000)


@pytest.mark.parametrize(("expected", "rate"), [(1_000, 1e-3), (10_000, 0.1), (100_000, 1e-15)])
def test_the_file_is_as_small_as_theory_says(tmp_path, expected, rate):
    save(BloomFilter(expected, rate), tmp_path / "f")
    theory = -expected * np.log(rate) / np.log(2) ** 2 / 8
    assert theory <= (tmp_path / "f").stat().st_size - bloom_file.HEADER_BYTES
    assert (tmp_path / "f").stat().st_size <= 1.05 * theory


def test_the_same_seed_gives_the_same_file_and_another_one_another(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        bloom = BloomFilter(1000, 0.01, seed)
        bloom.add(keys(900, 3))
        save(bloom, tmp_path / name)
    files = [(tmp_path / name).read_bytes() for name in "abc"]
    assert files[0] == files[1]
    assert files[0] != files[2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_saved_filter_is_read_only_unless_it_shall_not_be(tmp_path):
    bloom = BloomFilter(1000, 0.01, 5)
    bloom.add(keys(500, 3))
    save(bloom, tmp_path / "f")
    opened = load(tmp_path / "f")
    assert (opened.contains(keys(2000, 8)) == bloom.contains(keys(2000, 8))).all()
    assert opened.inserted == bloom.inserted
    with pytest.raises(BloomReadOnlyError, match="read_only=False"):
        opened.add(keys(1, 0))
    more = load(tmp_path / "f", read_only=False)
    assert (more.add(keys(400, 4)) == bloom.add(keys(400, 4))).all()
    assert (more.words == bloom.words).all()


def test_too_many_keys_are_told():
    bloom = BloomFilter(100, 1e-3)
    with pytest.raises(BloomOverfullError, match="sized for 100"):
        bloom.add(keys(1000, 0))


@pytest.mark.parametrize(("expected", "rate"), [(0, 0.1), (10, 0.0), (10, 1.0)])
def test_impossible_sizes_are_refused(expected, rate):
    with pytest.raises(ValueError, match="expected >= 1"):
        BloomFilter(expected, rate)


def damaged(whole):
    """(what was done, file) for every kind of damage."""
    yield "empty", b"", "is no Bloom filter"
    yield "header cut", whole[:40], "is cut short"
    yield "magic cut", whole[:5], "is cut short"
    yield "words cut", whole[:-1], "bytes, its header says"
    yield "longer", whole + b"\0", "bytes, its header says"
    yield "a bit turned", whole[:-1] + bytes([whole[-1] ^ 1]), "its digest does not fit"
    yield "a seed changed", whole[:24] + b"\1" + whole[25:], "its digest does not fit"
    yield "another version", whole[:8] + b"\2" + whole[9:], "has version 2"
    yield "size of the moon", whole[:16] + b"\xff" * 8 + whole[24:], "bytes, its header says"
    yield "another kind", b"PK\3\4" + whole[4:], "is no Bloom filter"
    yield "Dolma's", struct.pack("<III", 0x81F0F117, 1, 7) + whole, r"filter of Dolma \(version 1, 7 hashes\).*random"


def test_damaged_files_are_refused_with_the_reason(tmp_path):
    bloom = BloomFilter(100, 0.01)
    bloom.add(keys(100, 0))
    save(bloom, tmp_path / "f")
    whole = (tmp_path / "f").read_bytes()
    for _, content, message in damaged(whole):
        (tmp_path / "d").write_bytes(content)
        with pytest.raises(BloomFileError, match=message):
            load(tmp_path / "d")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def test_a_filter_with_a_forged_header_is_refused(tmp_path):
    """A header that confirms itself but speaks of a filter that cannot be."""
    bloom = BloomFilter(100, 0.01)
    bloom.hashes = 0
    save(bloom, tmp_path / "f")
    with pytest.raises(BloomFileError, match="which no filter has"):
        load(tmp_path / "f")


def test_looking_up_finds_only_what_the_filter_holds_and_adds_nothing(tmp_path):
    def batch(*texts):
        return to_batch([Document(str(i), text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)])

    bloom = BloomFilter(100, 1e-6)
    bloom.add(Paragraphs().sign(batch("known line\nanother known one")).keys)
    save(bloom, tmp_path / "f")
    method = Paragraphs(filter=BloomLookup(file=tmp_path / "f"))
    looked = batch("new\nknown line\nnew", "known line")
    repeated = method.repeated([method.sign(looked).keys])
    assert method.spans(looked, repeated) == [[(4, 15, 1.0)], [(0, 10, 1.0)]]


def test_sizes():
    assert size_of(1000, 0.001) == (14400, 10)
    assert size_of(1, 0.9) == (64, 1)
