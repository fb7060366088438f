"""The Bradley-Terry loss against its formula in numpy, and what fitting it comes to."""

import numpy as np
import pytest
import torch

from glasshouse.alignment.bradley_terry import RewardModelling, bradley_terry_loss, quality
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.training.configuration import Training
from glasshouse.training.data import DataError, TensorRows
from glasshouse.training.objective import Objective, Step
from glasshouse.training.trainer import train

STEP = Step(1, 1, 0, torch.Generator())
RUN = Training(
    steps=200, batch_size=32, learning_rate=1e-2, weight_decay=0.0, clip_norm=None, precision="fp32", compile=False
)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear_pairs(rows=256, seed=0):
    """Pairs of a reward that is linear in the features, labelled without noise."""
    features = numbers(rows, 2, 4, seed=seed)
    better = features @ torch.tensor([1.0, -2.0, 0.5, 0.0])
    swap = better[:, 0] < better[:, 1]
    return TensorRows({"features": torch.where(swap[:, None, None], features.flip(1), features)})


def test_the_loss_is_its_formula_with_margin_and_centring():
    chosen, rejected, margin = numbers(9, seed=1) * 5, numbers(9, seed=2) * 5, numbers(9, seed=3).abs()
    a, b, m = (part.double().numpy() for part in (chosen, rejected, margin))
    plain = np.mean(np.log1p(np.exp(-(a - b))))
    full = np.mean(np.log1p(np.exp(-(a - b - m)))) + 0.01 * np.mean((a + b) ** 2)
    assert float(bradley_terry_loss(chosen, rejected)) == pytest.approx(plain, rel=1e-6)
    assert float(bradley_terry_loss(chosen, rejected, margin=margin, centring=0.01)) == pytest.approx(full, rel=1e-6)
    particles = bradley_terry_loss(torch.stack((chosen, rejected)), torch.stack((rejected, chosen)))
    swapped = np.mean(np.log1p(np.exp(a - b)))
    assert float(particles) == pytest.approx((plain + swapped) / 2, rel=1e-6)


def test_labels_of_the_first_are_the_same_as_chosen_and_rejected():
    head = EpistemicConfig(kind="ensemble", hidden=(8,), particles=3).build(4)
    features, first = numbers(6, 2, 4), torch.tensor([1.0, 0, 0, 1, 0, 1])
    ordered = torch.where(first[:, None, None] > 0, features, features.flip(1))
    objective = RewardModelling(head, centring=0.01)
    with torch.no_grad():
        labelled = objective.loss({"features": features, "first_preferred": first}, STEP)
        sorted_ = objective.loss({"features": ordered}, STEP)
    assert float(labelled.value) == pytest.approx(float(sorted_.value), rel=1e-6)
    assert {name: float(value) for name, value in labelled.metrics.items()} == pytest.approx(
        {name: float(value) for name, value in sorted_.metrics.items()}, rel=1e-5
    )


@pytest.mark.parametrize("kind", ["point", "ensemble", "epinet"])
def test_the_penalty_pulls_a_point_to_zero_and_particles_to_where_they_began(kind):
    head = EpistemicConfig(kind=kind, hidden=(8,), particles=3).build(4)
    objective = RewardModelling(head, penalty=2.0, pairs=10)
    batch, learnt = {"features": numbers(6, 2, 4)}, [p for p in head.parameters() if p.requires_grad]

    def penalty():
        generators = [torch.Generator().manual_seed(1) for _ in range(2)]
        plain = RewardModelling(head).loss(batch, Step(1, 1, 0, generators[0])).value
        return float((objective.loss(batch, Step(1, 1, 0, generators[1])).value - plain).detach())

    norm = sum(float(p.detach().pow(2).sum()) for p in learnt)
    assert penalty() == pytest.approx(0.2 * norm if kind == "point" else 0.0, rel=1e-4, abs=1e-6)
    with torch.no_grad():
        learnt[0].add_(0.5)
    moved = sum(float(p.detach().pow(2).sum()) for p in learnt) if kind == "point" else 0.25 * learnt[0].numel()
    assert penalty() == pytest.approx(0.2 * moved, rel=1e-4)


@pytest.mark.parametrize("kind", ["point", "ensemble", "epinet"])
def test_every_head_learns_a_linear_reward_and_prior_networks_stay(kind, tmp_path):
    rows, held_out = linear_pairs(), linear_pairs(seed=1)
    head = EpistemicConfig(kind=kind, hidden=(16,), particles=4).build(4)
    priors = {name: value.clone() for name, value in head.state_dict().items() if name.startswith("prior")}
    objective = RewardModelling(head, validation=held_out)
    assert isinstance(objective, Objective)
    before = quality(objective.rewards, held_out, torch.device("cpu"))
    train(objective, rows, RUN, tmp_path / "run")
    after = objective.validate()
    assert before["accuracy"] < 0.85
    assert after["accuracy"] > 0.93
    assert after["marginal_nll"] < 0.25
    assert all(torch.equal(head.state_dict()[name], value) for name, value in priors.items())


def test_particles_without_a_pull_agree_on_what_the_data_says_and_differ_elsewhere(tmp_path):
    head = EpistemicConfig(kind="ensemble", hidden=(16,), particles=8, prior_scale=3.0).build(4)
    features = linear_pairs().tensors["features"].clone()
    features[..., 3] = 0.0
    train(RewardModelling(head), TensorRows({"features": features}), RUN, tmp_path / "run")

    def disagreement(at):
        probability = torch.sigmoid(head(at)[..., 0] - head(at)[..., 1])
        return float(probability.std(0).mean())

    unseen = torch.zeros(64, 2, 4)
    unseen[..., 3] = numbers(64, 2, seed=5) * 2
    with torch.no_grad():
        assert disagreement(unseen) > 2 * disagreement(features)


def test_what_cannot_be_fitted_is_told():
    head = EpistemicConfig(kind="point", hidden=(4,)).build(4)
    with pytest.raises(DataError, match="say how many `pairs` there are"):
        RewardModelling(head, penalty=1.0)
    with pytest.raises(DataError, match="Linear is no reward head"):
        RewardModelling(torch.nn.Linear(3, 1))
    both = {"features": numbers(2, 2, 4), "margin": torch.ones(2), "first_preferred": torch.ones(2)}
    with pytest.raises(DataError, match="cannot stand beside first_preferred"):
        RewardModelling(head).loss(both, STEP)
