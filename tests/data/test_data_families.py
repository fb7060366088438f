"""The families of signals beside the core one, against references written from their definitions."""

import gzip
import json
import re
import socket
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import Document, Origin, to_batch
from glasshouse.data.signals import url
from glasshouse.data.signals.families import FAMILIES, compute_signals, family, signals_of
from glasshouse.data.signals.language import Language, best_language
from glasshouse.data.signals.licence import licences
from glasshouse.data.signals.repetition import Repetition, TokenizerFileError
from glasshouse.data.signals.repetition_kernel import periodic_sequences
from glasshouse.data.signals.starcoder import copyright_span, strip_copyright
from glasshouse.data.signals.url_blocklist import (
    BlockListError,
    domains_above,
    host_of,
    read_block_list,
    registered_domain,
)
from glasshouse.store.configuration import ConfigurationError, canonical

TEXTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "text"
SIMPLE = ("pii", "pii_dolma", "language", "language_paragraphs", "profanity", "url", "licence", "length", "starcoder")


def batch_of(texts, metadata=None, ids=None):
    rows = []
    for number, text in enumerate(texts):
        about = json.dumps(metadata[number]) if metadata else "{}"
        rows.append(Document(ids[number] if ids else str(number), text, "s", Origin("f", 0, 0), metadata=about))
    return to_batch(rows)


def column(name, texts, chosen, **kinds):
    return compute_signals(batch_of(texts, **kinds), [chosen]).column(name).to_pylist()


# -- all families ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIMPLE)
def test_a_family_keeps_its_word(name):
    chosen = family(name)
    texts = ["", " \n", "A text of words, é漢字.\nAnd a@b.org line.\n\n", "\0", "x" * 10_000, "print(1)  # one\n" * 50]
    batch = batch_of(texts)
    whole = compute_signals(batch, [chosen])
    assert whole.num_rows == len(texts)
    whole.validate(full=True)
    for signal in chosen.signals:
        values = [v for v in whole.column(signal.name).to_pylist() if isinstance(v, int | float)]
        assert all(signal.low is None or value >= signal.low for value in values), signal.name
        assert all(signal.high is None or value <= signal.high for value in values), signal.name
    assert compute_signals(batch.slice(2, 3), [chosen]).equals(whole.slice(2, 3))  # a slice has shifted offsets
    assert compute_signals(batch.slice(0, 0), [chosen]).num_rows == 0
    assert canonical(chosen)["name"] == name == chosen.name


def test_no_two_families_share_a_column():
    signals_of([family(name) for name in ("core", "random", *SIMPLE) if name != "language_paragraphs"])
    assert set(SIMPLE) <= set(FAMILIES)


# -- language --------------------------------------------------------------------------------------------------------


def test_language_needs_no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    from glasshouse.data.signals import language

    language._model.cache_clear()
    assert best_language("The cat sat on the mat and looked at the dog.")[0] == "en"
    assert best_language("Le chat est assis sur le tapis et regarde le chien.")[0] == "fr"
    assert best_language(" \n\t") == ("", 0.0)


def test_language_by_paragraph_is_the_weighted_mean():
    english, french = "The cat sat on the mat today.\n", "Le chat est assis sur le tapis.\n"
    text = f"{english}\n \n{french}é"
    chosen = Language(languages=("en", "fr"), paragraphs=True)
    row = compute_signals(batch_of([text, ""]), [chosen]).to_pylist()[0]
    spans = row["language_en_paragraphs"]
    assert [text[s["start"] : s["end"]] for s in spans] == [english, french, "é"]
    alone = compute_signals(batch_of([english, french, "é"]), [Language(languages=("en",))]).column("language_en")
    expected = sum((s["end"] - s["start"]) * score for s, score in zip(spans, alone.to_pylist(), strict=True))
    assert row["language_en_by_paragraph"] == pytest.approx(expected / len(text))
    assert row["language_not_en_by_paragraph"] == pytest.approx(1 - row["language_en_by_paragraph"])
    assert row["language_en"] + row["language_not_en"] == pytest.approx(1)
    assert spans[0]["score"] > 0.8 > 0.2 > spans[1]["score"]


def test_the_most_likely_language_is_that_of_the_highest_score():
    texts = ["The cat sat on the mat.", "Le chat est là.", "Der Hund schläft heute lange.", "x = 1"]
    rows = compute_signals(batch_of(texts), [Language(languages=("en", "fr", "de"))]).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        assert (row["language"], pytest.approx(row["language_score"])) == best_language(text)
    assert [row["language"] for row in rows[:3]] == ["en", "fr", "de"]
    assert all(row[f"language_{row['language']}"] == row["language_score"] for row in rows[:3])


def test_families_can_be_pickled_and_compared():
    import pickle

    for name in SIMPLE:
        assert pickle.loads(pickle.dumps(family(name))) == family(name)


def test_an_unknown_language_is_refused():
    with pytest.raises(ConfigurationError, match="'xx' is no language"):
        Language(languages=("xx",))


@pytest.mark.skipif(not TEXTS.is_dir(), reason="the text corpora are not there")
def test_language_of_natural_lines():
    """Beginnings of 25 characters: English 0.96 and French 0.94 here, so that the mean is what is promised."""
    beginnings = []
    for code in ("en", "fr"):
        lines = []
        for file in sorted((TEXTS / code).glob("*.jsonl.gz")):
            with gzip.open(file) as rows:
                lines += [line for row in rows for line in orjson.loads(row)["text"].split("\n") if len(line) >= 60]
        lines = lines[:: max(1, len(lines) // 700)]
        assert np.mean([best_language(line)[0] == code for line in lines]) >= 0.99
        beginnings.append(np.mean([best_language(line[:25])[0] == code for line in lines]))
    assert np.mean(beginnings) >= 0.95
    assert min(beginnings) >= 0.93


# -- length ----------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab1. ,'\n\u2003é漢\x85_"))
def test_lengths(text):
    row = compute_signals(batch_of([text]), [family("length")]).to_pylist()[0]
    assert row["length_bytes"] == len(text.encode())
    assert row["length_characters"] == len(text)
    assert row["length_stripped_characters"] == len(text.strip())
    assert row["length_words"] == len(text.split())
    assert row["length_paragraphs"] == sum(bool(line.strip()) for line in text.split("\n"))


@pytest.mark.parametrize(("text", "words"), [
    ("Hello, world!", 2), ("can't stop", 2), ("3,141.5 and 2", 3), ("a.b c. d", 3), ("漢字 kana", 3), ("... -- !", 0),
    ("snake_case x_1", 2), ("L’été n’est", 2), ("__ _", 0), ("a''b", 2), ("e\u0301te\u0301", 1), ("", 0),
])  # fmt: skip
def test_unicode_words(text, words):
    assert column("length_unicode_words", [text], family("length")) == [words]


# -- URLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "host", "domain"), [
    ("https://www.wikipedia.org/wiki/A", "wikipedia.org", "wikipedia.org"),
    ("https://web.de", "web.de", "web.de"),  # lstrip("www.") makes these ikipedia.org and eb.de
    ("http://wwww.org/", "wwww.org", "wwww.org"),
    ("http://User:pass@News.Example.CO.UK:8080/a?b#c", "news.example.co.uk", "example.co.uk"),
    ("example.com/path", "example.com", "example.com"),
    ("http://[2001:db8::1]/x", "2001:db8::1", "2001:db8::1"),
    ("http://192.168.0.1/x", "192.168.0.1", "192.168.0.1"),
    ("http://[broken", "", ""),
    ("", "", ""),
])  # fmt: skip
def test_hosts(address, host, domain):
    assert host_of(address) == host
    assert registered_domain(host) == domain


def test_dolmas_stripping_is_the_defect_it_is_named():
    assert "wikipedia.org".lstrip("www.") == "ikipedia.org"  # noqa: B005
    assert host_of("https://wikipedia.org") == "wikipedia.org"


def test_block_lists(tmp_path):
    (tmp_path / "mixed.txt").write_text(
        "# comment\n! other\n[Adblock Plus]\n0.0.0.0 ads.example.com tracker.net # why\n127.0.0.1 localhost\n"
        "||evil.org^\n||bad.com^$third-party\nplain.io\nwww.shop.biz\nsite.com/only/this/\nexample.com##.banner\n"
    )
    with gzip.open(tmp_path / "more.txt.gz", "wt") as out:
        out.write("wikipedia.org\n")
    found = read_block_list(tmp_path / "mixed.txt")
    assert found.hosts == {"ads.example.com", "tracker.net", "evil.org", "bad.com", "plain.io", "shop.biz"}
    assert found.addresses == {"site.com/only/this"}
    assert found.skipped == 2  # localhost and the cosmetic rule
    urls = [
        "http://evil.org", "https://a.b.evil.org/x", "http://notevil.org", "http://example.com", "http://shop.biz/",
        "https://site.com/only/this?x=1", "https://site.com/only", "https://en.wikipedia.org/", "not a url",
    ]  # fmt: skip
    chosen = family("url", lists=(str(tmp_path / "mixed.txt"), str(tmp_path / "more.txt.gz")))
    batch = batch_of(["t"] * len(urls), metadata=[{"url": address} for address in urls])
    rows = compute_signals(batch, [chosen]).to_pylist()
    assert [row["url_blocked"] for row in rows] == [True, True, False, False, True, True, False, True, False]
    assert [row["url_block_list"] for row in rows][-3:] == ["", "more.txt.gz", ""]
    by_id = compute_signals(batch_of(["t"], ids=["https://x.evil.org/1"]), [chosen]).to_pylist()[0]
    assert by_id["url_host"] == "x.evil.org"
    assert by_id["url_blocked"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "org", "co"]), min_size=1, max_size=5))
def test_domains_above(parts):
    host = ".".join(parts)
    names = domains_above(host)
    assert names[0] == host
    assert all(host == name or host.endswith("." + name) for name in names)
    assert len(names) == len(parts)


def test_a_changed_missing_or_empty_list_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# nothing\n")
    with pytest.raises(BlockListError, match="holds no entry"):
        read_block_list(path)
    with pytest.raises(ConfigurationError, match="missing"):
        family("url", lists=(str(tmp_path / "none.txt"),))
    path.write_text("a.org\n")
    chosen = family("url", lists=(str(path),))
    path.write_text("b.org\n")
    url._list.cache_clear()  # as in another process
    with pytest.raises(BlockListError, match="has changed"):
        chosen.compute(batch_of(["t"]))


# -- licences --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "names"), [
    ('<a href="https://creativecommons.org/licenses/by-sa/4.0/">x</a>', ["CC-BY-SA-4.0"]),
    ("<link rel='license' href='http://creativecommons.org/licenses/by-nd-nc/2.0/fr/'>", ["CC-BY-NC-ND-2.0"]),
    ('<meta name="dc" content="//creativecommons.org/publicdomain/zero/1.0/">', ["CC0-1.0"]),
    ('<a\n class="l" href = "https://www.creativecommons.org/licenses/by/3.0/deed.en">', ["CC-BY-3.0"]),
    ("see https://creativecommons.org/licenses/by/4.0/", []),
    ('<a href="x">y</a> creativecommons.org/licenses/by/4.0', []),
    ('<a href="https://creativecommons.org/licenses/other/1.0/">', []),
    ("# SPDX-License-Identifier: MIT OR  Apache-2.0\nx", ["MIT OR Apache-2.0"]),
    ("/* SPDX-License-Identifier: GPL-2.0-only */", ["GPL-2.0-only"]),
    ("", []),
])  # fmt: skip
def test_licences(text, names):
    assert licences(text) == names


def test_licence_columns():
    page = '<a href="https://creativecommons.org/licenses/by/4.0/">' * 2
    about = [{"html": page}, {"license": "mit"}, {"max_stars_repo_licenses": ["MIT", "BSD-3-Clause"]}, {}]
    rows = compute_signals(batch_of(["t"] * 4, metadata=about), [family("licence")]).to_pylist()
    assert [row["licence"] for row in rows] == ["CC-BY-4.0", "", "", ""]
    assert [row["licence_count"] for row in rows] == [1, 0, 0, 0]
    assert rows[0]["licence_confidence"] == 0.75
    assert [row["licence_declared"] for row in rows] == ["", "mit", "MIT OR BSD-3-Clause", ""]


def test_licence_search_takes_linear_time():
    assert licences("<a " + "x=" * 200_000 + "creativecommons.org/" * 20_000) == []


# -- source code -----------------------------------------------------------------------------------------------------

PYTHON = '"""Module."""\n\nx = "# no"  # yes #\ny = """not # this"""\n\ndef f():\n    """Doc."""\n    return [\n"s"]\n'


@pytest.mark.parametrize(("name", "text", "natural"), [
    ("a.py", PYTHON, len("Module.") + len(" yes ") + len("Doc.")),
    ("a.py", "# é\n", 2),
    ("a.py", "'unclosed\nx = 1\n", 7),
    ("a.java", 'String s = "// no /* no */"; // yes\n/* and\nthis */ int x;', len("// yes\n") + len("/* and\nthis */")),
    ("a.js", "let r = /[/]\\/* no/; // yes", len("// yes")),
    ("a.js", "let t = `// no\n// no`; x = a / b; // yes", len("// yes")),
    ("a.js", "/* never closed", len("/* never closed")),
])  # fmt: skip
def test_comment_ratio(name, text, natural):
    assert column("comment_ratio", [text], family("starcoder"), ids=[name]) == [pytest.approx(natural / len(text))]


class Shown(HTMLParser):
    """What BeautifulSoup's `get_text` shows once scripts and styles are gone."""

    def __init__(self):
        super().__init__()
        self.text, self.hidden = [], 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style") and self.hidden > 0

    def handle_data(self, data):
        if not self.hidden:
            self.text.append(data)


def test_html_text_ratio():
    body = "<p class='a>b'>Some words &amp; more, é.</p><!-- no > --><br/>" * 10
    page = f"<!DOCTYPE html><html><head><style>p {{}}</style><script>if (a<b) x()</script></head>{body}</html>"
    reader = Shown()
    reader.feed(page)
    text = "".join(reader.text)
    assert len(text) > 100
    small = "<html><p>few words</p></html>"
    found = column("html_text_ratio", [page, small, "x"], family("starcoder"), ids=["a.html", "b.htm", "c.txt"])
    assert found == [pytest.approx(len(text) / len(page)), 0.0, 1.0]


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="/*\"'`#\\\n<>!-&;=x é([", max_size=60))
def test_hostile_code_stays_in_bounds(text):
    names = ["a.py", "a.java", "a.js", "a.html"]
    rows = compute_signals(batch_of([text] * 4, ids=names), [family("starcoder")]).to_pylist()
    for row in rows:
        assert 0 <= row["comment_ratio"] <= 1
        assert 0 <= row["html_text_ratio"] <= 1


def test_template_and_stars():
    texts = ['<?xml version="1.0"?>', " " * 90 + "<?xml version=", "none"]
    about = [{"max_stars_count": 12}, {"max_stars_count": None}, {"ext": "py"}]
    rows = compute_signals(batch_of(texts, metadata=about), [family("starcoder")]).to_pylist()
    assert [row["has_xml_template"] for row in rows] == [True, False, False]
    assert [row["github_stars"] for row in rows] == [12, 0, 0]
    assert [row["comment_ratio"] for row in rows] == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(("text", "rest"), [
    ("/* Copyright 2020 */\nint x;", "\nint x;"),
    ("int x; /* plain */ // copyright", "int x; /* plain */ // copyright"),
    ("# Copyright\n# rights\n\nx = 1\n# y\n", "x = 1\n# y\n"),
    ("-- sql\nselect", "select"),
    ("x = 1\n", "x = 1\n"),
    ("// all\n// of it", ""),
    ("", ""),
])  # fmt: skip
def test_copyright(text, rest):
    assert strip_copyright(text) == rest


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="/* copyrightC\n#x", max_size=60))
def test_the_copyright_comment_is_the_one_of_dolmas_pattern(text):
    match = re.search("/\\*[^*]*\\*+(?:[^/*][^*]*\\*+)*/", text)
    if match:
        expected = match.span() if re.search("copyright", match.group(), re.IGNORECASE) else None
        assert copyright_span(text) == expected


# -- token repetition ------------------------------------------------------------------------------------------------


def periodic(ids, most):
    """Every maximal run with a period that comes three times or more, by trying all."""
    found = set()
    for period in range(1, min(most, len(ids) // 3) + 1):
        equal = [i >= period and ids[i] == ids[i - period] for i in range(len(ids))] + [False]
        for start in range(period, len(ids)):
            if equal[start] and not (start > period and equal[start - 1]):
                end = start + equal[start:].index(False)
                if end - start >= 2 * period:
                    found.add((start - period, end, (end - start + period) // period))
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=60))
def test_periodic_sequences(ids):
    found = np.empty((400, 3), np.int64)
    count = periodic_sequences(np.array(ids, np.int64), 1, 13, found)
    assert {tuple(row) for row in found[:count].tolist()} == periodic(ids, 13)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from glasshouse.data.tokens.tokenizer import train_bpe

    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_bpe(["the cat sat on the mat, ho ho ho! " * 20, "é漢 and other words of a text " * 20], 290).save(str(path))
    return str(path)


def test_token_repetition(tokenizer):
    chosen = Repetition(tokenizer=tokenizer)
    text = "some text: " + "bla " * 40 + "and the rest, é漢 " + "x" * 5
    rows = compute_signals(batch_of([text, "no such thing here", "", "ab" * 60_000]), [chosen]).to_pylist()
    span = rows[0]["token_repetition_spans"][0]
    assert "bla bla bla" in text[span["start"] : span["end"]]
    assert rows[0]["token_repetition_maximum"] >= 39
    covered = sum(s["end"] - s["start"] for s in rows[0]["token_repetition_spans"])
    assert rows[0]["token_repetition_fraction"] == pytest.approx(covered / len(text))
    assert [row["token_repetition_maximum"] for row in rows[1:3]] == [0, 0]
    # Cut into pieces of 100,000 characters, so there are two repetitions.
    assert len(rows[3]["token_repetition_spans"]) == 2
    assert rows[3]["token_repetition_spans"][1]["start"] >= 100_000


def test_another_tokenizer_is_refused(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(TokenizerFileError, match="no tokenizer"):
        Repetition(tokenizer=str(path)).repetitions("x")
    path.write_bytes(Path(tokenizer).read_bytes())
    chosen = Repetition(tokenizer=str(path))
    path.write_text("{} ")
    with pytest.raises(TokenizerFileError, match="has changed"):
        chosen.repetitions("x x x x")


# -- profanity -------------------------------------------------------------------------------------------------------


def test_profanity_is_a_signal_of_lines():
    texts = ["You are a stupid idiot and I hate you.", "The report was published in June.\nYou fucking idiot.", ""]
    rows = compute_signals(batch_of(texts), [family("profanity")]).to_pylist()
    assert rows[0]["profanity_score"] > 0.5
    assert (
        rows[1]["profanity_line_maximum"]
        > 0.5
        > column("profanity_score", texts[1].split("\n")[:1], family("profanity"))[0]
    )
    assert rows[2] == {"profanity_score": 0.0, "profanity_line_maximum": 0.0}


def test_the_package_that_unpickles_is_imported_only_when_chosen():
    import subprocess
    import sys

    code = (
        "import sys; from glasshouse.data.signals.families import family, FAMILIES\n"
        "family('pii'); family('profanity'); assert 'profanity_check' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
