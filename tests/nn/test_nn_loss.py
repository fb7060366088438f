"""The loss against brute force, in float32 whatever the precision of the model."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.nn.loss import IGNORE, cross_entropy, linear_cross_entropy, token_losses

torch.set_num_threads(1)


def case(rows: int = 37, width: int = 16, vocabulary: int = 50, seed: int = 0, ignored: float = 0.2):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=generator)
    weight = torch.randn(vocabulary, width, generator=generator)
    targets = torch.randint(vocabulary, (rows,), generator=generator)
    targets[torch.rand(rows, generator=generator) < ignored] = IGNORE
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def brute_force(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, z_loss: float) -> float:
    total = 0.0
    for row, target in zip((hidden.double() @ weight.double().T).tolist(), targets.tolist(), strict=True):
        if target != IGNORE:
            z = math.log(sum(math.exp(value) for value in row))
            total += z - row[target] + z_loss * z * z
    return total


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 40),
    chunk=st.integers(1, 50),
    z_loss=st.sampled_from([0.0, 1e-4, 0.1]),
    ignored=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
def test_chunked_loss_and_gradients_equal_the_plain_form(rows, chunk, z_loss, ignored, seed):
    hidden, weight, targets = case(rows, seed=seed, ignored=ignored)
    chunked = linear_cross_entropy(hidden, weight, targets, z_loss=z_loss, chunk=chunk)
    (chunked.mean * 3).backward()
    gradients = hidden.grad.clone(), weight.grad.clone()
    hidden.grad = weight.grad = None
    plain = cross_entropy(hidden @ weight.T, targets, z_loss=z_loss)
    (plain.mean * 3).backward()
    assert chunked.total.item() == pytest.approx(brute_force(hidden, weight, targets, z_loss), rel=1e-5)
    for ours, theirs in zip(chunked, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients[0], hidden.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradients[1], weight.grad, rtol=1e-4, atol=1e-6)
    assert chunked.counted == (targets != IGNORE).sum()


def test_bfloat16_still_gives_an_exact_float32_loss():
    """PyTorch 2.13's own fused loss answers 9.25 or 11.0 where the answer is 10.919."""
    vocabulary = 50_304
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(64, 32, generator=generator).mul(0.1).requires_grad_()
    weight = torch.randn(vocabulary, 32, generator=generator).requires_grad_()
    targets = torch.randint(vocabulary, (64,), generator=generator)
    exact = cross_entropy(hidden.double().float() @ weight.T, targets).mean.item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for loss in (
            linear_cross_entropy(hidden, weight, targets, chunk=10),
            cross_entropy(torch.nn.functional.linear(hidden, weight), targets),
        ):
            assert loss.total.dtype == loss.tokens.dtype == torch.float32
            assert loss.mean.item() == pytest.approx(exact, rel=3e-4)
            assert loss.mean.item() != float(torch.tensor(exact).bfloat16())
    pure = linear_cross_entropy(hidden.bfloat16(), weight.bfloat16(), targets)
    assert pure.total.dtype == torch.float32
    assert pure.mean.item() == pytest.approx(exact, rel=3e-4)


def test_gradients_keep_the_precision_of_their_tensors():
    hidden, weight, targets = case()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        linear_cross_entropy(hidden, weight, targets).mean.backward()
    assert hidden.grad.dtype == weight.grad.dtype == torch.float32
    frozen = weight.detach()
    linear_cross_entropy(hidden, frozen, targets).mean.backward()
    assert frozen.grad is None
    with torch.no_grad():
        assert not linear_cross_entropy(hidden, weight, targets).total.requires_grad


def test_token_losses_are_differentiable_log_probabilities():
    hidden, weight, targets = case(12)
    logits = (hidden @ weight.T).view(3, 4, -1)
    losses = token_losses(logits, targets.view(3, 4))
    assert losses.shape == (3, 4)
    expected = -logits.log_softmax(-1).gather(-1, targets.view(3, 4, 1).clamp(min=0))[..., 0]
    torch.testing.assert_close(losses, expected * (targets != IGNORE).view(3, 4))
    losses[1].sum().backward()
    assert hidden.grad[:4].abs().sum() == 0


def test_nothing_to_count_is_zero_not_nan():
    hidden, weight, targets = case(5, ignored=1.0)
    for loss in (linear_cross_entropy(hidden, weight, targets), cross_entropy(hidden @ weight.T, targets)):
        assert loss.mean.item() == 0
        loss.mean.backward()
    assert hidden.grad.abs().sum() == 0


@pytest.mark.parametrize("wrong", [50, -1])
def test_targets_outside_the_vocabulary_are_refused(wrong):
    hidden, weight, targets = case()
    targets[3] = wrong
    with pytest.raises(ValueError, match=f"target {wrong} is outside the vocabulary of 50"):
        linear_cross_entropy(hidden, weight, targets)
    with pytest.raises(ValueError, match=f"target {wrong} "):
        cross_entropy(hidden @ weight.T, targets)
    with pytest.raises(ValueError, match="chunk got 0"):
        linear_cross_entropy(hidden, weight, targets.clamp(0, 49), chunk=0)
