"""Coreference metrics, readers and baselines, against the CoNLL reference scorer's own test values and brute force.

The values are those of `test/CorefMetricTestConfig.pm` of conll/reference-coreference-scorers (commit f49f3f8): all of
MUC, B3, CEAF-m and CEAF-e that it states. Clusters are written as words, a letter being a mention.
"""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.evaluation.context.coreference.baselines import BASELINES
from glasshouse.evaluation.context.coreference.conll import read_conll, read_ontogum, read_ontonotes
from glasshouse.evaluation.context.coreference.documents import Document, Mention, merge_links
from glasshouse.evaluation.context.coreference.metrics import (
    METRICS,
    Counts,
    ceaf_e,
    ceaf_m,
    document_counts,
    f1_scores,
    total,
)
from glasshouse.evaluation.context.sources import DataError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "evaluation"

REFERENCE = {
    "A1": ("a bc def", "a bc def", {"muc": (1, 1, 1), "b3": (1, 1, 1), "ceaf_m": (1, 1, 1), "ceaf_e": (1, 1, 1)}),
    "A2": ("a bc def", "a de", {
        "muc": (1 / 3, 1, 0.5), "b3": (7 / 18, 1, 14 / 25), "ceaf_m": (0.5, 1, 0.66667), "ceaf_e": (0.6, 0.9, 0.72)}),
    "A3": ("a bc def", "a bcx defy z", {
        "muc": (1, 3 / 5, 0.75), "b3": (1, (4 + 7 / 12) / 9, 110 / 163), "ceaf_m": (1, 0.66667, 0.8),
        "ceaf_e": (0.88571, 0.66429, 0.75918)}),
    "A4": ("a bc def", "a bcx dy z", {
        "muc": (1 / 3, 1 / 3, 1 / 3), "b3": (5 / 9, 17 / 42, 2 * (5 / 9) * (17 / 42) / (5 / 9 + 17 / 42)),
        "ceaf_m": (0.66667, 0.57143, 0.61538), "ceaf_e": (0.73333, 0.55, 0.62857)}),
    "A5": ("a bc def", "a bcxB dy z", {
        "muc": (1 / 3, 1 / 4, 2 / 7), "b3": (5 / 9, 5 / 16, 2 * (5 / 9) * (5 / 16) / (5 / 9 + 5 / 16)),
        "ceaf_m": (0.66667, 0.5, 0.57143), "ceaf_e": (0.68889, 0.51667, 0.59048)}),
    "A6": ("a bc def", "a bcx dy Bz", {
        "muc": (1 / 3, 1 / 4, 2 / 7), "b3": (5 / 9, 17 / 48, 2 * (5 / 9) * (17 / 48) / (5 / 9 + 17 / 48)),
        "ceaf_m": (0.66667, 0.5, 0.57143), "ceaf_e": (0.73333, 0.55, 0.62857)}),
    "A10": ("a bc def", "a b c d e f", {"muc": (0, 0, 0), "b3": (3 / 6, 1, 2 / 3)}),
    "A11": ("a bc def", "abcdef", {"muc": (1, 3 / 5, 6 / 8), "b3": (1, 7 / 18, 14 / 25)}),
    "A12": ("a bc def", "a x y c d e z", {
        "muc": (0, 0, 0), "b3": (13 / 36, 4 / 7, 2 * (13 / 36) * (4 / 7) / (13 / 36 + 4 / 7))}),
    "A13": ("a bc def", "axycdez", {
        "muc": (1 / 3, 1 / 6, 2 / 9), "b3": (17 / 36, 6 / 49, 2 * (17 / 36) * (6 / 49) / (17 / 36 + 6 / 49))}),
    "D1": ("12345 67 89ABC", "12345 6789ABC", {
        "muc": (1, 9 / 10, 1.8 / 1.9), "b3": (1, 16 / 21, 2 * (16 / 21) / (1 + 16 / 21))}),
    "E1": ("12345 67 89ABC", "1234589ABC 67", {
        "muc": (1, 9 / 10, 1.8 / 1.9), "b3": (1, 7 / 12, 2 * (7 / 12) / (1 + 7 / 12))}),
    "F1": ("ABCD", "AB CD", {"muc": (2 / 3, 1, 0.8)}),
    "G1": ("AB CD", "ABCD", {"muc": (1, 2 / 3, 0.8)}),
    "H1": ("ABCD", "ABCD", {"muc": (1, 1, 1)}),
    "I1": ("ABCD", "AB CD", {"muc": (2 / 3, 1, 0.8)}),
    "J1": ("ABC", "AC", {"muc": (1 / 2, 1, 2 / 3)}),
    "K1": ("BCDEGHJ", "ABC DEF GHI", {"muc": (3 / 6, 3 / 6, 3 / 6)}),
    "L1": ("ABC DEFG", "AB CD FGH", {"muc": (2 / 5, 2 / 4, 4 / 9)}),
    "M1": ("abcdef", "abcdef", {"muc": (1, 1, 1), "b3": (1, 1, 1), "ceaf_m": (1, 1, 1), "ceaf_e": (1, 1, 1)}),
    "M2": ("abcdef", "a b c d e f", {"muc": (0, 0, 0)}),
    "M5": ("abcdef", "a b c x y z", {"muc": (0, 0, 0)}),
    "N1": ("a b c d e f", "a b c d e f", {"muc": (0, 0, 0)}),
    "N2": ("a b c d e f", "abcdef", {"muc": (0, 0, 0)}),
    "N4": ("a b c d e f", "a b c x y z", {"muc": (0, 0, 0)}),
}  # fmt: skip

KEY = "(0 0) - (1 - - 1) - -, (1) - (2 2) - (2) - (2 - 2) -"
"""Coreference columns of case A, a sentence after the comma: a = two words, b = four, and so on."""
REPEATED = {
    "A5": "(0 0) - (1 (1 1) 1) - -, (1) (1) (2 2) (3) - (2) - - - -",
    "A7": "(0 0) - (1(1 - - 1)1) - -, (1) (1) (2 2) (3) - (2) - - - -",
    "A8": "(0 0) - (1(3 - - 3)1) - -, (1) (1) (2 2) (3) - (2) - - - -",
    "A9": f"(0 0) - (1{'(3' * 10} - - {'3)' * 10}1) - -, (1) (1) (2 2) (3) - (2) - - - -",
}


def clusters(words):
    return [frozenset(word) for word in words.split()]


def columns(folder, name, marks):
    lines = ["#begin document (case);"]
    for sentence in marks.split(", "):
        lines += [f"case\t0\t{n}\tword{n}\t{mark}" for n, mark in enumerate(sentence.split())] + [""]
    path = folder / name
    path.write_text("\n".join([*lines, "#end document"]), encoding="utf-8")
    return path


def check(counts: Counts, expected):
    recall, precision, f1 = expected
    found = (
        counts.recall / counts.recall_of if counts.recall_of else 0.0,
        counts.precision / counts.precision_of if counts.precision_of else 0.0,
        counts.f1,
    )
    assert found == pytest.approx((recall, precision, f1), abs=6e-5)


def test_the_metrics_are_those_of_the_reference_scorer():
    checked = 0
    for key, response, expected in REFERENCE.values():
        for metric, values in expected.items():
            check(METRICS[metric](clusters(key), clusters(response)), values)
            checked += 1
    assert checked == 52  # with the twelve of A7 to A9 below, all 64 that the reference states of these metrics


@pytest.mark.parametrize("case", REPEATED)
def test_mentions_marked_twice_count_once(case, tmp_path):
    (key,), (response,) = (read_conll(columns(tmp_path, n, m)) for n, m in (("key", KEY), ("response", REPEATED[case])))
    _, _, expected = REFERENCE["A5" if case == "A5" else "A4"]  # A7 to A9 come to A4 once their repetitions are dropped
    for metric, values in expected.items():
        check(METRICS[metric](key.clusters, response.clusters), values)


PARTITIONS = st.lists(st.integers(0, 4), min_size=1, max_size=8).map(
    lambda labels: [frozenset(i for i, one in enumerate(labels) if one == label) for label in sorted(set(labels))]
)


@settings(max_examples=200, deadline=None)
@given(PARTITIONS, PARTITIONS)
def test_ceaf_is_the_best_of_all_alignments(key, response):
    few, many = sorted((key, response), key=len)
    for metric, similarity in (
        (ceaf_m, lambda a, b: len(a & b)),
        (ceaf_e, lambda a, b: 2 * len(a & b) / (len(a) + len(b))),
    ):
        best = max(
            sum(similarity(a, b) for a, b in zip(few, chosen, strict=True)) for chosen in permutations(many, len(few))
        )
        assert metric(key, response).recall == pytest.approx(best, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.data())
def test_links_merge_into_the_transitive_closure(size, data):
    mentions = [Mention(n, n + 1) for n in range(size)]
    one = st.sampled_from(mentions)
    links = data.draw(st.lists(st.tuples(one, one), max_size=15))
    near = np.eye(size, dtype=bool)
    for first, second in links:
        near[first.start, second.start] = near[second.start, first.start] = True
    for _ in range(size):
        near = near @ near
    expected = {frozenset(mentions[m] for m in np.flatnonzero(row)) for row in near}
    found = merge_links(mentions, links)
    assert set(found) == expected
    assert [min(cluster) for cluster in found] == sorted(min(cluster) for cluster in found)


def test_a_conll_2012_file_is_read_with_parts_sentences_and_speakers(tmp_path):
    def line(number, word, mark):
        return f"bc/x/00/x_0000   0   {number}   {word}   NN   (TOP*)   -   -   -   Ann   *   *   {mark}"

    rows = [
        "#begin document (bc/x/00/x_0000); part 000", line(0, "Ann", "(3|(4)"), line(1, "Lee", "3)"), "",
        line(0, "she", "(3)"), line(1, ".", "-"), "", "#end document",
        "#begin document (bc/x/00/x_0000); part 001", line(0, "It", "-"), "#end document",
    ]  # fmt: skip
    for name in ("x.v4_gold_conll", "x.v4_auto_conll"):  # only the first is read
        (tmp_path / name).write_text("\n".join(rows), encoding="utf-8")
    first, second = read_ontonotes(tmp_path)
    assert (first.id, second.id) == ("bc/x/00/x_0000#0", "bc/x/00/x_0000#1")
    assert first.tokens == ("Ann", "Lee", "she", ".")
    assert (first.sentences, first.speakers) == ((0, 2), ("Ann",) * 4)
    assert set(first.clusters) == {frozenset({Mention(0, 2), Mention(2, 3)}), frozenset({Mention(0, 1)})}
    assert second.clusters == ()


@pytest.mark.parametrize(
    ("marks", "said"),
    [("(1 - -", "never closed"), ("- 1) -", "not open"), ("(x(y)z -", "no coreference mark"), ("word -", "no coref")],
)
def test_damaged_columns_are_told_with_their_line(marks, said, tmp_path):
    with pytest.raises(DataError, match=said) as told:
        read_conll(columns(tmp_path, "damaged.conll", marks))
    assert "damaged.conll, line 2" in str(told.value) or "line 3" in str(told.value)


def test_missing_data_is_told_with_licence_and_origin(tmp_path):
    with pytest.raises(DataError, match=r"LDC2013T19.*Licence: LDC user agreement.*Nothing is downloaded"):
        read_ontonotes(tmp_path / "absent")
    with pytest.raises(DataError, match=r"amir-zeldes/gum.*CC BY 4\.0"):
        read_ontogum(tmp_path)


def test_damaged_and_masked_documents_of_a_folder_are_put_aside(tmp_path):
    for name, words in {"GUM_a": "Ann (1)\nshe (1)\nit (2)", "GUM_b": "Ann (1\nshe _", "GUM_c": "_ (1)\n_ (1)"}.items():
        rows = [f"{n}\t{word.replace(' ', chr(9))}" for n, word in enumerate(words.split("\n"))]
        (tmp_path / f"{name}.conll").write_text("\n".join(["# begin document", *rows]), encoding="utf-8")
    (tmp_path / "SPLITS.md").write_text("## test\n  * GUM_a\n  * GUM_b\n  * GUM_c\n", encoding="utf-8")
    aside: list[str] = []
    (document,) = read_ontogum(tmp_path, "test", aside.append)
    assert (document.id, [len(cluster) for cluster in document.clusters]) == ("GUM_a", [2])
    assert len(aside) == 1
    assert "GUM_b.conll" in aside[0]
    with pytest.raises(DataError, match="never closed"):
        read_ontogum(tmp_path)
    with pytest.raises(DataError, match="no split 'dev'; it has test"):
        read_ontogum(tmp_path, "dev")


@pytest.mark.skipif(not (DATA / "ontogum").is_dir(), reason="OntoGUM is not here")
def test_baselines_on_ontogum():
    documents = read_ontogum(DATA / "ontogum")
    sizes = (len(documents), sum(len(d.mentions) for d in documents), sum(len(d.clusters) for d in documents))
    assert sizes == (30, 3580, 857)
    found = {
        name: 100 * f1_scores(total(document_counts(d.clusters, make(d)) for d in documents))["average"]
        for name, make in BASELINES.items()
    }
    assert found == pytest.approx(
        {"exact string": 55.65, "same last word": 59.57, "one cluster": 35.85, "singletons": 19.80}, abs=0.005
    )


def test_the_text_of_a_mention_and_the_order_of_mentions():
    outer, inner, last = Mention(0, 3), Mention(0, 1), Mention(3, 4)
    document = Document("d", ("Ann", "'s", "cat", "it"), (frozenset({outer, last}), frozenset({inner})))
    assert document.mentions == (outer, inner, last)
    assert document.text(outer) == "Ann 's cat"
