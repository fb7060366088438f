"""Combining rewards: probabilities against enumeration, and what a missing score may never do."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from glasshouse.alignment.algebra import (
    AfterSum,
    And,
    Event,
    Good,
    Not,
    Or,
    Reward,
    Weighted,
    Worst,
    properties,
    total,
)
from glasshouse.alignment.combination import log_probabilities, references_from, utility
from glasshouse.alignment.transforms import LSC, Canned, Column, RewardError, ZScore
from glasshouse.store.configuration import canonical_json

A, B, C, D = (Good(name) for name in "abcd")
EVENTS: list[Event] = [
    A & B, A | B, ~A, ~(A & B), (A | B) & ~C, ~(A | ~B) | (C & D), And((A, B, C, D)), Or((A, B, C, D)),
    (A & ~B) | (C & ~D),
]  # fmt: skip


def scores(seed: int = 0, batch: int = 4, candidates: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, candidates, generator=generator, dtype=torch.float64) * 2 for name in "abcd"}


def happens(event: Event, outcome: dict[str, bool]) -> bool:
    match event:
        case Good(name):
            return outcome[name]
        case Not(part):
            return not happens(part, outcome)
        case And(parts):
            return all(happens(part, outcome) for part in parts)
        case Or(parts):
            return any(happens(part, outcome) for part in parts)
    raise AssertionError(event)


@pytest.mark.parametrize("event", EVENTS)
def test_probabilities_are_those_of_enumerating_all_outcomes(event: Event) -> None:
    given = scores()
    references = references_from(event, given)
    single = {
        name: 1 / (1 + np.exp(-(value - np.quantile(value, 0.85, axis=1, keepdims=True))))
        for name, value in ((name, value.numpy()) for name, value in given.items())
    }
    expected = np.zeros((4, 6))
    for bits in itertools.product([False, True], repeat=4):
        outcome = dict(zip("abcd", bits, strict=True))
        weight = np.prod([single[name] if bit else 1 - single[name] for name, bit in outcome.items()], axis=0)
        expected += weight * happens(event, outcome)
    yes, no = log_probabilities(event, given, references)
    np.testing.assert_allclose(yes.exp(), expected, atol=1e-12)
    np.testing.assert_allclose(no.exp(), 1 - expected, atol=1e-12)


def test_the_sum_of_lsc_utilities_is_the_log_probability_that_all_are_good() -> None:
    given = scores()
    summed = total(*(Reward(name, LSC) for name in "abc"))
    references = references_from(summed, given)
    torch.testing.assert_close(utility(summed, given, references), utility(And((A, B, C)), given, references))


def test_or_of_improbable_events_does_not_underflow() -> None:
    given = {name: torch.full((1, 2), -150.0) for name in "ab"}
    references = {f"{name}/quantile 0.85": torch.zeros(1) for name in "ab"}
    np.testing.assert_allclose(utility(A | B, given, references), -150 + math.log(2), atol=1e-4)


def test_sums_worst_and_after_the_sum() -> None:
    given = scores()
    a, b = given["a"], given["b"]
    plain = {"a": Reward("a"), "b": Reward("b")}
    torch.testing.assert_close(utility(total(*plain.values()), given, {}), a + b)
    torch.testing.assert_close(utility(Weighted(((0.3, plain["a"]), (-2.0, plain["b"]))), given, {}), 0.3 * a - 2 * b)
    torch.testing.assert_close(utility(Worst(tuple(plain.values())), given, {}), torch.minimum(a, b))
    after = AfterSum(("a", "b"))
    found = utility(after, given, references_from(after, given))
    cut = np.quantile((a + b).numpy(), 0.85, axis=1, keepdims=True)
    np.testing.assert_allclose(found, -np.log1p(np.exp(cut - (a + b).numpy())), atol=1e-12)


def test_a_canned_response_is_scored_once_per_prompt() -> None:
    asked = []

    def score_text(name: str, text: str) -> torch.Tensor:
        asked.append((name, text))
        return torch.arange(4.0, dtype=torch.float64)

    event = Good("a", Canned("No.")) & Good("b", Column("before"))
    references = references_from(event, scores(), {"before": torch.zeros(4, dtype=torch.float64)}, score_text)
    assert asked == [("a", "No.")]
    expected = torch.nn.functional.logsigmoid(scores()["a"] - torch.arange(4.0)[:, None])
    found = utility(event, scores(), references) - torch.nn.functional.logsigmoid(scores()["b"])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("expression", [A & B, A & ~B, A | B, total(Reward("a"), Reward("b")), Worst((A, B))])
def test_a_score_that_is_not_finite_raises_or_drops_and_never_counts_as_good(bad: float, expression) -> None:
    given = scores()
    references = references_from(expression, given)
    given["b"][2, 3] = bad
    with pytest.raises(RewardError, match="score 'b' of candidate 3 of prompt 2"):
        utility(expression, given, references)
    found = utility(expression, given, references, missing="drop")
    assert found[2, 3] == -math.inf
    assert int(found.isinf().sum()) == 1
    clean = utility(expression, scores(), references)
    assert torch.equal(found[found.isfinite()], clean[found.isfinite()])


def test_dropped_base_samples_do_not_move_a_reference() -> None:
    given = scores(candidates=21)
    kept = {name: value[:, :20] for name, value in given.items()}
    given["a"][:, 20] = math.inf
    with pytest.raises(RewardError, match="4 such scores"):
        references_from(A, given)
    torch.testing.assert_close(references_from(A, given, missing="drop"), references_from(A, kept))
    z = Reward("a", ZScore())
    torch.testing.assert_close(references_from(z, given, missing="drop"), references_from(z, kept))


def test_a_slope_passes_by_a_dropped_score() -> None:
    given = {name: value.requires_grad_() for name, value in scores().items()}
    references = {name: value.detach() for name, value in references_from(A & B, given).items()}
    hole = torch.zeros(4, 6, dtype=torch.bool)
    hole[0, 0] = True
    found = utility(A & B, {"a": given["a"], "b": given["b"].masked_fill(hole, math.nan)}, references, missing="drop")
    found[found.isfinite()].sum().backward()
    assert given["a"].grad is not None
    assert given["a"].grad.isfinite().all()
    assert given["a"].grad[0, 0] == 0


def test_what_is_missing_is_named() -> None:
    given = scores()
    with pytest.raises(RewardError, match=r"no scores 'z': got a, b, c, d"):
        utility(Reward("z"), given, {})
    with pytest.raises(RewardError, match=r"no scores 'a': got a"):
        utility(Reward("a"), {"a": None}, {})  # type: ignore[dict-item]
    with pytest.raises(RewardError, match=r"no reference 'a/quantile 0\.85'"):
        utility(A, given, {})
    with pytest.raises(RewardError, match="has shape"):
        utility(A, given, {"a/quantile 0.85": torch.zeros(3)})
    with pytest.raises(RewardError, match="no reference 'before'"):
        references_from(Good("a", Column("before")), given)
    with pytest.raises(RewardError, match="score_text"):
        references_from(Good("a", Canned("No.")), given)
    with pytest.raises(RewardError, match="differ in shape"):
        utility(A & B, given | {"b": torch.zeros(2, 2)}, {})
    with pytest.raises(RewardError, match="tensor of numbers"):
        utility(A, {"a": [[0.1, None]]}, {})  # type: ignore[dict-item]


def test_expressions_that_mean_nothing_are_refused() -> None:
    with pytest.raises(RewardError, match="stands twice"):
        _ = A & (B | A)
    with pytest.raises(RewardError, match="has no probability"):
        And((A, Reward("b")))  # type: ignore[arg-type]
    with pytest.raises(RewardError, match="no events"):
        Or(())
    with pytest.raises(RewardError, match="finite weights"):
        Weighted(((math.nan, A),))


def test_an_expression_can_be_a_steps_argument() -> None:
    event = (A & ~Good("b", Canned("No."))) | C
    assert properties(event) == ("a", "b", "c")
    assert '"text":"No."' in canonical_json(event)
    assert canonical_json(event) != canonical_json(A | C)
