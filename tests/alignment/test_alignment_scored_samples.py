"""Utilities as text, samples from files, and the command that previews a frontier."""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from glasshouse.alignment.algebra import AfterSum, And, Good, Not, Or, Reward, Weighted, Worst
from glasshouse.alignment.combination import references_from, utility
from glasshouse.alignment.frontier import Preview, frontier
from glasshouse.alignment.scored_samples import preview_samples, read_scored_samples
from glasshouse.alignment.transforms import Clip, Column, LogSigmoid, Quantile, RewardError, Sigmoid, ZScore
from glasshouse.alignment.utility_text import parse_utility
from glasshouse.cli import cli
from glasshouse.store.configuration import ConfigurationError

A, B, C = (Good(name) for name in "abc")
QUICK = Preview(kl=(0.5, 1), best_of=(2,), resamples=20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", A),
        ("a & ~b | c", Or((And((A, Not(B))), C))),
        ("good(a, 0.9) & good(b, refusal)", Good("a", Quantile(0.9)) & Good("b", Column("refusal"))),
        ("'my score' & b", Good("my score") & B),
        ("raw(a) + 0.5 * raw(b) - c * 2", Weighted(((1, Reward("a")), (0.5, Reward("b")), (-2, C)))),
        ("-1.5 * a", Weighted(((-1.5, A),))),
        ("worst(a, raw(b))", Worst((A, Reward("b")))),
        ("log_sigmoid(a) + sigmoid(b, 0.8)",
         Weighted(((1, Reward("a", LogSigmoid(None))), (1, Reward("b", Sigmoid(Quantile(0.8))))))),
        ("z_score(a) + clip(b, -1, 2)", Weighted(((1, Reward("a", ZScore())), (1, Reward("b", Clip(-1, 2)))))),
        ("after_sum(a, b)", AfterSum(("a", "b"))),
    ],
)  # fmt: skip
def test_utilities_are_written_as_they_are_thought(text: str, expected: object) -> None:
    assert parse_utility(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a utility"),
        ("a &", "is not a utility"),
        ("raw(a) & b", "has no probability"),
        ("a & a", "stands twice"),
        ("a * b", "one side of * is a number"),
        ("open('x')", "means nothing here"),
        ("a.__class__", "means nothing here"),
        ("good(a, 2)", "between 0 and 1"),
        ("good(a, 0.5, b)", "one quantile or one column"),
        ("clip(a)", "two bounds"),
        ("raw(a, b)", "take one name"),
        ("good(1)", "name of a column"),
        ("(" * 500 + "a" + ")" * 500, "is not a utility"),
        ("a" * 3000, "at most 2000"),
    ],
)
def test_text_that_means_nothing_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(RewardError) as caught:
        parse_utility(text)
    assert told in str(caught.value)


def rows(prompts: int = 5, samples: int = 40, seed: int = 0) -> list[dict[str, object]]:
    draw = torch.randn(prompts, samples, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return [
        {"prompt": f"p{x}", "a": float(a), "b": float(b), "true_a": float(a + c), "ref": float(x)}
        for x in range(prompts) for a, b, c in draw[x]
    ]  # fmt: skip


def written(path, given: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return str(path)


def test_rows_are_gathered_by_prompt_from_both_forms(tmp_path) -> None:
    given = rows()
    mixed = given[::3] + given[1::3] + given[2::3]
    plain = read_scored_samples([written(tmp_path / "one.jsonl", mixed)], ["a", "b"], ["ref"])
    assert plain.prompts == tuple(f"p{x}" for x in range(5))
    assert plain.scores["a"].sort(1).values.flatten().tolist() == sorted(
        (row["a"] for row in given), key=lambda v: [r["a"] for r in given].index(v) // 40 * 1000 + v
    )
    assert plain.columns["ref"].tolist() == [0, 1, 2, 3, 4]
    pq.write_table(pa.Table.from_pylist(mixed), tmp_path / "one.parquet")
    table = read_scored_samples([tmp_path / "one.parquet"], ["a", "b"], ["ref"])
    assert torch.equal(table.scores["b"], plain.scores["b"])
    messages = [row | {"prompt": [{"role": "user", "content": row["prompt"]}]} for row in mixed]
    assert torch.equal(
        read_scored_samples([written(tmp_path / "m.jsonl", messages)], ["a"]).scores["a"], plain.scores["a"]
    )


def test_the_preview_of_files_is_the_frontier_of_tensors(tmp_path) -> None:
    given = rows()
    file = written(tmp_path / "s.jsonl", given)
    scores = {name: torch.tensor([row[name] for row in given], dtype=torch.float64).view(5, 40) for name in ("a", "b")}
    truth = torch.tensor([row["true_a"] for row in given], dtype=torch.float64).view(5, 40)
    event = Good("a", Column("ref")) & B
    u = utility(event, scores, references_from(event, scores, {"ref": torch.arange(5.0, dtype=torch.float64)}))
    expected = frontier({"both": u}, {"a": truth, "b": scores["b"]}, QUICK, scores={"a": scores["a"]})
    assert expected.own_judge == ("b",)
    assert set(expected.accuracy) == {"a"}  # that of `b` with itself would say nothing
    assert preview_samples([file], {"both": event}, {"a": "true_a"}, QUICK) == expected


def test_prompts_with_fewer_samples_and_dropped_samples_are_as_if_the_others_were_alone(tmp_path) -> None:
    given = [row for number, row in enumerate(rows()) if number >= 7]  # the first prompt has 33 samples
    whole = preview_samples([written(tmp_path / "s.jsonl", given)], {"u": A & B}, settings=QUICK)
    assert (whole.prompts, whole.samples) == (5, 40)
    broken = [*given, {"prompt": "p2", "a": 9.0, "b": None}, {"prompt": "p3", "a": math.inf, "b": 9.0}]
    broken += [{"prompt": "p4", "b": 9.0}]
    file = written(tmp_path / "t.jsonl", broken)
    with pytest.raises(RewardError, match=r"2 of 'a', 1 of 'b'\. A missing score never counts as good"):
        preview_samples([file], {"u": A & B}, settings=QUICK)
    dropped = preview_samples([file], {"u": A & B}, settings=QUICK, missing="drop")
    for one, other in zip(whole.points, dropped.points, strict=True):
        assert one.measures == {name: pytest.approx(value) for name, value in other.measures.items()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ([], "no samples in"),
        ([{"prompt": "p", "a": 1.0}], "no row has a column 'b': there are a, prompt"),
        ([{"prompt": "p", "a": "high", "b": 1.0}], "row 1: 'a' takes one number per sample, got 'high'"),
        ([{"prompt": "p", "a": [1.0], "b": 1.0}], "takes one number per sample"),
        ([{"a": 1.0, "b": 1.0}], "row 1 has no 'prompt' that is text or messages: it has a, b"),
        ([{"prompt": "p", "a": 1.0, "b": 2.0}], "prompt 0 has 1 scored base samples"),
        ([{"prompt": "p", "a": 1.0, "b": 2.0}] * 40, "nothing to choose"),
        ([3], "is no object with columns but a int"),
    ],
)
def test_bad_rows_are_told(tmp_path, change, told: str) -> None:
    with pytest.raises(RewardError) as caught:
        preview_samples([written(tmp_path / "s.jsonl", change)], {"u": A & B}, settings=QUICK)
    assert told in str(caught.value)


def test_bad_references_judges_and_files_are_told(tmp_path) -> None:
    file = written(tmp_path / "s.jsonl", rows())
    with pytest.raises(RewardError, match="row 1 has no finite 'nowhere'"):
        preview_samples([file], {"u": Good("a", Column("nowhere"))}, settings=QUICK)
    with pytest.raises(RewardError, match="row 2: b differ between samples of one prompt"):
        preview_samples([file], {"u": Good("a", Column("b"))}, settings=QUICK)
    with pytest.raises(RewardError, match="no utility has a property 'b' to be judged: there are a"):
        preview_samples([file], {"u": A}, {"b": "true_a"}, QUICK)
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(RewardError, match="is no Parquet file"):
        preview_samples([tmp_path / "x.parquet"], {"u": A}, settings=QUICK)
    (tmp_path / "x.jsonl").write_text('{"a": ')
    with pytest.raises(RewardError, match="row 1 is no JSON"):
        preview_samples([tmp_path / "x.jsonl"], {"u": A}, settings=QUICK)
    with pytest.raises(ConfigurationError, match="greater than 0"):
        Preview(kl=(0,))


def test_the_command_tells_writes_and_refuses(tmp_path) -> None:
    file = written(tmp_path / "s.jsonl", rows())
    arguments = ["frontier", file, "--utility", "sum=raw(a) + raw(b)", "--utility", "a & b", "--kl", "0.5,1",
                 "--best-of", "2", "--judge", "a=true_a", "--accuracy", "a=71%"]  # fmt: skip
    told = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / "out")])
    assert told.exit_code == 0, told.output
    assert "an optimist's picture: b" in told.output
    assert "reward model a: right on 71.0% of pairs" in told.output
    assert "a & b  tilt  KL 0.50" in told.output
    found = json.loads((tmp_path / "out/frontier.json").read_text())
    assert found == json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).output)
    assert {point["utility"] for point in found["points"]} == {"sum", "a & b"}
    page = (tmp_path / "out/frontier.html").read_text()
    assert "<svg" in page
    assert "Gain over sum" in page
    for wrong, words in {
        ("--utility", "a & b"): "two utilities are called",
        ("--kl", "x"): "no list of numbers",
        ("--accuracy", "b=7"): "no share between 0 and 1",
        ("--judge", "a"): "is not NAME=VALUE",
    }.items():
        refused = CliRunner().invoke(cli, [*arguments, *wrong])
        assert refused.exit_code != 0
        assert words in refused.output
