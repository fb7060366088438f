"""Wiki dumps: pages as a plain XML parser sees them, plain text from wikitext, and XML that attacks."""

import bz2
import json
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.settings import Reading
from glasshouse.data.sources.wikitext import plain_text

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="fr">
  <siteinfo><sitename>W</sitename><dbname>frwiki</dbname><base>https://fr.wikipedia.org/wiki/Accueil</base></siteinfo>
"""


def page(number, text, title=None, namespace=0, redirect=False):
    extra = '<redirect title="x"/>' if redirect else ""
    return (
        f"  <page><title>{title or f'Page {number}'}</title><ns>{namespace}</ns><id>{number}</id>{extra}"
        f"<revision><id>{number + 900}</id><timestamp>2024-01-0{number % 9 + 1}T00:00:00Z</timestamp>"
        f"<contributor><id>5</id></contributor><text xml:space='preserve'>{escape(text)}</text></revision></page>\n"
    )


def read(path, content, **reading):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    quarantine = Quarantine()
    (shard,) = plan_inputs(path, reading=Reading(**reading))
    assert shard.form == "wiki"
    found = [row for batch in shard.batches(quarantine) for row in batch.to_pylist()]
    assert quarantine.rows_kept == len(found)
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
    return found, quarantine


@pytest.mark.parametrize("suffix", ["", ".bz2"])
def test_a_dump(tmp_path, suffix):
    pages = [
        page(1, "Le '''chat''' & le chien <ref>x</ref>.", "Chat noir"), page(2, "#REDIRECT [[Chat]]", redirect=True),
        page(3, "talk", namespace=1), page(4, "", "Empty"), page(5, "{{only|a|template}}"), page(6, "fin"),
    ]  # fmt: skip
    content = (HEAD + "".join(pages) + "</mediawiki>").encode()
    stored = bz2.compress(content) if suffix else content
    found, quarantine = read(tmp_path / f"frwiki-pages-articles.xml{suffix}", stored)
    assert [(row["id"], row["text"]) for row in found] == [("1", "Le chat & le chien ."), ("6", "fin")]
    assert json.loads(found[0]["metadata"]) == {
        "title": "Chat noir", "revision": "901", "wiki": "frwiki", "url": "https://fr.wikipedia.org/wiki/Chat_noir",
    }  # fmt: skip
    assert found[0]["created"] == "2024-01-02T00:00:00Z"
    assert quarantine.skipped == {"wiki_redirect": 1, "wiki_namespace": 1}
    assert quarantine.by_reason == {"missing_text": 1, "no_text": 1}
    for row in found:  # the byte range holds exactly the page
        element = ElementTree.fromstring(content[row["origin"]["start"] : row["origin"]["end"]])
        assert element.findtext("id") == row["id"]
    talk, _ = read(tmp_path / "x.xml", content, namespaces=(1,))
    assert [row["text"] for row in talk] == ["talk"]


def test_in_a_directory_only_dumps_are_taken(tmp_path):
    (tmp_path / "pom.xml").write_text("<project/>")
    (tmp_path / "dump.xml").write_text(HEAD + page(1, "a") + "</mediawiki>")
    assert [shard.name for shard in plan_inputs(tmp_path)] == ["dump.xml"]


BOMB = '<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>\n'


@pytest.mark.parametrize(
    ("content", "reason", "kept"),
    [
        (BOMB + HEAD + page(1, "a") + "</mediawiki>", "refused_xml", 0),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd">' + HEAD + page(1, "a"), "refused_xml", 0),
        (HEAD + page(1, "a") + "<x>" * 100_000, "refused_xml", 1),
        (HEAD + page(1, "a") + "<!-- " + "x" * (18 << 20), "refused_xml", 1),
        (HEAD + page(1, "a") + page(2, "b")[:-30], "damaged_file", 1),
        (HEAD + page(1, "a") + "<page>&undefined;</page>", "damaged_file", 1),
        (HEAD + page(1, "a") + page(2, "\ufffe"), "damaged_file", 1),
        ((HEAD + page(1, "a")).encode() + page(2, "é").encode("latin-1"), "damaged_file", 1),
        (HEAD + "</mediawiki>", "empty_file", 0),
        ("", "empty_file", 0),
        ("no xml at all", "damaged_file", 0),
        (HEAD + page(1, "a") + page(2, "x" * 5000) + page(3, "c") + "</mediawiki>", "text_too_long", 2),
        (HEAD + page(1, "a") + page(1, "again") + "</mediawiki>", "duplicate_id", 1),
        (HEAD + page(1, "a") + page(2, "b").replace("<id>2</id>", "") + "</mediawiki>", "missing_id", 1),
    ],
)
def test_damaged_and_hostile_dumps(tmp_path, content, reason, kept):
    found, quarantine = read(tmp_path / "x.xml", content, max_document_bytes=500)
    assert quarantine.by_reason == {reason: 1}
    assert len(found) == kept
    assert all("root:" not in row["text"] for row in found)


def test_a_truncated_dump_keeps_the_pages_before(tmp_path):
    content = bz2.compress((HEAD + "".join(page(i, f"text {i}") for i in range(2000)) + "</mediawiki>").encode(), 1)
    found, quarantine = read(tmp_path / "x.xml.bz2", content[: len(content) * 2 // 3])
    assert [row["id"] for row in found] == [str(i) for i in range(len(found))]
    assert quarantine.by_reason == {"damaged_file": 1}


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Bold''' and ''italic'' and '''''both'''''", "Bold and italic and both"),
        ("a [[link]] and [[page|label]]s and [[:Category:X]]", "a link and labels and Category:X"),
        ("[[File:a.jpg|thumb|A [[nested|inner]] caption]]after", "after"),
        ("[[Catégorie:Chats]]x[[category:y|z]]", "x"),
        ("[http://x.org label] [https://y.org] [//z.org two words]", "label  two words"),
        ("a{{template|x={{inner|y}}|z}}b", "ab"),
        ("a\n{| class=x\n|-\n| cell {{t}}\n|}\nb", "a\n\nb"),
        ("unclosed {{template goes on", "unclosed template goes on"),
        ("closed too often }} here", "closed too often  here"),
        ("x<ref name=a>cite {{cite}}</ref>y<ref name=b/>z<ref group='n' />", "xyz"),
        ("a<!-- hidden {{ -->b", "ab"),
        ("== Head ==\ntext\n=== Sub ===\nmore", "Head\n\ntext\n\nSub\n\nmore"),
        ("* one\n** two\n# three\n: four", "- one\n- two\n- three\n- four"),
        ("a &amp; b &nbsp;c &lt;d&gt; &eacute;", "a & b  c <d> é"),
        ("<math>x^2</math>in <b>bold</b><br/>x", "in boldx"),
        ("__NOTOC__text", "text"),
        ("5 < 6 and 7 > 2", "5 < 6 and 7 > 2"),
        ("", ""),
    ],
)
def test_wikitext(wikitext, text):
    assert plain_text(wikitext) == text


MARKS = [
    "{{",
    "}}",
    "{|",
    "|}",
    "[[",
    "]]",
    "|",
    "<ref>",
    "</ref>",
    "<!--",
    "-->",
    "a",
    "\n",
    "''",
    "=",
    "&lt;",
    "é",
    " ",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(MARKS), max_size=40))
def test_any_markup_gives_text_and_unmarked_words_stay(parts):
    text = plain_text("".join(parts))
    text.encode()
    assert text == text.strip()
    assert plain_text("start of " + "plain words\n\n" + "".join(parts)).startswith("start of plain words")


HOSTILE = [
    "{{", "[[", "<ref>", "{{{|", "[[a|", "<!--", "''", "&lt;", "[http://", "[mailto:", "==", "\n{|", "<", "<ref", " ",
    "= ", "\t= ", "\n=", "{", "[", ":", "<b ",
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_nesting_costs_no_more_than_honest_text(piece):
    """A quadratic pass over 2 MB would take an hour; every pass is over the text once."""
    assert plain_text("start " + piece * (2_000_000 // len(piece)) + "\nend").startswith("start")


@pytest.mark.parametrize("namespace", ["9" * 5000, "\u00b2", "-", "x"])
def test_a_namespace_that_is_no_number_leaves_the_rest(tmp_path, namespace):
    content = HEAD + page(1, "a") + page(2, "b", namespace=namespace) + page(3, "c") + "</mediawiki>"
    found, quarantine = read(tmp_path / "x.xml", content)
    assert [row["id"] for row in found] == ["1", "3"]
    assert quarantine.skipped == {"wiki_namespace": 1}
    assert quarantine.rows_quarantined == 0


def test_the_address_of_a_wiki_is_bounded(tmp_path):
    content = HEAD.replace("Accueil", "A" * 100_000) + page(1, "a") + "</mediawiki>"
    found, _ = read(tmp_path / "x.xml", content)
    assert len(found[0]["metadata"]) < 10_000
