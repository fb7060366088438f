"""Repeated substrings against a set of all windows."""

import gzip
import json
import random

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.cli.deduplication import substrings as command
from glasshouse.data.deduplication.substring import MEMORY_FACTOR, SubstringMemoryError, Substrings, substrings
from glasshouse.data.document import Document, Origin, to_batch

pytest.importorskip("pydivsufsort", reason="pip install 'glasshouse[search]'")


def batch_of(texts):
    return to_batch([Document(str(i), text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)])


def runs(covered):
    """[start, end) of the runs of True."""
    edges = [i for i, (a, b) in enumerate(zip([False, *covered], [*covered, False], strict=True)) if a != b]
    return [(start, end, 1.0) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def slow(texts, minimum, unit):
    seen, found = set(), []
    for text in texts:
        symbols = text if unit == "characters" else text.encode()
        covered = [False] * len(symbols)
        for at in range(len(symbols) - minimum + 1):
            window = symbols[at : at + minimum]
            if window in seen:
                covered[at : at + minimum] = [True] * minimum
            seen.add(window)
        if unit == "bytes":
            sizes = [len(character.encode()) for character in text]
            ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
            covered = [all(covered[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
        found.append(runs(covered))
    return found


@given(
    st.lists(st.text(alphabet="abé日\U0001f468", max_size=24), max_size=6), st.integers(2, 7),
    st.sampled_from(["characters", "bytes"]), st.integers(0, 6),
)  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_spans_are_those_of_a_slow_reference(texts, minimum, unit, cut):
    spans = Substrings(minimum=minimum, unit=unit).spans([batch_of(texts[:cut]), batch_of(texts[cut:])])
    assert spans[0] + spans[1] == slow(texts, minimum, unit)


def test_a_planted_passage_is_found_where_it_comes_second():
    rng = random.Random(3)
    passage = "Der Übergang ist schön: " + "".join(rng.choice("abcdefgh") for _ in range(300))
    noise = ["".join(rng.choice("ijklmnopqrstuvwxyz ") for _ in range(500)) for _ in range(4)]
    texts = [noise[0], noise[1] + passage + noise[2], noise[3][:7] + passage]
    (found,) = substrings(minimum=200).spans([batch_of(texts)])
    assert found == [[], [], [(7, 7 + len(passage), 1.0)]]


def test_no_match_goes_over_the_end_of_a_document():
    texts = ["abcdef", "ghijkl", "xx", "abcdef"[3:], "ghijkl"[:3]]
    assert Substrings(minimum=4).spans([batch_of(texts)]) == [[[], [], [], [], []]]
    assert Substrings(minimum=3).spans([batch_of(texts)])[0][3:] == [[(0, 3, 1.0)], [(0, 3, 1.0)]]


def test_nothing_at_all():
    assert Substrings().spans([]) == []
    assert Substrings().spans([batch_of([]), batch_of(["", ""])]) == [[], [[], []]]


def test_a_sliced_batch_is_read_in_its_place():
    whole = batch_of(["abcabc", "zzz", "abcabc"])
    assert Substrings(minimum=3).spans([whole.slice(1, 2)]) == [[[], [(3, 6, 1.0)]]]


def test_what_does_not_fit_is_refused_with_advice():
    batch = batch_of(["x" * 99, "y" * 99])
    with pytest.raises(
        SubstringMemoryError, match=r"200 bytes of text need 2,000 .* divide the documents into 2 groups"
    ):
        Substrings(maximum_memory=199 * MEMORY_FACTOR).spans([batch])
    assert Substrings(minimum=2, maximum_memory=200 * MEMORY_FACTOR).spans([batch])[0][0] == [(1, 99, 1.0)]


def test_the_command_writes_a_row_for_every_document(tmp_path):
    passage = "Ein längerer Abschnitt, der zweimal vorkommt."
    lines = [
        b'{"id": "a", "text": "%s"}' % passage.encode(),
        b"broken",
        b'{"id": "b", "text": "x%s"}' % passage.encode(),
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    files = []
    for name in ("one.jsonl.gz", "two.jsonl.gz", "three.jsonl"):
        arguments = [str(tmp_path / "in.jsonl"), "--out", str(tmp_path / name), "--minimum", "20", "--json"]
        told = CliRunner().invoke(command, arguments, catch_exceptions=False)
        summary = {"documents": 2, "with spans": 1, "spans": 1, "characters": len(passage), "quarantined": 1}
        assert json.loads(told.output) == summary
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert gzip.decompress(files[0]) == files[2]
    rows = [orjson.loads(line) for line in files[2].splitlines()]
    assert [row["attributes"]["substrings"] for row in rows] == [[], [[1, 1 + len(passage), 1.0]]]
    assert not list(tmp_path.glob("*.partial"))
    refused = CliRunner().invoke(command, [str(tmp_path), "--out", str(tmp_path / "x.csv")])
    assert refused.exit_code == 2
    assert "must end in .jsonl" in refused.output
