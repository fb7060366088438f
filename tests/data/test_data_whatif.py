"""What-if against two references: `failed_rules` on every row, and a real curation with the other rules."""

import base64
import hashlib
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.cli.describe import whatif
from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.curation.curate import Curation, curate
from glasshouse.data.curation.rules import OPERATORS, Rule, RuleSet, SourceRules, dolma_rules, failed_rules
from glasshouse.data.deduplication.methods import exact, minhash
from glasshouse.data.description.correlation import correlations
from glasshouse.data.description.whatif import Verdicts, loose_duplicates, rules_only, what_if
from glasshouse.data.description.whatif_curve import NoCurveError, curve
from glasshouse.data.description.whatif_page import script_json, whatif_page
from glasshouse.data.description.whatif_rules import (
    RuleTextError,
    UnknownCurationError,
    UnknownRuleError,
    changed_rules,
    parse_rule,
    rules_of,
)
from glasshouse.data.description.whatif_table import DamagedCorpusError, SignalTable, UnmeasuredSignalError
from glasshouse.data.document import Document, Origin, batches

SOURCES = ("web", "documentation", "stdlib")
HOSTILE = "</script><script>alert(1)</script>"


def text(seed):
    """Prose of 10 to 150 words, some of it listed, repeated, or symbols: every rule family has something to remove."""
    draw = np.random.default_rng(seed)
    words = [f"word{draw.integers(400)}" for _ in range(int(draw.integers(10, 150)))]
    kind = seed % 7
    if kind == 1:
        words += ["the line\n"] * int(draw.integers(1, 90))
    if kind == 2:
        words = [f"- {word}\n" for word in words]
    if kind == 3:
        words += ["#", "1234", "=="] * int(draw.integers(1, 30))
    return f"The story of {' '.join(words)} and that is to be with us."


def corpus():
    texts = [text(seed) for seed in range(210)]
    for place in (0, 21, 84, 105, 126):
        texts[place] = "It was to be the end of the story. " + "".join(f" s{place}x{word}" for word in range(120))
    texts[42], texts[63] = texts[0], texts[0]
    texts[147] = texts[21] + " So it ends."
    texts[105] += " Write to jane@example.com."
    texts[126] += "".join(f" user{i}@example.com" for i in range(7))
    names = [f"d{i}" for i in range(len(texts))]
    names[84] = HOSTILE
    return [
        Document(n, t, SOURCES[i % 3], Origin("f", i, i + 1)) for i, (n, t) in enumerate(zip(names, texts, strict=True))
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("corpus")
    return home, curate(batches(corpus(), 4000), home, shard_bytes=20_000)


@pytest.fixture(scope="module")
def table(made):
    return SignalTable(made[0])


def reference(table, rules):
    """Per document: whether it is kept, and the names of the rules it fails, by `failed_rules`."""
    rows = table.corpus.signals()
    batch = rows.combine_chunks().to_batches()[0]
    failures = failed_rules(batch, rows.column("source").to_pylist(), rules)
    verdicts = rows.column("verdict").to_pylist()
    kept = [not failed and verdict in ("kept", "rules") for failed, verdict in zip(failures, verdicts, strict=True)]
    return np.array(kept), [{failure.rule for failure in failed} for failed in failures]


def check(table, rules):
    answer, rows = what_if(table, rules, samples=2), table.corpus.signals().to_pylist()
    kept, failures = reference(table, rules)
    assert answer.kept.documents == kept.sum()
    assert answer.kept.bytes == sum(row["byte_count"] for row, stays in zip(rows, kept, strict=True) if stays)
    assert answer.kept.words == sum(row["word_count"] for row, stays in zip(rows, kept, strict=True) if stays)
    before = np.array([row["verdict"] == "kept" for row in rows])
    assert answer.newly_dropped.documents == (before & ~kept).sum()
    assert answer.newly_kept.documents == (kept & ~before).sum()
    assert answer.removed_by_rules.documents == sum(bool(failed) for failed in failures)
    for effect in answer.rules:
        assert effect.removed.documents == sum(effect.rule in failed for failed in failures)
        assert effect.alone.documents == sum(failed == {effect.rule} for failed in failures)
    for effect in answer.sources:
        of = np.array([row["source"] == effect.source for row in rows])
        assert (effect.input.documents, effect.kept.documents) == (of.sum(), (of & kept).sum())
    later = sum(amount.documents for amount in answer.removed_later.values())
    assert answer.kept.documents + answer.removed_by_rules.documents + later == len(rows)
    return answer


def test_the_rules_as_made_give_the_corpus_back(table, made):
    answer = check(table, rules_of(table.corpus))
    summary = made[1]
    assert answer.kept == answer.kept_as_made
    assert (answer.kept.documents, answer.kept.bytes) == (summary.kept.documents, summary.kept.bytes)
    removed = {effect.rule: effect.removed.documents for effect in answer.rules if effect.removed.documents}
    assert removed == {n: t.documents for n, t in summary.rules.items() if n in {e.rule for e in answer.rules}}
    assert 0 < answer.kept.documents < answer.input.documents
    assert len(removed) >= 5, "the corpus of this test is too tame"
    assert answer.dropped_samples == answer.kept_samples == []


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["word_count", "fraction_of_duplicate_lines", "symbol_to_word_ratio", "has_curly_brace", "random"]
            ),
            st.sampled_from(list(OPERATORS)),
            st.one_of(st.integers(0, 150).map(float), st.floats(0, 1)),
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_any_rules_equal_rule_by_rule_evaluation(table, drawn, split):
    rules = tuple(Rule(signal=s, operator=o, threshold=t) for s, o, t in dict.fromkeys(drawn))
    chosen = RuleSet(name="drawn", rules=rules)
    if split:
        chosen = SourceRules(default=chosen, by_source={"web": RuleSet(name="half", rules=rules[::2])})
    names = [rule.name for rule in rules]
    if len(set(names)) == len(names):
        check(table, chosen)


@pytest.mark.parametrize("asked", ["word_count < 90", "word_count < 20", "random > 0.6"])
def test_equal_to_curating_again_with_the_other_rules(tmp_path, asked):
    plain = Curation(keep=dolma_rules, mask=None, deduplicate=())
    curate(batches(corpus()), tmp_path / "old", plain)
    table = SignalTable(tmp_path / "old")
    rules = changed_rules(rules_of(table.corpus), rules_asked=[asked], without=["required_word_count < 2"])
    again = curate(batches(corpus()), tmp_path / "new", plain.but(keep=rules))
    answer = what_if(table, rules)
    assert (answer.kept.documents, answer.kept.bytes) == (again.kept.documents, again.kept.bytes)
    assert answer.kept != answer.kept_as_made
    for effect in answer.sources:
        kept = again.sources[effect.source].get("kept")
        assert effect.kept.documents == (kept.documents if kept else 0)
    for effect in answer.rules:
        tally = again.rules.get(effect.rule)
        assert effect.removed.documents == (tally.documents if tally else 0)
    assert answer.notes == []


def _repeated(draw):
    """Texts with exact and near duplicates and chains of them, of several sources."""
    texts, found = [], []
    for number in range(40):
        words = [f"w{number}x{draw.integers(60)}" for _ in range(int(draw.integers(60, 160)))]
        texts.append(["the", "be", "to", *words])
    for number in range(240):
        words = list(texts[int(draw.integers(len(texts)))])
        for _ in range(int(draw.choice([0, 0, 1, 3]))):
            words[int(draw.integers(len(words)))] = f"y{number}"
        words += ["#"] * int(draw.choice([0, 0, 30]))
        source = SOURCES[int(draw.integers(3))]
        found.append(Document(f"d{number}", " ".join(words), source, Origin("f", number, number + 1)))
    return found


def _kept_ids(path):
    return set(pq.read_table(sorted(path.glob("documents-*.parquet")), columns=["id"]).column("id").to_pylist())


@pytest.mark.parametrize("seed", range(6))
def test_random_changes_keep_what_curating_again_keeps(tmp_path, seed):
    """With duplicates: exact unless it is announced that documents are newly kept, or that some may take a place."""
    draw = np.random.default_rng(seed)
    documents = _repeated(draw)
    made = [parse_rule("word_count < 70"), parse_rule("symbol_to_word_ratio > 0.9")]
    base = Curation(keep=RuleSet(name="made", rules=tuple(made)), mask=None, deduplicate=(exact(), minhash()))
    curate(batches(documents), tmp_path / "old", base)
    table = SignalTable(tmp_path / "old")
    for number in range(6):
        asked = [f"word_count < {draw.integers(60, 120)}", f"symbol_to_word_ratio > {draw.choice([0.15, 0.5, 0.9])}"]
        asked += [f"random > {draw.choice([0.9, 0.999])}"] if draw.integers(2) else []
        rules = changed_rules(rules_of(table.corpus), rules_asked=asked)
        curate(batches(documents), tmp_path / f"new{number}", base.but(keep=rules))
        real = _kept_ids(tmp_path / f"new{number}")
        verdicts = Verdicts(table, rules)
        answer = what_if(table, rules)
        ids = np.array(table.ids.to_pylist())
        predicted = set(ids[verdicts.kept])
        loose = set(ids[loose_duplicates(table, verdicts.failures == 0)])
        assert answer.duplicates_without_keeper == len(loose)
        assert real <= predicted | loose
        if not answer.newly_kept.documents:
            assert predicted <= real
        if not (answer.newly_kept.documents or loose):
            assert predicted == real
            assert [note for note in answer.notes if "later stages" not in note] == []
    assert table.duplicates.near.any()
    assert len(table.duplicates.rows) > 50, "the corpus of this test is too tame"


def test_samples_show_the_documents_that_change_sides(table):
    rules = rules_only([parse_rule("random > 0.3")])
    answer = what_if(table, rules, samples=5)
    failed = dict(zip(table.ids.to_pylist(), reference(table, rules_of(table.corpus))[1], strict=True))
    texts = {document.id: document.text for document in corpus()}
    assert len(answer.dropped_samples) == len(answer.kept_samples) == 5
    for sample in answer.dropped_samples:
        assert sample.excerpt == texts[sample.id][:200]
        assert sample.rules == ("random > 0.3",)
    for sample in answer.kept_samples:
        assert sample.excerpt == texts[sample.id][:200]
        assert set(sample.rules) == failed[sample.id] != set()
    assert what_if(table, rules, samples=5) == answer
    assert what_if(table, rules, samples=5, seed=1).dropped_samples != answer.dropped_samples


def test_what_later_stages_would_say_is_said_to_be_unknown(table):
    duplicates = [row for row in table.corpus.removed().to_pylist() if row["duplicate_of"] == "d0"]
    assert len(duplicates) == 2
    draws = dict(zip(table.ids.to_pylist(), table.column("random").tolist(), strict=True))
    names = sorted(("d0", "d42", "d63"), key=lambda name: (name != "d0", draws[name]))
    nothing = what_if(table, rules_only([parse_rule("random >= 0")]))
    assert (nothing.kept.documents, nothing.duplicates_without_keeper) == (0, 0)
    operator = "<=" if draws["d0"] < draws[names[2]] else ">="
    answer = what_if(table, rules_only([parse_rule(f"random {operator} {draws['d0']!r}")]))
    assert answer.duplicates_without_keeper >= 1
    assert any("removed as repetitions of documents that would now be" in note for note in answer.notes)
    gained = what_if(table, rules_only([]))
    assert gained.newly_kept.documents > 0
    assert any("pii, exact, minhash never saw them" in note for note in gained.notes)


def test_rules_that_never_or_always_fire_are_remarked(table):
    rules = rules_only([parse_rule("word_count < 1"), parse_rule("word_count > 1"), parse_rule("random > 0.5")])
    assert [effect.remark for effect in what_if(table, rules).rules] == ["never fires", "always fires", ""]
    nowhere = SourceRules(
        default=RuleSet(name="d"), by_source={"none": RuleSet(name="n", rules=(parse_rule("random<1"),))}
    )
    assert what_if(table, nowhere).rules[0].remark == "applies to no source of this corpus"


NUMBER = st.one_of(st.just(np.nan), st.integers(0, 6).map(float))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(NUMBER, st.booleans(), st.booleans(), st.integers(0, 9)), max_size=40),
    st.sampled_from([">", ">=", "<", "<="]),
)
def test_a_curve_equals_counting_at_every_threshold(rows, operator):
    values = np.array([row[0] for row in rows], float)
    stake, applies = (np.array([row[at] for row in rows], bool) for at in (1, 2))
    sizes = np.array([row[3] for row in rows], float)
    found = curve(Rule(signal="x", operator=operator, threshold=3), values, stake, applies, sizes)
    for threshold in (-1, 0, 0.5, 1, 3, 5.5, 6, 7):
        kept = stake & ~(applies & OPERATORS[operator](values, threshold))
        assert found.kept(threshold) == (kept.sum(), sizes[kept].sum())
    assert 3.0 in [point[0] for point in found.points(5)]


def test_a_curve_of_the_corpus_moves_one_rule_only(table):
    rules = rules_of(table.corpus)
    found = Verdicts(table, rules).curve("word_count<50")
    for threshold, share, _ in found.points(30):
        moved = changed_rules(rules, thresholds={"word_count < 50": threshold})
        assert round(share * len(table)) == what_if(table, moved, samples=0, correlation=False).kept.documents
    with pytest.raises(NoCurveError, match="no threshold"):
        Verdicts(table, rules_only([parse_rule("has_curly_brace == 1")])).curve("has_curly_brace == 1")
    with pytest.raises(UnknownRuleError, match="there are"):
        Verdicts(table, rules).curve("word_count < 51")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
def test_correlation_equals_numpy_and_weights_equal_repetition(rows):
    a, b = (np.array([row[at] for row in rows]) for at in (0, 1))
    weights = np.array([row[2] for row in rows])
    for found, left, right in (
        (correlations([a, b]), a, b),
        (correlations([a, b], weights.astype(float)), np.repeat(a, weights), np.repeat(b, weights)),
    ):
        if len(left) and 0 < left.mean() < 1 and 0 < right.mean() < 1:
            assert np.allclose(found, np.corrcoef(left, right))
        else:
            assert np.isnan(found[0, 1])


@pytest.mark.parametrize("filters", [1, 8, 63, 64, 65, 130])
def test_correlation_of_any_number_of_filters(filters):
    draw = np.random.default_rng(filters)
    common = draw.random(3000)
    verdicts = [(common * draw.random() + draw.random(3000)) > 0.7 for _ in range(filters)]
    assert np.allclose(correlations(verdicts), np.corrcoef(np.array(verdicts)))
    assert correlations([]).shape == (0, 0)


def test_correlation_names_every_filter(table):
    found = what_if(table).correlation
    assert {"any rule", "word_count < 50", "pii (some masked)", "pii", "exact", "minhash"} <= set(found.filters)
    place = found.filters.index("pii")
    verdicts = np.array(table.corpus.signals(["verdict"]).column("verdict").to_pylist())
    words = np.array(table.corpus.signals(["word_count"]).column("word_count").to_pylist())
    web = np.array(table.corpus.signals(["source"]).column("source").to_pylist()) != "stdlib"
    expected = np.corrcoef(verdicts == "pii", (words < 50) & web)[0, 1]
    assert found.documents[place][found.filters.index("word_count < 50")] == pytest.approx(expected, abs=1e-6)


def test_rules_are_read_and_changed_by_name(table):
    rules = rules_of(table.corpus)
    assert rules == dolma_rules
    changed = changed_rules(rules, rules_asked=["word_count<30", "random > 0.9"])
    assert [r.name for r in changed.default.rules if r.signal in ("word_count", "random")] == [
        "word_count < 30", "word_count > 100000", "random > 0.9",
    ]  # fmt: skip
    assert "random > 0.9" in [rule.name for rule in changed.of("stdlib").rules]
    assert "word_count < 30" not in [rule.name for rule in changed.of("stdlib").rules]
    gone = changed_rules(rules, without=["word_count<50"])
    assert not any(rule.name == "word_count < 50" for part in gone.sets() for rule in part.rules)
    with pytest.raises(UnknownRuleError, match="did you mean 'word_count < 50'"):
        changed_rules(rules, without=["word_cuont < 50"])
    twice = rules_only([parse_rule("random > 0.1"), parse_rule("random > 0.2")])
    with pytest.raises(RuleTextError, match=r"could change 'random > 0\.1' and 'random > 0\.2'"):
        changed_rules(twice, rules_asked=["random > 0.3"])


BAD = ["word_count", "word_count < many", "word_count =< 5", "5 < word_count", "a < 1; b > 2", "", "f(x) < 1"]


@pytest.mark.parametrize("bad", BAD)
def test_an_unreadable_rule_is_refused(bad):
    with pytest.raises(RuleTextError, match="SIGNAL OPERATOR NUMBER"):
        parse_rule(bad)


def test_unmeasured_signals_and_unknown_rules_are_refused(table, tmp_path):
    with pytest.raises(UnmeasuredSignalError, match="word_count"):
        what_if(table, rules_only([parse_rule("word_cuont < 5")]))
    with pytest.raises(UnmeasuredSignalError, match="'verdict' holds string"):
        what_if(table, rules_only([parse_rule("verdict < 5")]))
    for file in table.corpus.path.iterdir():
        if file.name != "summary.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UnknownCurationError, match="give a rule set"):
        what_if(SignalTable(tmp_path))
    assert what_if(SignalTable(tmp_path), dolma_rules).kept.documents == what_if(table).kept.documents


def test_a_corpus_with_a_missing_file_is_noticed(table, tmp_path):
    for file in table.corpus.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    files = sorted(tmp_path.glob("documents-*.parquet"))
    assert len(files) > 1
    first, second = (pq.read_table(file) for file in files[:2])
    files[1].unlink()
    drop = rules_only([parse_rule("random >= 0")])
    with pytest.raises(DamagedCorpusError, match="curate again"):
        what_if(SignalTable(tmp_path), drop)
    pq.write_table(first, files[1])
    pq.write_table(second, files[0])
    assert len(first) != len(second)  # else the swapped files could not be told from the right ones
    with pytest.raises(DamagedCorpusError, match="found document"):
        what_if(SignalTable(tmp_path), drop, samples=200)


def embedded(page):
    """The data in a page."""
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])


def unpacked(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_the_page_counts_exactly_at_every_stop(table):
    rules = changed_rules(
        rules_of(table.corpus),
        rules_asked=["word_count < 30", "has_curly_brace == 1"],
        without=["required_word_count < 2"],
    )
    page = whatif_page(Verdicts(table, rules), what_if(table, rules), "title <b>")
    data = embedded(page)
    signals = table.corpus.signals()
    assert data["documents"] == len(table)
    assert np.array_equal(unpacked(data["bytes"], "<u4"), signals.column("byte_count").to_numpy())
    sources = np.array(signals.column("source").to_pylist())
    seen = set()
    for row in data["rules"]:
        name = f"{row['signal']} {row['operator']}"
        seen.add((name, row["asked"] is None, row["made"] is None))
        of = np.array([any(r.signal == row["signal"] and r.operator == row["operator"] for part in (rules, dolma_rules)
                           for r in part.of(source).rules) for source in sources])  # fmt: skip
        values = signals.column(row["signal"]).to_numpy(zero_copy_only=False).astype(float)
        bins = unpacked(row["bins"], "u1")
        for stop, threshold in enumerate(row["stops"]):
            fires = stop >= bins if row["low"] else stop < bins
            assert np.array_equal(fires, of & OPERATORS[row["operator"]](values, threshold)), (name, threshold)
        if row["asked"] is not None:
            assert f"{name} {row['stops'][row['asked']]:g}" in {r.name for part in rules.sets() for r in part.rules}
    assert {
        ("word_count <", False, False),
        ("has_curly_brace ==", False, True),
        ("required_word_count <", True, False),
    } <= seen
    thirty = next(row for row in data["rules"] if row["signal"] == "word_count" and row["low"])
    assert (thirty["stops"][thirty["asked"]], thirty["stops"][thirty["made"]]) == (30, 50)


def test_no_document_can_write_into_the_page(table):
    rules = rules_only([parse_rule("random >= 0")])
    answer = what_if(table, rules, samples=len(table))
    assert any(sample.id == HOSTILE for sample in answer.dropped_samples)
    page = whatif_page(Verdicts(table, rules), answer, HOSTILE)
    assert HOSTILE not in page
    assert page.count("<script") == page.count("</script>") == 2
    assert script_json({"a": "</script>\u2028&<!--"}) == '{"a":"\\u003c/script\\u003e\\u2028\\u0026\\u003c!--"}'
    assert not re.search(r"""(src|href)\s*=|@import|url\(""", page)


def test_a_large_corpus_is_shown_by_evenly_spaced_documents(table):
    page = embedded(whatif_page(Verdicts(table), what_if(table), "t", most_documents=50))
    assert (page["documents"], page["all"], len(unpacked(page["kept"], "u1"))) == (50, len(table), 50)


def test_the_command_answers_people_and_machines(made, tmp_path):
    arguments = [str(made[0]), "word_count < 20", "--set", "required_word_count<2=1", "--curve", "word_count < 20"]
    said = CliRunner().invoke(whatif, [*arguments, "--correlation", "--html", str(tmp_path / "page.html")])
    assert said.exit_code == 0, said.output
    for part in ("newly dropped", "by it alone", "word_count < 20", "never saw them", "kept by the threshold", "wrote"):
        assert part in said.output
    assert (tmp_path / "page.html").stat().st_size > 1000
    machine = json.loads(CliRunner().invoke(whatif, [*arguments, "--json"]).output)
    table = SignalTable(CorpusDirectory(made[0]))
    rules = changed_rules(
        rules_of(table.corpus), thresholds={"required_word_count<2": 1}, rules_asked=["word_count < 20"]
    )
    assert machine["kept"]["documents"] == what_if(table, rules).kept.documents
    assert machine["curves"]["word_count < 20"]
    assert CliRunner().invoke(whatif, [str(made[0]), "--set", "word_count"]).exit_code == 2
    assert CliRunner().invoke(whatif, [str(made[0]), "--only", "--without", "random > 1"]).exit_code == 2
    only = json.loads(CliRunner().invoke(whatif, [str(made[0]), "--only", "random > 0.5", "--json"]).output)
    assert [effect["rule"] for effect in only["rules"]] == ["random > 0.5"]


def test_the_same_question_gives_the_same_page(made):
    pages = set()
    for _ in range(2):
        table = SignalTable(made[0])
        pages.add(hashlib.sha256(whatif_page(Verdicts(table), what_if(table), "t").encode()).hexdigest())
    assert len(pages) == 1
