"""The datatrove dialects against a plain-Python reference written from what those filters do."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.datatrove_characters import PUNCTUATION, TERMINAL, datatrove_classes
from glasshouse.data.signals.datatrove_quality import DatatroveGopherQuality
from glasshouse.data.signals.families import compute_signals, family

NAMES = ("datatrove_gopher_quality", "datatrove_gopher_repetition", "datatrove_c4", "datatrove_fineweb")
STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def is_class(character, bit):
    return bool(datatrove_classes()[ord(character)] & bit)


def share(part, whole):
    return part / whole if whole else 0.0


def quality(text):
    words, lines = text.split(), text.splitlines()
    plain = [word for word in words if not all(is_class(c, PUNCTUATION) for c in word)]
    return {
        "word_count": len(words),
        "non_symbol_word_count": len(plain),
        "mean_word_length": share(sum(map(len, plain)), len(plain)),
        "hashes_per_word": share(text.count("#"), len(words)),
        "ellipses_per_word": share(text.count("...") + text.count("…"), len(words)),
        "bullet_lines": share(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        "ellipsis_lines": share(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        "alphabetic_words": share(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "stop_words": len(STOP_WORDS & set(words)),
    }


def quality_reason(row):
    for reason, failed in {
        "gopher_short_doc": row["non_symbol_word_count"] < 50,
        "gopher_long_doc": row["non_symbol_word_count"] > 100_000,
        "gopher_below_avg_threshold": row["mean_word_length"] < 3,
        "gopher_above_avg_threshold": row["mean_word_length"] > 10,
        "gopher_too_many_hashes": row["hashes_per_word"] > 0.1,
        "gopher_too_many_ellipsis": row["ellipses_per_word"] > 0.1,
        "gopher_too_many_bullets": row["bullet_lines"] > 0.9,
        "gopher_too_many_end_ellipsis": row["ellipsis_lines"] > 0.3,
        "gopher_below_alpha_threshold": row["alphabetic_words"] < 0.8,
        "gopher_enough_stop_words": row["stop_words"] < 2,
    }.items():
        if failed:
            return reason
    return ""


def again(pieces):
    seen, found = set(), []
    for piece in pieces:
        found += [piece] if piece in seen else []
        seen.add(piece)
    return found


def repeated_characters(words, n):
    at, seen, found = 0, set(), 0
    while at + n <= len(words):
        gram = "".join(words[at : at + n])
        found, at = (found + len(gram), at + n) if gram in seen else (found, at + 1)
        seen.add(gram)
    return found


def repetition(text):
    paragraphs, lines, words = re.split(r"\n{2,}", text.strip()), re.split(r"\n+", text), text.split()
    row = {
        "duplicate_paragraphs": len(again(paragraphs)) / len(paragraphs),
        "duplicate_paragraph_characters": share(sum(map(len, again(paragraphs))), len(text)),
        "duplicate_lines": len(again(lines)) / len(lines),
        "duplicate_line_characters": share(sum(map(len, again(lines))), len(text)),
    }
    for n in (2, 3, 4):
        grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1)).most_common(1)
        row[f"top_{n}gram"] = len(grams[0][0]) * grams[0][1] / len(text) if grams else 0.0
    for n in range(5, 11):
        row[f"duplicate_{n}grams"] = share(repeated_characters(words, n), len(text))
    return row


def repetition_reason(row, text):
    limits = [0.3, 0.2, 0.3, 0.2, 0.2, 0.18, 0.16, 0.15, 0.14, 0.13, 0.12, 0.11, 0.10]
    reasons = ["dup_para_frac", "dup_para_char_frac", "dup_line_frac", "dup_line_char_frac"]
    reasons += [f"top_{n}_gram" for n in (2, 3, 4)] + [f"duplicated_{n}_n_grams" for n in range(5, 11)]
    if not text:
        return "empty"
    return next((why for why, value, most in zip(reasons, row.values(), limits, strict=True) if value > most), "")


def fineweb(text):
    lines = [line for line in text.split("\n") if line.strip()]
    return {
        "line_count": len(lines),
        "line_punct_ratio": share(sum(is_class(line[-1], TERMINAL) for line in lines), len(lines)),
        "short_line_ratio": share(sum(len(line) <= 30 for line in lines), len(lines)),
        "char_dup_ratio": share(sum(map(len, again(lines))), len(text.replace("\n", ""))),
        "list_ratio": text.count("\n") / max(len(text.split()), 1),
    }


def fineweb_reason(row):
    if row["line_count"] == 0:
        return "empty"
    if row["line_punct_ratio"] < 0.12:
        return "line_punct_ratio"
    limits = {"short_line_ratio": 0.67, "char_dup_ratio": 0.01, "list_ratio": 0.3}
    return next((name for name, limit in limits.items() if row[name] > limit), "")


def c4_line(line):
    """What becomes of a line: a reason, an end of the document, or its sentences."""
    words = line.split()
    if any(len(word) > 1000 for word in words):
        return "lines_with_too_long_word"
    line = CITATION.sub("", line.strip())
    if not line.endswith((".", "?", "!", '"', "'")) or line.endswith("..."):
        return "lines_with_no_terminal_punctuation"
    if len(words) < 3:
        return "lines_with_too_few_words"
    if "lorem ipsum" in line.lower():
        return "lorem_ipsum"
    if "javascript" in line.lower():
        return "lines_with_javascript"
    if "{" in line:
        return "curly_bracket"
    if any(policy in line.lower() for policy in POLICIES):
        return "lines_with_policy"
    return len(re.split(r"(?<=[.?!])\s+", line))


def c4(text):
    row, event, removed, place = Counter(), "", [], 0
    for line in text.splitlines(keepends=True):
        said = c4_line(line)
        if isinstance(said, int):
            row["kept_lines"] += 1
            row["sentences"] += said
        elif said.startswith("lines"):
            row[said] += 1
            removed.append((place, place + len(line)))
        else:
            row["kept_lines"] += 1
            event = event or said
        place += len(line)
    names = ("too_long_word", "no_terminal_punctuation", "too_few_words", "javascript", "policy")
    found = {name: row[name] for name in ("sentences", "kept_lines", *(f"lines_with_{name}" for name in names))}
    return found | {"removed_lines": removed}, event or ("too_few_sentences" if row["sentences"] < 5 else "")


def expected(text):
    q, r, f, (c, c_reason) = quality(text), repetition(text), fineweb(text), c4(text)
    reasons = (quality_reason(q), repetition_reason(r, text), c_reason, fineweb_reason(f))
    found = {}
    for name, values, reason in zip(NAMES, (q, r, c, f), reasons, strict=True):
        found |= {f"{name}_{key}": value for key, value in values.items()}
        found |= {f"{name}_keep": reason == "", f"{name}_reason": reason}
    return found


def batch_of(texts):
    return to_batch([Document(f"d{i}", text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)])


def assert_equal(texts):
    rows = compute_signals(batch_of(texts), [family(name) for name in NAMES]).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        lines = row["datatrove_c4_removed_lines"]
        row["datatrove_c4_removed_lines"] = [(span["start"], span["end"]) for span in lines]
        wanted = expected(text)
        assert set(wanted) == set(row)
        for name, value in wanted.items():
            same = pytest.approx(value, abs=1e-12) if isinstance(value, float) else value
            assert row[name] == same, (name, text[:300])


PROSE = "The people of the town have come to see that the river is high and the bridge with it. "
LONG = " ".join(f"Word{i} and of the thing that we have here is number {i * i}." for i in range(30))
CORNERS = [
    "",
    " ",
    "\0the be",
    "\n",
    "\n\n",
    "a",
    "a\r",
    "\r\n",
    "a\r\n",
    "a\r\r\nb\x85c\u2028d",
    "…",
    "...",
    "....",
    ". ..",
    "..\n.",
    "a...b......c…",
    "- a\n  - b\n • c\n* d",
    "x ...\ny… \nz. ..\n….",
    " \n \n\n\nb\n\nb\n",
    "b\n\nb\n\n\nb",
    "ab\n\n\nab",
    LONG,
    PROSE * 8,
    "\n".join([LONG, LONG, PROSE]),
    f"# {LONG}",
    "# " * 60 + LONG,
    "… " * 60 + LONG,
    "- a b c d the of\n" * 30,
    "wait for the end of it...\n" * 30,
    "1 2 3 4 the of and 5 6 7 " * 20,
    "x y z " * 40,
    "antidisestablishment " * 60,
    "zyzzy words " * 30,
    "«» — ! " * 60 + LONG,
    "One line here. Two of it. Three! Four? Five of it.",
    "One [1] line here.[2]",
    "[1] Lead here stays. [edit]",
    "[12\u0663] a b c.\n[]a b c.[citation needed]",
    "A lorem ipsum line.\n{ not reached",
    "A { b c.",
    "x\ny {",
    "We use cooKies here.\nPRIVACY POLICY of this.",
    "Please enable JavaScript here.",
    f"{'w' * 1001} a b.\nGood line is.",
    f"{'w' * 1000} a b.",
    "It's said 'so it is'\nHe said \"no to it\"\nNot so...\nToo few.",
    "a b c .\u3000\n d e f!\x1f",
    "\n".join(f"{'w' * 31}{i}." for i in range(9)),
    "漢字。\n漢字。\n" + "x" * 31 + "॥\n" + "y" * 30,
    "٣ ² ab\u1b7d",
    "Ends: well.\n" * 3 + LONG,
]


def test_corner_cases():
    assert_equal(CORNERS)


def test_every_reason_occurs():
    rows = compute_signals(batch_of([*CORNERS, "n " * 100_001]), [family(name) for name in NAMES])
    for name, reasons in {
        "datatrove_gopher_quality": 8,
        "datatrove_gopher_repetition": 6,
        "datatrove_c4": 3,
        "datatrove_fineweb": 5,
    }.items():
        assert len(set(rows.column(f"{name}_reason").to_pylist()) - {""}) >= reasons, name


words = st.sampled_from(
    [
        "the",
        "of",
        "a",
        "b",
        "ab",
        "c",
        "bc",
        "é",
        "…",
        "#",
        "...",
        "漢",
        "-",
        "•",
        "{",
        "[1]",
        "x.",
        "it.",
        "javascript",
        "use cookies",
        "lorem ipsum",
        "terms of use",
        "!",
        "[edit]",
        "W",
    ]
)
gaps = st.sampled_from(
    [" ", " ", " ", "\n", "\n", "\n\n", "\r\n", "\u3000", "\x1c", "\u2028", ". ", '."\n', "…\n", ".\n"]
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(words, gaps), max_size=150))
def test_repetitive_text(pairs):
    assert_equal(["".join(word + gap for word, gap in pairs)])


@settings(max_examples=120, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_unicode(texts):
    assert_equal(texts)


def test_the_joined_ngrams_bug_is_kept():
    """`ab c` and `a bc` count as one: characters are reported where no n-gram repeats."""
    text = "ab c d e f a bc d e f"
    row = compute_signals(batch_of([text]), [family("datatrove_gopher_repetition"), family("core")]).to_pylist()[0]
    assert row["datatrove_gopher_repetition_duplicate_5grams"] == pytest.approx(6 / len(text))
    assert row["fraction_of_characters_in_duplicate_5grams"] == 0
    apart = compute_signals(batch_of(["ab c d e f a bx d e f"]), [family("datatrove_gopher_repetition")]).to_pylist()[0]
    assert apart["datatrove_gopher_repetition_duplicate_5grams"] == 0


def test_settings_change_the_verdict_and_not_the_values():
    batch = batch_of([LONG])
    usual = compute_signals(batch, [DatatroveGopherQuality()]).to_pylist()[0]
    strict = compute_signals(batch, [DatatroveGopherQuality(min_doc_words=10_000)]).to_pylist()[0]
    assert usual.pop("datatrove_gopher_quality_keep")
    assert not strict.pop("datatrove_gopher_quality_keep")
    assert strict.pop("datatrove_gopher_quality_reason") == "gopher_short_doc"
    assert usual.pop("datatrove_gopher_quality_reason") == ""
    assert usual == strict
