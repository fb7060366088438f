"""Tasks of one round and of several, records and few-shot examples."""

import dataclasses

import pytest

from glasshouse.evaluation.few_shot import FewShotError, draw_examples
from glasshouse.evaluation.journal import Journal
from glasshouse.evaluation.records import MetricError, Record, mean_of
from glasshouse.evaluation.requests import Generate
from glasshouse.evaluation.running import run
from glasshouse.evaluation.scorers import LocalScorer, answers


@dataclasses.dataclass(frozen=True)
class Chain:
    """Every answer is the beginning of the next prompt, for several dialogues of different lengths at once."""

    lengths: tuple[int, ...] = (3, 1, 2)
    name: str = "chain"

    def rounds(self):
        said = ["the gate"] * len(self.lengths)
        asked = [[] for _ in self.lengths]
        for turn in range(max(self.lengths)):
            open_ = [number for number, length in enumerate(self.lengths) if turn < length]
            requests = [Generate(said[number], (), 2) for number in open_]
            for number, request, answer in zip(open_, requests, (yield requests), strict=True):
                said[number] += answer.text
                asked[number].append((request, answer))
        return [
            Record(str(number), asked[number][-1][0].prompt, None, text, {"acc": 1.0}, asked=tuple(asked[number]))
            for number, text in enumerate(said)
        ]


def test_a_request_may_depend_on_the_last_answer(model):
    told = []
    records = run(Chain(), LocalScorer(model), told.append)
    assert [len(record.asked) for record in records] == [3, 1, 2]
    assert sum(told) == 6
    text = "the gate"
    for _ in range(3):
        text += answers(LocalScorer(model), [Generate(text, (), 2)])[0].text
    assert records[0].response == text
    assert records[0].cut == 0


def test_a_task_of_several_rounds_goes_on_where_it_was(model, tmp_path):
    class Ends(LocalScorer):
        left = 4

        def batches(self, requests, known=()):
            for batch in super().batches(requests, known):
                if self.left == 0:
                    raise InterruptedError
                self.left -= 1
                yield batch

    task, whole = Chain((3, 1, 2, 3)), run(Chain((3, 1, 2, 3)), LocalScorer(model, batch_tokens=16))
    with pytest.raises(InterruptedError):
        run(task, Ends(model, batch_tokens=16), journal=Journal(tmp_path / "chain.jsonl", {}))
    told = []
    again = run(task, LocalScorer(model, batch_tokens=16), told.append, Journal(tmp_path / "chain.jsonl", {}))
    assert again == whole
    assert told[0] > 0
    assert sum(told) == 9


def test_a_mean_is_of_the_records_that_have_the_score():
    records = [Record("1", "", 0, 0, {"acc": 1}), Record("2", "", 0, 0, {"acc": 0}), Record("3", "", 0, 0, {})]
    assert mean_of("acc")(records) == 0.5
    with pytest.raises(MetricError, match="none of 3 records has the score 'f1'"):
        mean_of("f1")(records)


def test_examples_are_a_function_of_the_seed_and_what_they_are_for():
    pool = list(range(100))
    drawn = draw_examples(pool, 5, 0, "task", "question 1")
    assert drawn == draw_examples(pool, 5, 0, "task", "question 1")
    assert len({*drawn}) == 5
    assert drawn != draw_examples(pool, 5, 1, "task", "question 1")
    assert drawn != draw_examples(pool, 5, 0, "task", "question 2")
    assert draw_examples(pool, 0, 0) == []
    assert all(number >= 90 for number in draw_examples(pool, 8, 0, allowed=lambda number: number >= 90))
    with pytest.raises(FewShotError, match="5 examples are wanted before task, but the pool has 3"):
        draw_examples(pool, 5, 0, "task", allowed=lambda number: number < 3)
