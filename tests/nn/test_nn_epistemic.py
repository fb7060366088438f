"""Reward heads against the same networks written out one at a time."""

import pytest
import torch
from torch.nn import functional

from glasshouse.nn.epistemic import EnsembleHead, EpinetHead, EpistemicConfig, PointHead
from glasshouse.store.configuration import ConfigurationError


def one(network, particle, x):
    """A perceptron written out."""
    for weight, bias in zip(network.weights, network.biases, strict=False):
        x = functional.relu(x @ weight[particle] + bias[particle])
    return x @ network.weights[-1][particle]


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_particles_are_networks_of_their_own_with_a_prior_of_their_own():
    head, x = EnsembleHead(5, 3, (7, 6), prior_scale=2.0, seed=4), features(2, 4, 5)
    found = head(x)
    assert found.shape == (3, 2, 4)
    for particle in range(3):
        expected = one(head.learnt, particle, x) + 2.0 * one(head.prior, particle, x)
        assert torch.allclose(found[particle], expected[..., 0], atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=0.1)


def test_a_point_has_one_particle_and_no_prior():
    head, x = PointHead(5, (7,), seed=4), features(3, 5)
    assert torch.allclose(head(x), one(head.learnt, 0, x).T, atol=1e-6)
    assert all(parameter.requires_grad for parameter in head.parameters())


def test_an_epinet_is_its_equation():
    head, x = EpinetHead(5, 6, (7,), index_size=3, prior_scale=0.5, seed=4), features(4, 5)
    hidden = functional.relu(x @ head.base.weights[0][0] + head.base.biases[0][0])
    for particle, z in enumerate(head.indices):
        given = torch.cat((x, hidden, z.expand(4, 3)), -1)
        expected = one(head.base, 0, x)[:, 0] + (one(head.learnt, 0, given) + 0.5 * one(head.prior, 0, given)) @ z
        assert torch.allclose(head(x)[particle], expected, atol=1e-5)
    drawn = head.sample_indices(torch.Generator().manual_seed(1))
    assert drawn.shape == (6, 3)
    assert not torch.allclose(head(x, drawn), head(x))


def test_no_gradient_reaches_priors_nor_the_base_through_the_epinet():
    head, x = EpinetHead(5, 2, (7,), seed=4), features(4, 5).requires_grad_()
    (head(x) - head(x).mean(0)).pow(2).sum().backward()  # the base cancels out: only the epinet moves this
    assert float(head.base.weights[0].grad.abs().max()) < 1e-4 < float(head.learnt.weights[0].grad.abs().max())
    assert all(parameter.grad is None for parameter in head.prior.parameters())
    ensemble = EnsembleHead(5, 2, (7,), seed=4)
    ensemble(x).sum().backward()
    assert all(parameter.grad is None for parameter in ensemble.prior.parameters())


@pytest.mark.parametrize("kind", ["point", "ensemble", "epinet"])
def test_the_seed_alone_says_what_is_drawn(kind):
    config = EpistemicConfig(kind=kind, hidden=(6,), particles=2)
    torch.manual_seed(1)
    first = config.build(5, seed=3)(features(4, 5))
    torch.manual_seed(2)
    assert torch.equal(first, config.build(5, seed=3)(features(4, 5)))
    assert not torch.equal(first, config.build(5, seed=4)(features(4, 5)))


def test_other_features_and_shapes_that_cannot_be_are_told():
    with pytest.raises(ValueError, match="the head takes 5 features, got 4"):
        PointHead(5)(features(3, 4))
    with pytest.raises(ConfigurationError, match=r"EpistemicConfig.particles got 0"):
        EpistemicConfig(particles=0)
    with pytest.raises(ValueError, match="all of these should be at least 1"):
        PointHead(5, (0,))
