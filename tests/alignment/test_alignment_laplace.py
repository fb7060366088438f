"""The Laplace posterior against a general optimiser, numerical derivatives and the law of its own samples."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from glasshouse.alignment.laplace import fit_bradley_terry, penalised_loss


def drawn(queries: int, features: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    differences = torch.randn(queries, features, generator=generator, dtype=torch.float64)
    weights = 2 * torch.randn(features, generator=generator, dtype=torch.float64)
    chance = torch.sigmoid(differences @ weights)
    return differences, (torch.rand(queries, generator=generator, dtype=torch.float64) < chance).double()


def test_the_mean_is_that_of_scikit_learn():
    differences, answers = drawn(300, 5)
    found = fit_bradley_terry(differences, answers, 0.5).mean
    peer = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-12, max_iter=1000).fit(differences, answers)
    assert np.allclose(found, peer.coef_[0], atol=1e-5)


def test_probabilities_as_answers_and_a_precision_for_every_feature():
    differences, _ = drawn(80, 4)
    answers = torch.rand(80, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    precision = torch.tensor([0.1, 1.0, 5.0, 20.0], dtype=torch.float64)
    found = fit_bradley_terry(differences, answers, precision).mean
    weights = found.clone().requires_grad_()
    chance = torch.sigmoid(differences @ weights)
    entropy = torch.nn.functional.binary_cross_entropy(chance, answers, reduction="sum")
    loss = entropy + (precision * weights.square()).sum() / 2
    (slope,) = torch.autograd.grad(loss, weights)  # the loss is strictly convex: only its lowest point is flat
    assert slope.abs().max() < 1e-7
    assert abs(penalised_loss(differences, answers, precision, found) - loss.item()) < 1e-9


def test_the_precision_is_the_second_derivative_of_the_loss():
    differences, answers = drawn(50, 3)
    found = fit_bradley_terry(differences, answers, 1.0)

    def loss(weights: torch.Tensor) -> torch.Tensor:
        margins = differences @ weights
        return -torch.where(answers > 0, margins.sigmoid(), (-margins).sigmoid()).log().sum() + weights @ weights / 2

    wanted = torch.autograd.functional.hessian(loss, found.mean)
    torch.testing.assert_close(found.cholesky @ found.cholesky.T, wanted)
    torch.testing.assert_close(found.covariance, torch.linalg.inv(wanted))


def test_samples_have_the_mean_and_the_covariance():
    found = fit_bradley_terry(*drawn(40, 3), 1.0)
    samples = found.sample(200_000, torch.Generator().manual_seed(0))
    assert samples.shape == (200_000, 3)
    torch.testing.assert_close(samples.mean(0), found.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(samples.T.cov(), found.covariance, atol=0.01, rtol=0.02)
    again = found.sample(200_000, torch.Generator().manual_seed(0))
    assert torch.equal(samples, again)


def test_without_queries_it_is_the_prior():
    found = fit_bradley_terry(torch.zeros(0, 2), torch.zeros(0), torch.tensor([4.0, 9.0]))
    assert found.mean.tolist() == [0, 0]
    torch.testing.assert_close(found.covariance, torch.diag(torch.tensor([1 / 4, 1 / 9], dtype=torch.float64)))


def test_a_far_start_still_converges():
    differences, answers = drawn(200, 3)
    far = torch.tensor([80.0, -60.0, 90.0], dtype=torch.float64)  # plain Newton steps run away from here
    near, found = fit_bradley_terry(differences, answers, 0.01), fit_bradley_terry(differences, answers, 0.01, 60, far)
    torch.testing.assert_close(found.mean, near.mean, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": 0.0}, "has to be positive"),
        ({"first_preferred": torch.zeros(3)}, "2 queries need as many answers"),
        ({"first_preferred": torch.tensor([0.0, 2.0])}, "lie in"),
        ({"differences": torch.tensor([[1.0], [float("nan")]])}, "differences holds a value that is not finite"),
        ({"start": torch.zeros(4)}, "start has the shape"),
    ],
)
def test_what_cannot_be_fitted_is_refused(changes, message):
    given = {"differences": torch.ones(2, 1), "first_preferred": torch.zeros(2), "precision": 1.0} | changes
    with pytest.raises(ValueError, match=message):
        fit_bradley_terry(**given)
