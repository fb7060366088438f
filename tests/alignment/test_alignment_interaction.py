"""The interaction against a plain loop of its own, and after being killed at any epoch."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from glasshouse.alignment.exact_agent import LaplaceAgent
from glasshouse.alignment.exploration import Rule, double_ts
from glasshouse.alignment.interaction import Assessment, Curve, Interaction, interact
from glasshouse.alignment.laplace import fit_bradley_terry
from glasshouse.alignment.ledger import Ledger, LedgerError
from glasshouse.alignment.saved_interaction import Saved, SavedInteractionError
from glasshouse.alignment.worlds.linear import Linear
from glasshouse.alignment.worlds.modes import Modes
from glasshouse.store.configuration import named_seed

SHORT = Interaction(epochs=6, prompts=8, candidates=10, assessed_prompts=50, save_every=2, seed=3)


def run(directory: Path | None = None, settings: Interaction = SHORT, rule: Rule | None = None, **options) -> Curve:
    world = Linear(settings.seed)
    return interact(world, LaplaceAgent(world.precision), rule or Rule(), settings, directory, **options)


def test_it_is_the_loop_of_the_paper(tmp_path):
    """Written out for double Thompson sampling without buffer, ledger or agent."""
    curve, world = run(tmp_path), Linear(3)

    def generator(*use: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(named_seed(3, *use))

    differences, answers = torch.zeros(0, world.features), torch.zeros(0)
    posterior = fit_bradley_terry(differences, answers, world.precision)
    held_out = world.draw(50, 11, generator("assessment"))
    rates = []
    for epoch in range(1, 7):
        drawn = world.draw(8, 10, generator("candidates", epoch))
        weights = posterior.sample(30, generator("particles", epoch)).float()
        choice = double_ts(torch.einsum("bnd,sd->sbn", drawn.features, weights), generator("rule", epoch))
        rows = torch.arange(8)
        gap = drawn.rewards[rows, choice.first] - drawn.rewards[rows, choice.second]
        bits = torch.rand(8, generator=generator("answers", 8 * (epoch - 1))) < torch.sigmoid(gap)
        new = drawn.features[rows, choice.first] - drawn.features[rows, choice.second]
        differences, answers = torch.cat([differences, new]), torch.cat([answers, bits.float()])
        posterior = fit_bradley_terry(differences, answers, world.precision, 4, posterior.mean)
        best = (held_out.features[:, :10] @ posterior.mean.float()).argmax(-1)
        won = torch.sigmoid(held_out.rewards[torch.arange(50), best] - held_out.rewards[:, 10])
        rates.append(won.mean().item())
    assert curve.win_rate[1:] == pytest.approx(rates, abs=1e-6)
    assert curve.queries == [0, 8, 16, 24, 32, 40, 48]
    assert [query.answer for query in Ledger(tmp_path / "queries.jsonl")] == answers.tolist()
    assert curve.oracle > max(rates)


@pytest.mark.parametrize("name", ["passive", "boltzmann", "infomax", "double_ts", "bai_ts"])
def test_every_query_says_what_who_and_why(tmp_path, name):
    run(tmp_path, rule=Rule(name=name))
    queries = list(Ledger(tmp_path / "queries.jsonl"))
    assert [query.prompt_id for query in queries] == [f"{epoch}/{row}" for epoch in range(1, 7) for row in range(8)]
    assert {(query.rule, query.seed, query.answered_by) for query in queries} == {(name, 3, "Linear reward")}
    assert all(query.first != query.second for query in queries)
    assert all({"first_preferred", "variance", "first_best", "second_best"} <= set(query.why) for query in queries)


def _killed(directory: Path, epoch: int, *, before_saving: bool) -> None:
    done = 0

    def kill(count: int) -> None:
        nonlocal done
        done += count
        if done == epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    if before_saving:
        Saved.save = lambda self, agent, buffer, rates: kill(SHORT.save_every)  # type: ignore[method-assign]
        run(directory)
    run(directory, advance=kill)


@pytest.mark.parametrize(
    ("epoch", "before_saving"), [*((epoch, False) for epoch in range(1, 7)), *((epoch, True) for epoch in (2, 4, 6))]
)
def test_killed_at_any_epoch_it_goes_on_to_the_same_bits(tmp_path, epoch, before_saving):
    whole = run(tmp_path / "whole")
    there = tmp_path / "killed"
    process = multiprocessing.get_context("fork").Process(
        target=_killed, args=(there, epoch), kwargs={"before_saving": before_saving}
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    ledger = there / "queries.jsonl"
    if before_saving or epoch % SHORT.save_every:
        ledger.write_bytes(ledger.read_bytes()[:-17])  # the last line did not reach the disk whole
    counted: list[int] = []
    assert run(there, advance=counted.append) == whole
    assert sum(counted) == SHORT.epochs
    assert ledger.read_bytes() == (tmp_path / "whole" / "queries.jsonl").read_bytes()
    assert run(there) == whole == run()


def test_rules_meet_the_same_candidates(tmp_path):
    for name in ("passive", "infomax"):
        run(tmp_path / name, rule=Rule(name=name))
    seen = [
        {query.prompt_id: {query.first, query.second} for query in Ledger(tmp_path / name / "queries.jsonl")}
        for name in ("passive", "infomax")
    ]
    drawn = Linear(3).draw(8, 10, torch.Generator().manual_seed(named_seed(3, "candidates", 4)))
    for row in range(8):
        there = {drawn.text(row, candidate) for candidate in range(10)}
        assert all(asked[f"4/{row}"] <= there for asked in seen)


def test_a_directory_belongs_to_one_run(tmp_path):
    run(tmp_path)
    with pytest.raises(SavedInteractionError, match="belongs to another run"):
        run(tmp_path, rule=Rule(name="passive"))
    (tmp_path / "state.safetensors").unlink()
    with pytest.raises(LedgerError, match="is not the one asked now"):
        run(tmp_path, rule=Rule(name="passive"))
    (tmp_path / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(SavedInteractionError, match="cannot be read"):
        run(tmp_path)


def test_a_full_buffer_forgets():
    forgetful = run(settings=SHORT.but(capacity=16))
    assert forgetful.win_rate[:3] == run().win_rate[:3]
    assert forgetful.win_rate[3:] != run().win_rate[3:]


def test_the_assessment_is_that_of_the_simulator():
    world = Modes(0)
    assessment = Assessment(world, Interaction(assessed_prompts=2000, candidates=50))
    weights = torch.cat([world.level[:, None], world.slope], dim=-1).flatten()
    assert assessment.win_rate(lambda features: features @ weights) == pytest.approx(assessment.oracle, abs=1e-6)
    nothing = assessment.win_rate(lambda features: torch.zeros(features.shape[:-1]))
    assert abs(nothing - 0.5) < 0.02  # one plain sample against another
    assert 0.8 < assessment.oracle < 0.95


def test_queries_to_a_share_of_the_oracle():
    curve = Curve([0, 10, 20, 30], [0.5, 0.6, 0.8, 0.7], oracle=0.9)
    assert curve.mean == pytest.approx(0.7)
    assert (curve.queries_to(0.2), curve.queries_to(0.75), curve.queries_to(0.9)) == (10, 20, None)
