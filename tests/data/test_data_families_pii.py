"""Personal information as columns: Dolma's dialect against its own patterns, and where the two dialects differ."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.families import compute_signals, family
from glasshouse.data.signals.pii import find_spans

EMAIL = re.compile("[.\\s@,?!;:)(]*([^\\s@]+@[^\\s@,?!;:)(]+?)[.\\s@,?!;:)(]?[\\s\n\r]")
PHONE = re.compile("\\s+\\(?(\\d{3})\\)?[-\\. ]*(\\d{3})[-. ]?(\\d{4})")
IP = re.compile("(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)\\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)")


def batch_of(texts, metadata="{}"):
    return to_batch([Document(str(i), text, "s", Origin("f", 0, 0), metadata=metadata) for i, text in enumerate(texts)])


def dolma(text):
    """The published patterns, paragraph by paragraph, with Python's own engine."""
    found = {"email": [], "phone": [], "ip": []}
    if text.count("?") > 10_000:
        return found
    for paragraph in re.finditer(r"([^\n]*\n|[^\n]+$)", text):
        line, before = paragraph.group(), paragraph.start()
        if not line.strip():
            continue
        for match in EMAIL.finditer(line):
            addressee, domain = match.group(1).split("@", 1)
            if addressee.strip() != "(" and "." in domain:
                found["email"].append((before + match.start(), before + match.end()))
        for kind, pattern in (("phone", PHONE), ("ip", IP)):
            found[kind] += [(before + match.start(), before + match.end()) for match in pattern.finditer(line)]
    return found


def ours(texts):
    table = compute_signals(batch_of(texts), [family("pii_dolma")]).to_pylist()
    kinds = ("email", "phone", "ip")
    return [
        {kind: [(s["start"], s["end"]) for s in row[f"pii_dolma_{kind}_spans"]] for kind in kinds} for row in table
    ], table


pieces = st.sampled_from(
    ["a@b.org ", "@", ".", "(", ")", ",", " ", "\n", "x", "é", "漢", "٣", "\u2003", "206", "555", "0100", "-",
     "1.2.3.4", "255.", "256.", "(@.", "a.b@", "?", " 2065550100", "\x85", "..", "jane@mail.example.org.\n"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(pieces, max_size=30).map("".join), min_size=1, max_size=4))
def test_dolmas_dialect_equals_its_patterns(texts):
    found, table = ours(texts)
    assert found == [dolma(text) for text in texts]
    for text, spans, row in zip(texts, found, table, strict=True):
        every = [span for of in spans.values() for span in of]
        assert row["pii_dolma_count"] == len(every)
        covered = sum(end - start for start, end in every)
        expected = (covered + len(text)) / len(text) if text else -1.0
        assert row["pii_dolma_fraction"] == pytest.approx(expected, abs=1e-12)


def test_the_reference_finds_something():
    text = "write to a@b.org or call 206 555 0100, host 10.0.0.1\n"
    assert {kind: len(spans) for kind, spans in dolma(text).items()} == {"email": 1, "phone": 1, "ip": 1}
    assert ours([text])[0] == [dolma(text)]


def test_more_than_ten_thousand_question_marks_are_not_looked_at():
    texts = ["a@b.org " + "?" * 10_000 + "\n", "a@b.org " + "?" * 10_001 + "\n"]
    found, _ = ours(texts)
    assert [len(of["email"]) for of in found] == [1, 0]


@pytest.mark.parametrize(("text", "theirs", "corrected"), [
    ("at the end a@b.org", 0, 1),
    ("206-555-0100 at the start", 0, 1),
    ("tel +33 6 12 34 56 78 now", 0, 1),
    ("number 2065550100 here", 1, 0),
    ("version 1.2.3.4.5 of it", 1, 0),
    ("http://10.0.0.1/index", 1, 1),
])  # fmt: skip
def test_where_the_dialects_differ(text, theirs, corrected):
    assert sum(map(len, dolma(text).values())) == theirs
    assert ours([text])[1][0]["pii_dolma_count"] == theirs
    assert len(find_spans(text)) == corrected


def test_hostile_text_takes_linear_time():
    compute_signals(batch_of(["a@b.org "]), [family("pii_dolma")])
    hostile = [
        "a." * 300_000 + "@", ".@" * 300_000, " " * 600_000 + "@", ("(" * 300 + "@") * 2000, "1." * 300_000,
        " 123" * 200_000, "@ " * 300_000, "." * 600_000 + "@b", " 123 " + " " * 600_000, "a@b," * 150_000,
    ]  # fmt: skip
    start = time.process_time()
    compute_signals(batch_of(hostile), [family("pii_dolma")])
    assert time.process_time() - start < 3  # quadratic time would be hours


def test_columns_of_the_corrected_dialect():
    texts = ["", "é a@b.org and 10.0.0.1\n206-555-0100", "nothing", "a@b.org c@d.org"]
    rows = compute_signals(batch_of(texts), [family("pii")]).to_pylist()
    assert [row["pii_count"] for row in rows] == [0, 3, 0, 2]
    assert [(row["email_count"], row["phone_count"], row["ip_count"]) for row in rows] == [
        (0, 0, 0), (1, 1, 1), (0, 0, 0), (2, 0, 0),
    ]  # fmt: skip
    cut = [[text[s["start"] : s["end"]] for s in row["email_spans"]] for text, row in zip(texts, rows, strict=True)]
    assert cut == [[], ["a@b.org"], [], ["a@b.org", "c@d.org"]]
    phone = rows[1]["phone_spans"][0]
    assert texts[1][phone["start"] : phone["end"]] == "206-555-0100"
