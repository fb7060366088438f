"""The tiled attention equals the plain form, in value and gradient, and runs only where it should."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.nn import transformer
from glasshouse.nn.attention import attend, tiles_are_faster
from glasshouse.nn.configuration import llama, olmo
from glasshouse.nn.fused import tiled_rotary_attention
from glasshouse.nn.loss import linear_cross_entropy
from glasshouse.nn.transformer import Transformer, rotary, rotate

torch.set_num_threads(1)


def inputs(length: int, size: int, precision: torch.dtype, heads: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(length)
    shape = (2, length, heads, size)
    return [torch.randn(shape, generator=generator).to(precision).transpose(1, 2).requires_grad_() for _ in range(4)]


@settings(max_examples=15, deadline=None)
@given(length=st.sampled_from([1, 2, 31, 127, 128, 129, 256, 300]), size=st.sampled_from([2, 16, 48]))
def test_tiles_equal_the_plain_form(length, size):
    angles = rotary(torch.arange(length)[None], size, 10_000.0)
    *parts, slope = inputs(length, size, torch.float32)
    query, key, value = parts
    plain = attend(rotate(query, angles), rotate(key, angles), value)
    tiled = tiled_rotary_attention(query, key, value, *angles)
    torch.testing.assert_close(tiled, plain, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(tiled, parts, slope), torch.autograd.grad(plain, parts, slope), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_in_bfloat16_the_error_is_no_larger_than_the_fused_kernels():
    angles = rotary(torch.arange(300)[None], 32, 10_000.0)
    *parts, slope = inputs(300, 32, torch.bfloat16)
    wide = [part.detach().float().requires_grad_() for part in parts]
    exact = attend(rotate(wide[0], angles), rotate(wide[1], angles), wide[2])
    exact_gradients = torch.autograd.grad(exact, wide, slope.float())

    def errors(out: torch.Tensor) -> list[float]:
        pairs = [(out, exact), *zip(torch.autograd.grad(out, parts, slope), exact_gradients, strict=True)]
        return [((ours.float() - theirs).norm() / theirs.norm()).item() for ours, theirs in pairs]

    fused = errors(attend(rotate(parts[0], angles), rotate(parts[1], angles), parts[2]))
    tiled = errors(tiled_rotary_attention(*parts, *angles))
    assert max(tiled) < 0.02
    assert all(ours < 2 * theirs for ours, theirs in zip(tiled, fused, strict=True))


def test_only_bfloat16_on_a_cpu_uses_tiles():
    cos = torch.zeros(1, 1, 8, 4)
    narrow = torch.zeros(2, 3, 8, 4, dtype=torch.bfloat16)
    assert tiles_are_faster(narrow, narrow, cos)
    assert not tiles_are_faster(narrow.float(), narrow.float(), cos)
    assert not tiles_are_faster(narrow, narrow[:, :1], cos)
    assert not tiles_are_faster(narrow, narrow, cos.expand(2, 1, 8, 4))
    assert not tiles_are_faster(narrow[:, :, :1], narrow[:, :, :1], cos)
    assert not tiles_are_faster(narrow.to("meta"), narrow.to("meta"), cos)


@pytest.mark.parametrize("clip", [None, 0.3])
def test_a_model_trains_alike_with_and_without_tiles(clip, monkeypatch):
    config = olmo("1B").but(vocabulary=97, width=64, layers=2, heads=2, feed_forward=128, context=200, clip_qkv=clip)
    tokens = torch.randint(97, (2, 201), generator=torch.Generator().manual_seed(1))

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        model = Transformer(config)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model(tokens[:, :-1], logits=False).hidden
            linear_cross_entropy(hidden, model.head_weight, tokens[:, 1:]).mean.backward()
        return hidden.float(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    calls = []
    monkeypatch.setattr(
        transformer,
        "tiled_rotary_attention",
        lambda *arguments: calls.append(1) or tiled_rotary_attention(*arguments),
    )
    tiled = run()
    assert len(calls) == 2
    monkeypatch.setattr(transformer, "tiles_are_faster", lambda *_: False)
    plain = run()
    for ours, theirs in zip(tiled, plain, strict=True):
        assert (ours - theirs).norm() / theirs.norm() < 0.02


def test_grouped_queries_still_run_in_bfloat16():
    config = llama().but(vocabulary=97, width=64, layers=1, heads=4, key_value_heads=2, feed_forward=64, context=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = Transformer(config)(torch.zeros(1, 16, dtype=torch.long)).logits
    assert logits.isfinite().all()


def packed(length: int, rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Segments of random lengths, other ones in every row, as a mask and as positions that begin anew."""
    generator = torch.Generator().manual_seed(seed)
    begins = (torch.rand(rows, length, generator=generator) < 0.02).int()
    begins[:, 0] = 1
    segments = begins.cumsum(1)
    mask = (segments[:, :, None] == segments[:, None, :]).tril()[:, None]
    places = torch.arange(length).expand(rows, -1)
    return mask, places - torch.where(begins.bool(), places, 0).cummax(1).values


@settings(max_examples=15, deadline=None)
@given(length=st.sampled_from([1, 2, 127, 128, 129, 300, 513]), seed=st.integers(0, 1000))
def test_tiles_of_packed_rows_equal_the_masked_form(length, seed):
    mask, positions = packed(length, 2, seed)
    angles = rotary(positions, 16, 10_000.0)
    *parts, slope = inputs(length, 16, torch.float32)
    plain = attend(rotate(parts[0], angles), rotate(parts[1], angles), parts[2], mask)
    tiled = tiled_rotary_attention(*parts, *angles, mask)
    torch.testing.assert_close(tiled, plain, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(tiled, parts, slope), torch.autograd.grad(plain, parts, slope), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_any_causal_mask_is_right_also_where_a_later_tile_looks_further_back():
    length = 400
    mask = torch.eye(length, dtype=torch.bool)[None, None].clone()
    mask[:, :, 300:, :5] = True  # the tile between sees none of these keys
    mask[:, :, 140:150, 120:140] = True
    angles = rotary(torch.arange(length)[None], 16, 10_000.0)
    *parts, slope = inputs(length, 16, torch.float32)
    plain = attend(rotate(parts[0], angles), rotate(parts[1], angles), parts[2], mask)
    tiled = tiled_rotary_attention(*parts, *angles, mask)
    torch.testing.assert_close(tiled, plain, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(tiled, parts, slope), torch.autograd.grad(plain, parts, slope), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_masks_that_look_ahead_are_left_to_the_general_kernel():
    query = torch.zeros(2, 3, 8, 4, dtype=torch.bfloat16)
    cos = rotary(torch.arange(8)[None], 4, 10_000.0).cos
    causal = torch.ones(2, 1, 8, 8, dtype=torch.bool).tril()
    assert tiles_are_faster(query, query, cos, causal)
    ahead = causal.clone()
    ahead[1, 0, 0, 7] = True
    assert not tiles_are_faster(query, query, cos, ahead)


def test_a_model_in_bfloat16_takes_packed_rows_within_one_percent():
    model = Transformer(olmo(depth=2).but(vocabulary=64))
    mask, positions = packed(200, 3, 5)
    tokens = torch.randint(0, 64, (3, 200), generator=torch.Generator().manual_seed(0))
    losses = []
    for narrow in (False, True):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow):
            hidden = model(tokens, mask=mask, positions=positions, logits=False).hidden
            losses.append(float(linear_cross_entropy(hidden, model.head_weight, tokens.roll(-1, 1)).mean))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
