"""Shapes, switches, initialisation and the key/value cache of the transformer."""

from __future__ import annotations

import math

import pytest
import torch

from glasshouse.nn.attention import attend
from glasshouse.nn.configuration import TransformerConfig, feed_forward_width, llama, olmo, olmo_1_7, olmo_2
from glasshouse.nn.transformer import KeyValueCache, Transformer
from glasshouse.store.configuration import ConfigurationError

torch.set_num_threads(1)

SMALL = olmo("7B").but(vocabulary=61, width=48, layers=3, heads=4, feed_forward=64, context=32)
VARIANTS = {
    "olmo": SMALL,
    "clipped": SMALL.but(clip_qkv=0.2, tied=True),
    "olmo 2": SMALL.but(norm="rms_norm", norm_placement="after", query_key_norm=True, initialization="normal"),
    "grouped": SMALL.but(norm="rms_norm", key_value_heads=2),
    "affine": SMALL.but(norm="affine_layer_norm"),
}


def tokens(batch: int = 2, length: int = 20) -> torch.Tensor:
    return torch.randint(61, (batch, length), generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (olmo("1B"), 1_176_764_416),
        (olmo("7B"), 6_888_095_744),
        (olmo("65B"), 65_332_576_256),
        (olmo_1_7(), 6_888_095_744),
        (llama("7B"), 6_738_415_616),
        (olmo_2("7B"), 7_298_617_344),
    ],
)
def test_published_parameter_counts(config, count):
    model = Transformer(config, device="meta")
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert all(parameter.is_meta for parameter in model.parameters())


def test_feed_forward_rule_and_depth_dial():
    assert feed_forward_width(4096) == 11_008
    config = olmo(depth=4).but(vocabulary=1000)
    assert (config.layers, config.width, config.heads, config.vocabulary, config.context) == (4, 128, 4, 1000, 256)
    for depth in (1, 3, 7):
        assert Transformer(olmo(depth=depth), device="meta")(torch.zeros(1, 4, dtype=torch.long, device="meta"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 50}, "width 50 is not a multiple of heads 4"),
        ({"width": 12}, "odd"),
        ({"key_value_heads": 3}, "heads 4 is not a multiple of key_value_heads 3"),
        ({"query_key_norm": True}, "norm with weights"),
        ({"norm": "batch_norm"}, "norm got 'batch_norm'"),
        ({"clip_qkv": -1.0}, "clip_qkv got -1.0"),
        ({"layers": 0}, "layers got 0"),
        ({"dropout": 0.1}, "no field 'dropout'"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ConfigurationError, match=message):
        SMALL.but(**change)


def test_unknown_sizes_are_refused():
    with pytest.raises(ConfigurationError, match="1B, 7B, 65B, 20M"):
        olmo("3B")
    with pytest.raises(ConfigurationError, match="either"):
        olmo("1B", depth=4)
    with pytest.raises(ConfigurationError, match="depth got 0"):
        olmo(depth=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_cache_gives_the_same_logits(name):
    model = Transformer(VARIANTS[name], seed=2).eval()
    batch = tokens()
    with torch.no_grad():
        whole = model(batch).logits
        cache = KeyValueCache(model.config, batch=2, capacity=20)
        pieces = [model(piece, cache=cache).logits for piece in batch.split([5, 1, 1, 6, 7], dim=1)]
    assert cache.length == 20
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match="cache holds 20"):
        model(batch[:, :1], cache=cache)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_future_is_not_seen(name):
    model = Transformer(VARIANTS[name]).eval()
    batch = tokens()
    changed = batch.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 61
    with torch.no_grad():
        before, after = model(batch).logits, model(changed).logits
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.equal(before[:, 12:], after[:, 12:])


def test_left_padding_with_mask_and_positions_changes_nothing():
    model = Transformer(SMALL).eval()
    batch = tokens(1, 9)
    padded = torch.cat((torch.zeros(1, 3, dtype=torch.long), batch), dim=1)
    mask = torch.ones(12, 12, dtype=torch.bool).tril()[None, None].clone()
    mask[..., :3] = False
    mask[..., torch.arange(12), torch.arange(12)] = True
    positions = (torch.arange(12) - 3).clamp(min=0)[None]
    with torch.no_grad():
        logits = model(padded, mask=mask, positions=positions).logits[:, 3:]
        torch.testing.assert_close(logits, model(batch).logits, rtol=0, atol=2e-5)


def test_hidden_states_of_every_layer():
    model = Transformer(SMALL).eval()
    out = model(tokens(), hidden_states=True, logits=False)
    assert out.logits is None
    assert len(out.layers) == 4
    assert torch.equal(out.layers[0], model.embedding(tokens()))
    assert torch.equal(model.final_norm(out.layers[-1]), out.hidden)
    assert torch.equal(out.hidden @ model.head_weight.T, model(tokens()).logits)
    assert model(tokens()).layers is None


def test_sequences_beyond_the_context_are_refused():
    model = Transformer(SMALL)
    with pytest.raises(ValueError, match="33 tokens exceed the model's context of 32"):
        model(tokens(1, 33))
    cache = KeyValueCache(SMALL, batch=1, capacity=64)
    model(tokens(1, 32), cache=cache)
    with pytest.raises(ValueError, match="33 tokens exceed"):
        model(tokens(1, 1), cache=cache)


def test_mitchell_initialisation_has_its_sigmas():
    config = olmo("7B").but(vocabulary=500, width=256, layers=3, heads=4, feed_forward=512)
    model = Transformer(config, seed=5)
    cut = 0.98658  # standard deviation of a unit normal cut at 3
    expected = {
        "embedding.weight": 1 / 16,
        "head.weight": 1 / 16,
        "blocks.2.attention.query.weight": 1 / 16,
        "blocks.2.feed_forward.gate.weight": 1 / 16,
        "blocks.0.attention.output.weight": 1 / math.sqrt(2 * 256),
        "blocks.2.attention.output.weight": 1 / math.sqrt(2 * 256 * 3),
        "blocks.2.feed_forward.down.weight": 1 / math.sqrt(2 * 512 * 3),
    }
    state = model.state_dict()
    for name, sigma in expected.items():
        assert state[name].std().item() == pytest.approx(sigma * cut, rel=0.02), name
        assert state[name].abs().max().item() <= 3 * sigma, name
    normal = Transformer(config.but(initialization="normal"))
    assert normal.blocks[2].attention.output.weight.std().item() == pytest.approx(0.02 * cut, rel=0.02)


def test_the_seed_decides_the_weights():
    first, again, other = (Transformer(SMALL, seed=seed).state_dict() for seed in (1, 1, 2))
    deeper = Transformer(SMALL.but(layers=4), seed=1).state_dict()
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert torch.equal(value, deeper[name])
        assert not torch.equal(value, other[name])
    late = Transformer(SMALL, device="meta").to_empty(device="cpu")
    late.initialize(1)
    assert all(torch.equal(value, late.state_dict()[name]) for name, value in first.items())


def test_attention_refuses_an_ambiguous_shape():
    query, key = torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 5, 4)
    with pytest.raises(ValueError, match="3 queries against 5 keys need a mask"):
        attend(query, key, key)


def test_bfloat16_autocast_stays_close_to_float32():
    model = Transformer(SMALL.but(context=64)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = model(tokens(2, 64)).logits
    wide = model(tokens(2, 64)).logits
    assert (narrow.float() - wide).abs().max() < 0.05 * wide.abs().max()
    assert isinstance(model.config, TransformerConfig)


@pytest.mark.parametrize(
    "config",
    [olmo("1B"), olmo("7B"), olmo("20M"), olmo(depth=3), olmo_2("1B"), llama("7B").but(key_value_heads=8)],
    ids=lambda config: f"{config.norm}-{config.width}-{config.layers}",
)
def test_the_configuration_counts_the_parameters(config: TransformerConfig) -> None:
    model = Transformer(config, device="meta")
    assert config.parameters == sum(parameter.numel() for parameter in model.parameters())
