"""Query rewriting: readers and copy baselines on the data, scores against their packages, kinds of errors."""

import json
import random
import statistics
from pathlib import Path

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from glasshouse.evaluation.context.rewriting.canard import read_canard, read_qrecc
from glasshouse.evaluation.context.rewriting.errors import error_kind
from glasshouse.evaluation.context.rewriting.gecor import read_gecor
from glasshouse.evaluation.context.rewriting.kvret import read_cqr_kvret
from glasshouse.evaluation.context.rewriting.mudoco import read_mudoco
from glasshouse.evaluation.context.rewriting.queries import Query
from glasshouse.evaluation.context.rewriting.scores import corpus_bleu, rouge
from glasshouse.evaluation.context.rewriting.task import Rewriting
from glasshouse.evaluation.context.sources import DataError
from glasshouse.evaluation.requests import Written

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "evaluation"
COPIES = {
    "canard": (read_canard, "canard", 3430, 36.1, 68.6, 0.2),
    "cqr_kvret test": (read_cqr_kvret, "cqr_kvret", 214, 32.9, 65.9, 0.1),
    "cqr_kvret dev": (lambda folder: read_cqr_kvret(folder, "dev"), "cqr_kvret", 206, 32.5, 66.5, 0.1),
    "gecor": (read_gecor, "gecor", 2383, 54.1, 75.5, 0.1),
    "news": (lambda folder: read_mudoco(folder, "news"), "mudoco_qr", 740, 84.6, 91.3, 0.1),
    "weather": (lambda folder: read_mudoco(folder, "weather"), "mudoco_qr", 497, 88.1, 92.8, 0.1),
    "news needed": (lambda f: read_mudoco(f, "news", only_needed=True), "mudoco_qr", 282, 60.3, 77.1, 0.1),
    "weather needed": (lambda f: read_mudoco(f, "weather", only_needed=True), "mudoco_qr", 129, 52.2, 72.1, 0.1),
}
"""Copying the query: items, BLEU, ROUGE-1 and how near they have to be."""


@pytest.mark.parametrize("name", COPIES)
def test_copying_the_query(name):
    read, folder, count, bleu, rouge1, near = COPIES[name]
    if not (DATA / folder).is_dir():
        pytest.skip(f"{folder} is not here")
    queries = read(DATA / folder)
    assert len(queries) == len({query.id for query in queries}) == count
    assert corpus_bleu([q.text for q in queries], [q.rewrite for q in queries]) == pytest.approx(bleu, abs=near)
    found = statistics.fmean(rouge(query.text, query.rewrite)["rouge1"] for query in queries)
    assert found == pytest.approx(rouge1, abs=near)


def pairs(count):
    draw = random.Random(0)
    words = [
        "the",
        "a",
        "cat",
        "sat",
        "on",
        "mat",
        "Where",
        "is",
        "it",
        ",",
        "?",
        "dogs",
        "running",
        "Ann's",
        "3.5",
        "café",
    ]
    found = []
    for _ in range(count):
        text = draw.choices(words, k=draw.randint(1, 12))
        other = [word if draw.random() < 0.8 else draw.choice(words) for word in text] + draw.choices(words, k=2)
        found.append((" ".join(text), " ".join(other)))
    return found


def test_scores_are_those_of_their_packages():
    found = pairs(1000)
    expected = sacrebleu.BLEU(lowercase=True).corpus_score([a for a, _ in found], [[b for _, b in found]]).score
    assert corpus_bleu([a for a, _ in found], [b for _, b in found]) == pytest.approx(expected, abs=1e-9)
    scorer = RougeScorer(["rougeL", "rouge2"], use_stemmer=True)
    for text, reference in found:
        expected_rouge = scorer.score(reference, text)
        for name in ("rougeL", "rouge2"):
            assert rouge(text, reference)[name] == pytest.approx(100 * expected_rouge[name].fmeasure)
    with pytest.raises(ValueError, match="0 texts"):
        corpus_bleu([], [])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("How old is Frank Zappa?", "right"), ("how old is frank zappa", "right"),
        ("How old is he?", "repeat"), ("how old is he", "repeat"), ("HOW OLD IS HE !", "repeat"),
        ("He was born in 1940.", "answer"), ("Bot: He is 52 years old.", "answer"), ("In Baltimore, Md.", "answer"),
        ("User: Thanks a lot!", "answer"), ("", "answer"), ("52", "answer"),
        ("How old is the band?", "other"), ("How old was Frank?", "other"), ("How old is Frank Zappa's son?", "other"),
    ],
)  # fmt: skip
def test_kinds_of_errors(text, kind):
    assert error_kind(text, "How old is he?", "How old is Frank Zappa?") == kind


def test_constructed_repeats_and_answers_are_all_told():
    draw = random.Random(1)
    names = ["Bana Tolo", "Leki Maro", "Rino Sela"]
    forms = [
        ("Where does {} live now?", "in a small house near the river"),
        ("Who taught {} to sing?", "her own mother"),
    ]
    for _ in range(200):
        form, answer = draw.choice(forms)
        query, rewrite = form.format("she"), form.format(draw.choice(names))
        assert (
            error_kind(draw.choice([query, query.upper(), query.rstrip("?"), f" {query} "]), query, rewrite) == "repeat"
        )
        told = draw.choice([answer, f"Bot: {answer}", answer.capitalize() + ".", "I do not know that, sorry."])
        assert error_kind(told, query, rewrite) == "answer"


QUERIES = tuple(
    Query(
        f"q{n}",
        (("User", f"Who is Ann{n}?"), ("Bot", "A baker.")),
        f"Where is she {n}?",
        f"Where is Ann{n} {n}?",
        f"g{n // 2}",
    )
    for n in range(8)
)


def answered(task, answer):
    rounds = task.rounds()
    requests = next(rounds)
    with pytest.raises(StopIteration) as finished:
        rounds.send([Written(answer(query), 1) for query, _ in zip(task.queries, requests, strict=True)])
    return finished.value.value, requests


def test_the_task_scores_copies_like_its_baseline_and_rewrites_fully():
    task = Rewriting("t", QUERIES, shots=3)
    copied, requests = answered(task, lambda query: f" {query.text} ")
    metrics = {name: metric(copied) for name, metric in task.metrics.items()}
    baseline = {name: metric(task.baselines(copied)["copy"]) for name, metric in task.metrics.items()}
    assert metrics == baseline
    assert (metrics["repeat"], metrics["right"]) == (1.0, 0.0)
    perfect, _ = answered(task, lambda query: query.rewrite)
    assert [task.metrics[name](perfect) for name in ("bleu", "rougeL", "right")] == pytest.approx([1, 1, 1])
    assert all(request.prompt.count("Rewrite:") == 4 for request in requests)


def test_no_query_sees_its_own_conversation_as_an_example():
    task = Rewriting("t", QUERIES, shots=5)
    for query in QUERIES:
        prompt = task.question(query)
        own = [other for other in QUERIES if other.group == query.group]
        assert not any(other.rewrite in prompt for other in own)
        assert prompt.endswith(f"Query: {query.text}\nRewrite:")
    assert Rewriting("t", QUERIES, shots=5, seed=1).question(QUERIES[0]) != task.question(QUERIES[0])


def test_the_turn_to_be_rewritten_need_not_be_the_last(tmp_path):
    def turn(who, text, **more):
        return {"turn": who, "data": {"utterance": text}, **more}

    again = {"base_utt_idx": 0, "reformulated_utt": "Book room 3 on Monday", "slots": {}}
    turns = [
        turn("driver", "Book room 3"),
        turn("assistant", "When?", reformulation={"base_utt_idx": 0, "reformulated_utt": None}),
        turn("driver", "Monday"), turn("assistant", "Done.", reformulation=again),
    ]  # fmt: skip
    (tmp_path / "test.json").write_text(json.dumps([{"dialogue": turns, "scenario": {"uuid": "u"}}]), encoding="utf-8")
    (query,) = read_cqr_kvret(tmp_path)
    assert (query.text, query.rewrite) == ("Book room 3", "Book room 3 on Monday")
    assert query.history == (("User", "Book room 3"), ("Bot", "When?"), ("User", "Monday"))


def test_qrecc_is_read_when_it_is_brought_along(tmp_path):
    with pytest.raises(DataError, match=r"QReCC.*CC BY-SA 3\.0"):
        read_qrecc(tmp_path)
    rows = [
        {"Conversation_no": 1, "Turn_no": 2, "Context": ["Who is Ann?", "A baker."], "Question": "Where is she?",
         "Rewrite": "Where is Ann?"},
        {"Conversation_no": 1, "Turn_no": 3, "Context": [], "Question": "No rewrite", "Rewrite": ""},
    ]  # fmt: skip
    (tmp_path / "qrecc_test.json").write_text(json.dumps(rows), encoding="utf-8")
    (query,) = read_qrecc(tmp_path)
    assert (query.id, query.rewrite, query.history[1]) == ("1-2", "Where is Ann?", ("Bot", "A baker."))


def test_damaged_files_are_told(tmp_path):
    (tmp_path / "dev.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"dev\.json holds a dict"):
        read_canard(tmp_path)
    (tmp_path / "mudoco_news.json").write_text('{"dialogs": 3}', encoding="utf-8")
    with pytest.raises(DataError, match="does not have the form of MuDoCo-QR"):
        read_mudoco(tmp_path, "news")
    with pytest.raises(DataError, match="no file of the domain 'sports'"):
        read_mudoco(tmp_path, "sports")
