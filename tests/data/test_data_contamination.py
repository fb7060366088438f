"""Contamination: against a brute-force reference, planted passages, negative controls, collisions and damage."""

import gzip
import hashlib
import json
import random
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.cli.tokens import decontaminate as command
from glasshouse.data.contamination.decontaminate import NotEmptyError, decontaminate
from glasshouse.data.contamination.evaluation_sets import (
    EvaluationItem,
    EvaluationSet,
    EvaluationSetError,
    read_evaluation_set,
    read_evaluation_sets,
)
from glasshouse.data.contamination.index import EvaluationIndex, Matching
from glasshouse.data.contamination.index_file import IndexFileError
from glasshouse.data.contamination.judging import Decontamination, judge
from glasshouse.data.contamination.paragraphs import ParagraphIndex
from glasshouse.data.contamination.scanning import scan
from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.document import Document, Origin, batches, to_batch
from glasshouse.data.executor import Threads

DATA = Path(__file__).parents[3] / "shared" / "data"
VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "rt", "ling", "sk", "é")]


def reference_words(text):
    """(folded word, start, end), by the words of the definition."""
    found, start = [], None
    for at, character in enumerate(text + " "):
        if character.isalnum() or unicodedata.category(character)[0] == "M":
            start = at if start is None else start
        elif start is not None:
            found.append(("".join(fold(c) for c in text[start:at]), start, at))
            start = None
    return found


def fold(character):
    return character.casefold() if len(character.casefold()) == 1 else character


def reference(text, items, ngram, shortest):
    """Per item: overlap, share of its n-grams, share of the document's, and the characters covered."""
    words, hits = reference_words(text), {}
    for item in items:
        passages = [[word for word, _, _ in reference_words(passage)] for passage in item.passages]
        longest = max(map(len, passages), default=0)
        if longest < min(shortest, ngram):
            continue
        size = ngram if longest >= ngram else longest
        used = [passage for passage in passages if len(passage) >= size]
        grams = {tuple(p[i : i + size]) for p in used for i in range(len(p) - size + 1)}
        document = [tuple(w for w, _, _ in words[i : i + size]) for i in range(len(words) - size + 1)]
        common = grams & set(document)
        if not common:
            continue
        covered = sum(
            any(tuple(p[i : i + size]) in common for i in range(max(0, at - size + 1), min(at, len(p) - size) + 1))
            for p in used for at in range(len(p))
        )  # fmt: skip
        places = [i for i, gram in enumerate(document) if gram in common]
        characters = {c for i in places for c in range(words[i][1], words[i + size - 1][2])}
        hits[item.id] = (
            covered / sum(map(len, used)),
            len(common) / len(grams),
            len(places) / len(document),
            characters,
        )
    return hits


def batch_of(*texts):
    return to_batch([Document(f"d{i}", text, "s", Origin("f", i, i + 1)) for i, text in enumerate(texts)])


def item_set(*texts, name="set"):
    items = (EvaluationItem(str(i), (t,) if isinstance(t, str) else t) for i, t in enumerate(texts))
    return EvaluationSet(name, tuple(items))


words = st.lists(st.sampled_from(["a", "B", "çé", "3", "e\u0301", "ẞ", "Σς", "İx", "漢字"]), max_size=14)
separators = st.sampled_from([" ", "  ", ", ", "\n", " — ", "'", "\u00a0", "…"])


@st.composite
def phrases(draw):
    return "".join(part for word in draw(words) for part in (word, draw(separators)))


@given(st.lists(st.lists(phrases(), min_size=1, max_size=2), min_size=1, max_size=4), st.lists(phrases(), max_size=4),
       st.sampled_from([64, 3]))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_hits_are_those_of_the_reference(passages, texts, bits):
    """With three bits nearly every n-gram collides; nothing may change."""
    one = item_set(*map(tuple, passages))
    try:
        index = EvaluationIndex.build([one], Matching(ngram=3, shortest=2, hash_bits=bits))
    except EvaluationSetError:
        assert all(len(reference_words(p)) < 2 for item in passages for p in item)
        return
    texts = [*texts, " ".join(passages[0])]
    found = {}
    for row in scan(batch_of(*texts), index).to_pylist():
        characters = {c for span in row["spans"] for c in range(span["start"], span["end"])}
        found[row["row"], row["item"]] = (row["overlap"], row["item_ngrams"], row["document_ngrams"], characters)
    expected = {(n, k): v for n, t in enumerate(texts) for k, v in reference(t, one.items, 3, 2).items()}
    assert found.keys() == expected.keys()
    for key, hit in expected.items():
        assert found[key][:3] == pytest.approx(hit[:3])
        assert found[key][3] == hit[3]


def sentence(rng, size):
    return " ".join(rng.choice(VOCABULARY) for _ in range(size))


def planted(kind, passage, rng):
    if kind == "half":
        parts = passage.split()
        keep = -(-len(parts) // 2)
        start = rng.randrange(len(parts) - keep + 1)
        passage = " ".join(parts[start : start + keep])
    elif kind == "changed":
        passage = "".join(rng.choice([c.upper(), c]) for c in passage).replace(
            " ", rng.choice(["\n", "  ", ", ", " -- "])
        )
    return f"{sentence(rng, 80)}. {passage}! {sentence(rng, 80)}"


def test_planted_passages_are_found_and_clean_documents_are_not():
    rng = random.Random(7)
    items = [sentence(rng, rng.randrange(30, 80)) for _ in range(200)]
    index = EvaluationIndex.build([item_set(*items)])
    for kind in ("exact", "changed", "half"):
        hits = scan(batch_of(*(planted(kind, item, rng) for item in items)), index)
        own = [row for row in hits.to_pylist() if str(row["row"]) == row["item"]]
        assert len(own) == len(hits)
        found = sum(row["overlap"] >= 0.5 for row in own)
        assert found == 200
        if kind != "half":
            assert {row["overlap"] for row in own} == {1.0}
    clean = (Document(f"c{i}", sentence(rng, 60), "s", Origin("f", 0, 1)) for i in range(10_000))
    assert sum(len(scan(batch, index)) for batch in batches(clean)) == 0


def test_twelve_words_are_no_hit_and_thirteen_are():
    passage = " ".join(f"word{i}" for i in range(26))
    index = EvaluationIndex.build([item_set(passage)])
    texts = [" ".join(f"word{i}" for i in range(size)) for size in (12, 13, 20)]
    hits = scan(batch_of(*texts), index).to_pylist()
    assert [(row["row"], row["overlap"]) for row in hits] == [(1, 0.5), (2, 20 / 26)]
    # The same words in another order, or joined differently, are other n-grams.
    other = [" ".join(f"word{i}" for i in reversed(range(26))), passage.replace(" ", "")]
    assert len(scan(batch_of(*other), index)) == 0


def test_short_items_are_counted_on_their_own(tmp_path):
    short, shortest = "One two three four five six seven eight nine.", "Too short to matter"
    long = " ".join(f"word{i}" for i in range(20))
    index = EvaluationIndex.build([item_set(short, shortest, long)])
    rows = [Document("1", f"x {short.upper()} y", "s", Origin("f", 0, 1)), Document("2", long, "s", Origin("f", 1, 2)),
            Document("3", shortest, "s", Origin("f", 2, 3))]  # fmt: skip
    path = written(tmp_path, rows)
    for act, kept in (("report", ["1", "3"]), ("act", ["3"])):
        report = decontaminate([path], index, tmp_path / act, Decontamination(short_items=act))
        one = report.sets[0]
        assert (one.items, one.searched, one.short, one.too_short) == (3, 1, 1, 1)
        assert (one.contaminated, one.short_found) == (1, 1)
        assert [row["id"] for b in CorpusDirectory(tmp_path / act).batches() for row in b.to_pylist()] == kept
    assert len(scan(batch_of("one two three four five six seven eight ten"), index)) == 0


def written(home, rows, name="documents.jsonl.gz"):
    with gzip.open(home / name, "wt") as file:
        for row in rows:
            file.write(json.dumps({"id": row.id, "text": row.text, "source": row.source}) + "\n")
    return str(home / name)


def test_spans_are_cut_and_counts_add_up():
    rng = random.Random(1)
    item, other = sentence(rng, 20), sentence(rng, 20)
    index = EvaluationIndex.build([item_set(item, other)])
    texts = [f"Før: {item}. After", item.upper(), "clean text", f"A {other}, {item} B {item}"]
    judged = judge(batch_of(*texts), index, Decontamination(action="span"), first_row=10)
    assert judged.documents["text"].to_pylist() == ["Før: . After", "clean text", "A ,  B "]
    assert judged.removed["id"].to_pylist() == ["d1"]
    assert judged.hits["row"].to_pylist() == [10, 11, 13, 13]
    whole = judge(batch_of(*texts), index, Decontamination())
    assert whole.documents["id"].to_pylist() == ["d2"]
    assert whole.removed["id"].to_pylist() == ["d0", "d1", "d3", "d3"]
    assert whole.removed["excerpt"].to_pylist()[0] == item
    assert judge(batch_of(*texts), index, Decontamination(action="report")).documents.num_rows == 4


def test_files_are_the_same_for_any_number_of_workers(tmp_path):
    rng = random.Random(2)
    items = [sentence(rng, 30) for _ in range(10)]
    index = EvaluationIndex.build([item_set(*items)])
    paths = []
    for n in range(4):
        texts = [planted("exact", items[(n + i) % 10], rng) if i % 3 == 0 else sentence(rng, 50) for i in range(12)]
        rows = [Document(f"{n}/{i}", text, "s", Origin("f", 0, 1)) for i, text in enumerate(texts)]
        paths.append(written(tmp_path, rows, f"part-{n}.jsonl.gz"))
    Path(paths[0]).write_bytes(gzip.compress(gzip.decompress(Path(paths[0]).read_bytes()) + b"{broken\n"))
    found = []
    for workers in (1, 3):
        report = decontaminate(paths, index, tmp_path / f"out{workers}", executor=Threads(workers))
        assert (report.seen, report.kept, report.removed, report.quarantined) == (48, 32, 16, 1)
        files = sorted((tmp_path / f"out{workers}").iterdir())
        found.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert found[0] == found[1]
    assert "contamination.md" in found[0]
    assert report.sets[0].contaminated == len(
        {row for n in range(4) for row in [(n + i) % 10 for i in range(0, 12, 3)]}
    )
    # The result is a corpus, and clean.
    again = decontaminate([tmp_path / "out1"], index, tmp_path / "again")
    assert (again.seen, again.removed) == (32, 0)
    with pytest.raises(NotEmptyError):
        decontaminate(paths, index, tmp_path / "out1")


def test_a_report_writes_no_documents_and_escapes_its_cells(tmp_path):
    item = " ".join(f"w{i} |" for i in range(20))
    index = EvaluationIndex.build([item_set(item, name="a|b")])
    path = written(tmp_path, [Document("<b>", f"{item} x", "s|t", Origin("f", 0, 1))])
    report = decontaminate([path], index, tmp_path / "out", Decontamination(action="report"))
    assert report.sets[0].contaminated == 1
    assert not list((tmp_path / "out").glob("documents*"))
    page = (tmp_path / "out" / "contamination.md").read_text()
    assert "w0 \\| w1" in page
    assert "&lt;b>" in page
    assert json.loads((tmp_path / "out" / "contamination.json").read_text())["sets"][0]["pairs"] == 1
    assert pq.read_table(tmp_path / "out" / "hits-00000.parquet")["contaminated"].to_pylist() == [True]


@pytest.fixture
def saved(tmp_path):
    rng = random.Random(3)
    index = EvaluationIndex.build([item_set(*(sentence(rng, n) for n in (3, 10, 20, 40)))])
    index.save(tmp_path / "index")
    return index, tmp_path / "index"


def test_an_index_comes_back_read_only(saved):
    index, path = saved
    path.chmod(0o444)
    before = path.read_bytes()
    loaded = EvaluationIndex.load(path)
    rng = random.Random(3)
    batch = batch_of(*(planted("exact", sentence(rng, n), random.Random(5)) for n in (3, 10, 20, 40)))
    hits = scan(batch, loaded)
    assert len(hits) == 3
    assert hits.equals(scan(batch, index))
    assert all(not getattr(one, name).flags.writeable for one in (index, loaded) for name in EvaluationIndex.ARRAYS)
    assert path.read_bytes() == before
    loaded.save(path.with_name("again"))
    assert path.with_name("again").read_bytes() == before


def test_damaged_and_forged_indexes_are_refused(saved):
    index, path = saved
    content = path.read_bytes()
    for at in (20, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(IndexFileError, match="checksum"):
            EvaluationIndex.load(path)
    for cut in (0, 5, 30, 100, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(IndexFileError):
            EvaluationIndex.load(path)
    forged = {"gram_letter": 10**9, "occurrence_item": 99, "item_set": -1, "gram_items": 10**6, "slots": 10**6,
              "sizes": 0,
              "gram_size": 10**6, "letters": 7}  # fmt: skip
    for name, value in forged.items():
        array = getattr(index, name).copy()
        array[:] = np.array(value).astype(array.dtype)
        object.__setattr__(index, name, array)
        index.save(path)
        with pytest.raises(IndexFileError, match="do not fit together"):
            EvaluationIndex.load(path)
        path.write_bytes(content)
        index = EvaluationIndex.load(path)
    with pytest.raises(FileNotFoundError):
        EvaluationIndex.load(path.with_name("absent"))
    path.write_bytes(b"GLSEVAL2" + content[8:])
    with pytest.raises(IndexFileError, match="another version"):
        EvaluationIndex.load(path)


def test_sets_are_read_from_every_form(tmp_path):
    rows = [{"id": "a", "question": "What is it?", "choices": ["one", "two"], "label": "B"}, {"id": "b", "text": "x"}]
    (tmp_path / "jsonl.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress((tmp_path / "jsonl.jsonl").read_bytes()))
    (tmp_path / "list.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist([{"id": "a", "question": "What is it?", "choices": ["one", "two"]},
                                         {"id": "b", "question": "x"}]), tmp_path / "rows.parquet")  # fmt: skip
    for name in ("jsonl.jsonl", "packed.jsonl.gz", "list.json", "rows.parquet"):
        one = read_evaluation_set(str(tmp_path / name))
        assert one.name == name.split(".")[0]
        assert [(item.id, item.passages) for item in one.items] == [("a", ("What is it?", "one", "two")), ("b", ("x",))]
    (tmp_path / "plain.txt").write_text("first\nitem\n\n\nsecond")
    assert [item.passages for item in read_evaluation_set(str(tmp_path / "plain.txt")).items] == [
        ("first\nitem",),
        ("second",),
    ]
    requests = [{"doc": {"query": "Question: Why?\nAnswer:", "id": "9"}, "doc_id": 4, "task_name": "t",
                 "request": {"context": "Question: Why?\nAnswer:", "continuation": c}}
                for c in (" a", " b")]  # fmt: skip
    (tmp_path / "harness.jsonl").write_text("\n".join(map(json.dumps, requests)))
    (item,) = read_evaluation_set(str(tmp_path / "harness.jsonl")).items
    assert (item.id, [passage.strip() for passage in item.passages]) == ("t/4", ["Why?"])
    only = read_evaluation_set(str(tmp_path / "jsonl.jsonl"), "n", ["choices"])
    assert (only.name, [item.passages for item in only.items]) == ("n", [("one", "two")])


def test_texts_deep_in_a_row_are_passages(tmp_path):
    """As ARC has its choices, SQuAD its paragraphs, and lm-evaluation-harness its logged samples."""
    doc = {"question": "Question: Why?", "choices": {"text": ["one", "two"], "label": ["A", "B"]}, "answerKey": "A"}
    sample = {"doc_id": 3, "doc": doc, "target": "one", "arguments": [["Four shots. Question: Why?", " one"]],
              "resps": [["what a model said"]], "filtered_resps": ["what a model said"], "acc": 1.0}  # fmt: skip
    squad = {
        "title": "T",
        "paragraphs": [{"context": "Long.", "qas": [{"question": "Who?", "id": "5", "answers": []}]}],
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(sample) + "\n" + json.dumps(squad))
    first, second = read_evaluation_set(str(tmp_path / "a.jsonl")).items
    assert (first.id, [passage.strip() for passage in first.passages]) == ("3", ["Why?", "one", "two"])
    assert second.passages == ("T", "Long.", "Who?")
    only = read_evaluation_set(str(tmp_path / "a.jsonl"), None, ["question"])
    assert [[passage.strip() for passage in item.passages] for item in only.items] == [["Why?"], ["Who?"]]
    deep = b'{"a":' * 900 + b'"bottom"' + b"}" * 900
    (tmp_path / "deep.jsonl").write_bytes(deep)
    assert read_evaluation_set(str(tmp_path / "deep.jsonl")).items[0].passages == ("bottom",)


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz", ".bz2"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.txt"])
def test_damaged_compression_is_told(tmp_path, name, suffix):
    import bz2
    import lzma

    import zstandard

    pack = {".gz": gzip.compress, ".zst": zstandard.compress, ".xz": lzma.compress, ".bz2": bz2.compress}[suffix]
    rows = b"".join(b'"%d %d"\n' % (n, n**3) for n in range(3000))
    rows = rows if ".jsonl" in name else b"[" + rows.replace(b"\n", b",\n")[:-2] + b"]"
    content = pack(rows)
    (tmp_path / ("good-" + name + suffix)).write_bytes(content)
    items = read_evaluation_set(str(tmp_path / ("good-" + name + suffix))).items
    assert len(items) == (1 if ".txt" in name else 3000)
    (tmp_path / (name + suffix)).write_bytes(content[:-100])
    with pytest.raises(EvaluationSetError, match=rf"{name}{suffix} is damaged"):
        read_evaluation_set(str(tmp_path / (name + suffix)))


def test_sets_that_cannot_be_read(tmp_path):
    for name, content, message in (
        ("a.jsonl", b'{"text": "x"}\n{oops\n', "a.jsonl, line 2 is not JSON"), ("b.jsonl", b"5\n", "row 1"),
        ("c.jsonl", b"", "no evaluation items"), ("d.jsonl.gz", gzip.compress(b'{"text":"x"}\n' * 99)[:-9], "damaged"),
        ("e.txt", b"\xff\xfe", "not UTF-8"), ("f.parquet", b"nothing here at all", "not a Parquet file"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EvaluationSetError, match=message):
            read_evaluation_set(str(tmp_path / name))
    with pytest.raises(FileNotFoundError):
        read_evaluation_set(str(tmp_path / "absent.jsonl"))
    with pytest.raises(EvaluationSetError, match="is a directory"):
        read_evaluation_set(str(tmp_path))
    (tmp_path / "g.jsonl").write_text('{"text": "x"}')
    with pytest.raises(EvaluationSetError, match="two evaluation sets are called 'g'"):
        read_evaluation_sets([str(tmp_path / "g.jsonl")] * 2)
    with pytest.raises(EvaluationSetError, match="no item of g has 8 words"):
        EvaluationIndex.build(read_evaluation_sets([str(tmp_path / "g.jsonl")]))


def test_dolmas_rule_removes_documents_with_a_long_paragraph():
    long, short = " ".join(f"w{i}" for i in range(14)), " ".join(f"v{i}" for i in range(13))
    index = ParagraphIndex([item_set(f"{long}\n{short}")])
    texts = [f"intro é\n{long}\nend", f"a\n{short}", f"x {long}", long.upper(), f"{long}\n{long}"]
    judged = judge(batch_of(*texts), index, Decontamination())
    assert judged.removed["id"].to_pylist() == ["d0", "d4"]
    start = len("intro é\n")
    assert [(s["start"], s["end"]) for s in judged.hits["spans"].to_pylist()[0]] == [(start, start + len(long))]
    with pytest.raises(EvaluationSetError, match="more than 13 words"):
        ParagraphIndex([item_set(short)])


def test_real_evaluation_sets_are_found_where_they_are_planted():
    files = sorted((DATA / "olmo" / "tasks").rglob("requests.jsonl.gz"))
    if not files:
        pytest.skip("OLMo's in-loop tasks are not on this machine (../shared/data/olmo/tasks)")
    sets = read_evaluation_sets([f"{file.parts[-3]}={file}" for file in files])
    index = EvaluationIndex.build(sets)
    arc = next(one for one in sets if one.name == "arc_easy")
    chosen = [item for item in arc.items if len(item.passages[0].split()) >= 20][:50]
    assert len(chosen) == 50
    hits = scan(batch_of(*(f"Look: {item.passages[0]} And so on." for item in chosen)), index).to_pylist()
    best = {row["row"]: max(r["overlap"] for r in hits if r["row"] == row["row"] and r["item"] == chosen[row["row"]].id)
            for row in hits}  # fmt: skip
    assert len(best) == 50
    assert min(best.values()) >= 0.5


@pytest.mark.parametrize("arguments", [[], ["--report-only"], ["--action", "span"], ["--dialect", "dolma"]])
def test_the_command(tmp_path, arguments):
    rng = random.Random(4)
    item = sentence(rng, 40)
    (tmp_path / "exam.jsonl").write_text(json.dumps({"id": "q1", "question": item}))
    path = written(
        tmp_path, [Document("1", f"A\n{item}\nB", "s", Origin("f", 0, 1)), Document("2", "B", "s", Origin("f", 1, 2))]
    )
    given = [path, "--against", f"exam={tmp_path / 'exam.jsonl'}", "--out", str(tmp_path / "out"), *arguments]
    done = CliRunner().invoke(command, given, catch_exceptions=False)
    assert "1 of 1 items contaminated" in done.output
    report = json.loads((tmp_path / "out" / "contamination.json").read_text())
    removed, cut = {"--report-only": (0, 0), "--action": (0, 1)}.get(arguments[0] if arguments else "", (1, 0))
    assert (report["removed"], report["cut"]) == (removed, cut)


def test_the_command_with_a_saved_index(tmp_path):
    item = sentence(random.Random(4), 40)
    (tmp_path / "exam.txt").write_text(item)
    path = written(tmp_path, [Document("1", f"A {item} B", "s", Origin("f", 0, 1))])
    base = [path, "--out", str(tmp_path / "a"), "--json", "--against"]
    first = CliRunner().invoke(command, [*base, str(tmp_path / "exam.txt"), "--save-index", str(tmp_path / "i")])
    base[2] = str(tmp_path / "b")
    second = CliRunner().invoke(command, [*base, str(tmp_path / "i")], catch_exceptions=False)
    assert json.loads(first.output) == json.loads(second.output)
    refused = CliRunner().invoke(command, [*base, str(tmp_path / "i"), "--ngram", "5"])
    assert "saved index" in refused.output
    for against in (["named=" + str(tmp_path / "i")], [str(tmp_path / "i"), "--against", str(tmp_path / "exam.txt")]):
        with pytest.raises(EvaluationSetError, match="give it alone"):
            CliRunner().invoke(command, [*base, *against], catch_exceptions=False)
    (tmp_path / "i").write_bytes(b"GLSEVAL9 of a time to come")
    with pytest.raises(IndexFileError, match="another version"):
        CliRunner().invoke(command, [*base, str(tmp_path / "i")], catch_exceptions=False)
