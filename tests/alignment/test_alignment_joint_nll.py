"""Log-losses against google-deepmind/enn, and against products written out."""

import itertools
import math

import numpy as np
import pytest
import torch

from glasshouse.alignment.joint_nll import dyadic_nll, joint_nll, marginal_nll, preference_log_likelihoods

# Values of google-deepmind/enn 1eae1eb (enn/metrics, jax 0.10.2) for numpy's default_rng(0): logits normal(10, 200, 2),
# then labels integers(0, 2, (200, 1)). FIRST is how often its random keys draw the first anchor of each dyad.
JOINT, POLYADIC, MARGINAL = 7.4560748983888665, 4.32723331451416, 0.7150834383696361
FIRST = "6362646742424465574572547947267355343237584435636754755756152348677334442446576644657547253336364553"


def fixture():
    drawn = np.random.default_rng(0)
    logits, labels = drawn.normal(size=(10, 200, 2)), drawn.integers(0, 2, size=(200, 1))
    scores = torch.from_numpy(logits).log_softmax(-1)
    return scores.gather(-1, torch.from_numpy(labels).expand(10, 200, 1))[..., 0]


def test_the_losses_are_those_of_enn():
    likelihoods = fixture()
    first = torch.tensor([int(digit) for digit in FIRST])
    assert float(joint_nll(likelihoods)) == pytest.approx(JOINT, abs=1e-7)
    assert float(marginal_nll(likelihoods)) == pytest.approx(MARGINAL, abs=1e-7)
    assert float(dyadic_nll(likelihoods, first_anchor=first)) == pytest.approx(POLYADIC, abs=2e-6)


def test_the_dyadic_loss_is_the_mean_over_every_sequence_of_draws():
    likelihoods, tau = fixture()[:3, :4], 5
    p = likelihoods.exp()
    losses = []
    for dyad in range(2):
        for drawn in itertools.product((0, 1), repeat=tau):
            product = math.prod(p[:, 2 * dyad + anchor] for anchor in drawn)
            losses.append(-math.log(product.mean()))
    assert float(dyadic_nll(likelihoods, tau)) == pytest.approx(np.mean(losses), abs=1e-12)


def test_one_particle_knows_no_more_jointly_than_one_by_one():
    likelihoods = fixture()[:1]
    assert float(joint_nll(likelihoods, 10)) == pytest.approx(10 * float(marginal_nll(likelihoods)))
    assert float(dyadic_nll(likelihoods, 10)) == pytest.approx(10 * float(marginal_nll(likelihoods)))


def test_likelihoods_are_finite_where_probabilities_are_not():
    rewards = torch.tensor([[[200.0, 0.0], [0.0, 200.0]]])
    assert preference_log_likelihoods(rewards).tolist() == [[0.0, -200.0]]
    assert preference_log_likelihoods(rewards, torch.tensor([1.0, 0.0])).tolist() == [[0.0, 0.0]]
    assert float(dyadic_nll(preference_log_likelihoods(rewards))) == pytest.approx(1000)


def test_labels_between_the_two_give_the_expected_likelihood():
    rewards, q = torch.randn(4, 7, 2, generator=torch.Generator().manual_seed(0)), torch.linspace(0, 1, 7)
    p = torch.sigmoid(rewards[..., 0] - rewards[..., 1])
    expected = q * p.log() + (1 - q) * (1 - p).log()
    assert torch.allclose(preference_log_likelihoods(rewards, q), expected, atol=1e-6)


@pytest.mark.parametrize("measure", [marginal_nll, joint_nll, dyadic_nll])
def test_too_few_rows_are_told(measure):
    with pytest.raises(ValueError, match=r"at least \d+ rows, got \(3, 0\)"):
        measure(torch.zeros(3, 0))


def test_draws_that_cannot_be_are_told():
    with pytest.raises(ValueError, match="from 0 to 10 for each of 100 dyads"):
        dyadic_nll(fixture(), first_anchor=torch.full((100,), 11))
