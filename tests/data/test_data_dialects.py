"""The three definitions of Gopher's rules side by side, and FineWeb's rules as a set."""

import pytest

from glasshouse.data.curation.rules import RuleSet, dolma_web_rules, failed_rules, rule
from glasshouse.data.description.dialects import COMPARED, DIALECTS, dialect_differences
from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.families import compute_signals, family

PIECES = ["ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru"]
WORDS = ["".join(PIECES[int(digit)] for digit in str(number)) for number in range(100, 400)]
LINES = ["The {} of {} have {} and {} with {} {} {}.".format(*WORDS[7 * i : 7 * i + 7]) for i in range(40)]
TEXTS = {
    "prose": "\n".join(LINES),
    "blank lines": "\n\n".join(LINES),
    "stop words": "\n".join(line.replace("have", "has").replace("and", "or").replace("with", "by") for line in LINES),
    "stars": "\n".join("* " + line for line in LINES),
    "hashes": "\n".join(line.replace("The", "####") for line in LINES),
    "short": "a b",
    "empty": "",
}


def batch_of(texts):
    return to_batch([Document(name, text, "s", Origin("f", 0, 0)) for name, text in texts.items()])


def table():
    rows = dialect_differences(batch_of(TEXTS)).to_pylist()
    return {(row["id"], row["signal"]): row for row in rows}, rows


def test_verdicts_differ_where_the_definitions_do():
    rows, _ = table()
    keeps = {name: tuple(rows[name, "words"][f"keeps_{dialect}"] for dialect in DIALECTS) for name in TEXTS}
    assert keeps == {
        "prose": (True, True, True),
        "blank lines": (False, True, True),  # only gopher_v1 takes blank lines for duplicates of each other
        "stop words": (True, True, False),  # many occurrences of one word
        "stars": (False, False, True),  # datatrove's bullets are others
        "hashes": (True, True, False),  # datatrove counts every #
        "short": (False, False, False),
        "empty": (False, False, False),
    }


def test_values_are_those_of_the_dialects():
    rows, _ = table()
    words = rows["stars", "words"]
    assert (words["gopher_v1"], words["gopher_v2"]) == (13 * 40, 13 * 40)
    assert words["datatrove"] == 12 * 40  # a star alone is no word
    duplicates = rows["blank lines", "duplicate lines"]
    assert duplicates["gopher_v1"] == pytest.approx(39 / 79)
    assert (duplicates["gopher_v2"], duplicates["datatrove"]) == (0, 0)
    assert duplicates["removes_by_gopher_v1"]
    assert not duplicates["removes_by_gopher_v2"]
    assert rows["prose", "duplicate paragraphs"]["gopher_v1"] is None
    assert rows["hashes", "symbols: # and …"]["datatrove"] == pytest.approx(4 / 12)


def test_rows_and_verdicts_agree():
    _, rows = table()
    assert len(rows) == len(TEXTS) * len(COMPARED)
    for name in TEXTS:
        mine = [row for row in rows if row["id"] == name]
        for dialect in DIALECTS:
            if (name, dialect) == ("empty", "datatrove"):
                continue  # removed for being empty, which is no signal
            assert mine[0][f"keeps_{dialect}"] == (not any(row[f"removes_by_{dialect}"] for row in mine))
    signals = compute_signals(batch_of(TEXTS), [family("core")])
    failures = failed_rules(signals, ["s"] * len(TEXTS), dolma_web_rules)
    kept = [row["keeps_gopher_v1"] for row in rows if row["signal"] == "words"]
    assert kept == [not failed for failed in failures]


def test_fineweb_as_rules_gives_its_verdict():
    names = ("line_count == 0", "line_punct_ratio < 0.12", "short_line_ratio > 0.67", "char_dup_ratio > 0.01",
             "list_ratio > 0.3")  # fmt: skip
    rules = RuleSet(name="fineweb", rules=tuple(rule(f"datatrove_fineweb_{name}") for name in names))
    texts = TEXTS | {"again": TEXTS["prose"] + "\n" + LINES[3], "list": "\n".join("w" * 31 + "." for _ in range(3))}
    signals = compute_signals(batch_of(texts), [family("datatrove_fineweb")])
    failures = failed_rules(signals, ["s"] * len(texts), rules)
    assert signals.column("datatrove_fineweb_keep").to_pylist() == [not failed for failed in failures]
    assert len(set(signals.column("datatrove_fineweb_reason").to_pylist())) >= 4
