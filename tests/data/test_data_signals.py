"""Signals against a plain-Python reference written from the definitions."""

import re
from collections import Counter
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regex import findall

import glasshouse
from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals.core import Core
from glasshouse.data.signals.families import compute_signals, default_families, schema_of, signals_of
from glasshouse.data.signals.word_list import WordListError, naughty_words, read_word_list

NAUGHTY = {word for word in naughty_words() if " " not in word}
PHRASES = [phrase for phrase in naughty_words() if " " in phrase]
REQUIRED = {"the", "be", "to", "of", "and", "that", "have", "with"}


def ngram_signals(words):
    inked = sum(map(len, words))
    found = {}
    for n in range(2, 11):
        grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        size = {gram: count * sum(map(len, gram)) for gram, count in grams.items()}
        if n <= 4:
            top = grams.most_common(1)
            found[f"fraction_of_characters_in_most_common_{n}grams"] = size[top[0][0]] / inked if top else 0.0
        else:
            repeated = sum(size[gram] for gram, count in grams.items() if count > 1)
            found[f"fraction_of_characters_in_duplicate_{n}grams"] = repeated / sum(size.values()) if grams else 0.0
    return found


def reference(text):
    words, lines, code_lines = text.split(), text.split("\n"), text.splitlines()
    stripped = [line.lower().strip() for line in lines]
    counts, runs = Counter(lines), re.split(r"\n+", text)
    return ngram_signals(words) | {
        "byte_count": len(text.encode()),
        "character_count": len(text),
        "word_count": len(words),
        "median_word_length": median(map(len, words)) if words else 0,
        "symbol_to_word_ratio": sum("#" in w or "…" in w for w in words) / max(len(words), 1),
        "fraction_of_words_with_alpha_character": sum(any(map(str.isalpha, w)) for w in words) / max(len(words), 1),
        "required_word_count": sum(w in REQUIRED for w in words),
        "fraction_of_lines_starting_with_bullet_point": sum(x.startswith(("*", "-")) for x in lines) / len(lines),
        "fraction_of_lines_ending_with_ellipsis": sum(x.endswith("…") for x in lines) / len(lines),
        "fraction_of_duplicate_lines": sum(c for c in counts.values() if c > 1) / len(lines),
        "fraction_of_duplicate_nonempty_lines": sum(c for c in Counter(runs).values() if c > 1) / len(runs),
        "fraction_of_characters_in_duplicate_lines": sum(len(x) * c for x, c in counts.items() if c > 1)
        / max(sum(map(len, words)), 1),
        "line_count": len(lines),
        "lines_with_no_ending_punctuation": sum(not x.endswith((".", "?", "!", '"')) for x in stripped),
        "fraction_of_lines_with_no_ending_punctuation": sum(not x.endswith((".", "?", "!", '"')) for x in stripped)
        / len(lines),
        "lines_with_too_few_words": sum(len(x.split()) < 3 for x in stripped),
        "has_naughty_word": any(w in NAUGHTY for w in text.lower().split()) or any(p in text.lower() for p in PHRASES),
        "has_javascript": any("javascript" in x.split() for x in stripped),
        "has_lorem_ipsum": any("lorem ipsum" in x for x in stripped),
        "has_curly_brace": "{" in text,
        "maximum_line_length": max(map(len, code_lines), default=0),
        "mean_line_length": sum(map(len, code_lines)) / max(len(code_lines), 1),
        "fraction_of_alphanumeric_characters": sum(map(str.isalnum, text)) / max(len(text), 1),
        "alphabetic_characters_per_token": sum(map(str.isalpha, text)) / (1 + len(findall(r"\w+|[^\w\s]+", text))),
    }


def measured(texts, start=0):
    batch = to_batch([Document(f"d{i}", text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)])
    return compute_signals(batch.slice(start)).to_pylist()


def assert_equal(texts):
    for text, row in zip(texts, measured(texts), strict=True):
        expected = reference(text)
        assert set(expected) | {"random"} == set(row)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, abs=1e-12, rel=1e-12), (name, text[:300])


CORNERS = [
    "",
    " ",
    "\n",
    "\n\n",
    "\n\n\na\n\na\n",
    "a",
    "a\r\nb\rc\x85d\u2028e\x1ce",
    "the be to of and that have with The of",
    "\0the \0\0be th",
    "JavaScript javascript javascriptx",
    "xlorem lorem ipsum",
    "LOREM\nIPSUM lolorem ipsum",
    "- a\n* b\n-\n…",
    "wait…\nmore…",
    "a b a b a b a b a b a b a b",
    "x " * 300,
    "w" * 700 + " " + "v" * 300,
    "K İ ß ﬁ 漢字 🙂 e\u0301 ٣ ²",
    '\x1f\u3000\u00a0mot\u202ffin .\n"',
    "one two three four five six seven eight nine ten eleven\n" * 3,
    "# a #b … c…d",
    'a.\u00a0\n b? \t\nc!\x0b\nd"',
]


def test_corner_cases():
    assert_equal(CORNERS)


def test_real_files():
    files = (
        sorted(Path(glasshouse.__file__).parent.rglob("*.py"))
        + sorted(Path(re.__file__).parent.parent.glob("*.py"))[:120]
    )
    texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    assert len(texts) > 60
    assert_equal(texts)


# Letters newer than the running Python's tables are letters to the `regex` package already.
assigned = st.characters(exclude_categories=["Cs", "Cn"])
words = st.sampled_from(
    [
        naughty_words()[0],
        PHRASES[0].upper(),
        PHRASES[-1].replace(" ", "  "),
        "the",
        "of",
        "a",
        "b",
        "C",
        "é",
        "…",
        "#x",
        "javascript",
        "lorem ipsum",
        "{",
        "漢",
        "-",
        "*",
        "ab",
    ]
)
gaps = st.sampled_from(
    [" ", " ", "\n", "\n", "\n\n", "\t", "\r\n", "\u3000", "\x1c", "\u2028", ". ", '"\n', "…\n", "\u00a0"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(assigned, max_size=60), min_size=1, max_size=4))
def test_any_unicode(texts):
    assert_equal(texts)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(words, gaps), max_size=120))
def test_repetitive_text(pairs):
    assert_equal(["".join(word + gap for word, gap in pairs)])


def test_a_row_does_not_depend_on_its_batch():
    assert measured(CORNERS, start=5) == measured(CORNERS)[5:]
    assert measured(CORNERS)[3]["random"] != measured(CORNERS)[4]["random"]


def test_every_naughty_word_is_found_where_it_is_one():
    entries = naughty_words()
    assert (len(NAUGHTY), len(PHRASES)) == (279, 124)
    texts = [shape.format(entry) for entry in entries for shape in ("{}", "so {}\n", "x{}", "a {}s")]
    texts += [entry.upper().replace("K", "\u212a") for entry in entries]
    texts += [entry.replace("i", "İ") for entry in entries] + [entry.replace(" ", "\u00a0") for entry in PHRASES]
    found = measured(texts)
    for text, row in zip(texts, found, strict=True):
        assert row["has_naughty_word"] == reference(text)["has_naughty_word"]
    assert [row["has_naughty_word"] for row in found[: 4 * len(entries) : 4]] == [True] * len(entries)
    assert not all(row["has_naughty_word"] for row in found)


def flagged(texts, *entries):
    batch = to_batch([Document(f"d{i}", text, "s", Origin("f", 0, 0)) for i, text in enumerate(texts)])
    return compute_signals(batch, [Core(naughty_words=entries)]).column("has_naughty_word").to_pylist()


def test_a_list_of_ones_own():
    texts = ["ein ÄRGER!", "ein Ärger heute", "sehr gute  Idee", "sehr Gute Idee", "ΟΔΟΣ", "x"]
    assert flagged(texts, "ärger", "gute idee", "οδος") == [False, True, False, True, True, False]
    assert flagged([naughty_words()[0]]) == [False]


def test_a_list_from_a_file(tmp_path):
    path = tmp_path / "list"
    path.write_text("# mine\n\n one \ntwo three\n", encoding="utf-8")
    assert read_word_list(path) == ("one", "two three")
    path.write_bytes(b"caf\xe9")
    with pytest.raises(WordListError, match=r"list is not UTF-8 .* byte 3"):
        read_word_list(path)
    path.write_text("# nothing\n")
    with pytest.raises(WordListError, match="holds no words"):
        read_word_list(path)


def test_the_registry_documents_every_column():
    assert list(signals_of(default_families())) == schema_of(default_families()).names
    assert all(
        signal.doc and signal.citation and signal.version >= 1 for signal in signals_of(default_families()).values()
    )
