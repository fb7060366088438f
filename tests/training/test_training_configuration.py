"""What a training configuration refuses."""

import pytest

from glasshouse.store.configuration import ConfigurationError, fingerprint
from glasshouse.training.configuration import BatchStage, Training


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "exactly one of steps, examples or tokens"),
        ({"steps": 3, "tokens": 5}, "exactly one of steps, examples or tokens"),
        ({"steps": 3, "learning_rat": 1e-3}, "no field 'learning_rat'"),
        ({"steps": 3, "learning_rate": 0}, "learning_rate"),
        ({"steps": 3, "batch_size": 10, "micro_batch_size": 4}, "10 is not divisible by micro_batch_size 4"),
        ({"steps": 3, "batch_size": 4, "micro_batch_size": 8}, "not divisible"),
        ({"steps": 3, "betas": (0.9, 1.0)}, "betas"),
        ({"steps": 3, "warmup": 1.5}, "warmup"),
        ({"steps": 3, "precision": "fp16"}, "precision"),
        ({"steps": 3, "schedule": "sawtooth"}, "schedule"),
        ({"steps": 0}, "steps"),
        ({"steps": 3, "keep": 0}, "keep"),
        ({"steps": 3, "outliers": {"sigmas": -1}}, "outliers"),
        ({"steps": 3, "outliers": {"window": 19}}, "outliers"),
        ({"steps": 3, "early_clip_norm": 10.0, "clip_norm": None}, "early_clip_norm loosens clip_norm"),
        ({"steps": 3, "decay_fraction": 0.5, "schedule": "cosine"}, "wsd only, the schedule is cosine"),
        ({"steps": 3, "batch_warmup": [{"batch_size": 64, "steps": 2}]}, r"grow up to batch_size, got \[64, 32\]"),
        ({"steps": 3, "batch_warmup": [{"batch_size": 32, "steps": 2}]}, r"grow up to batch_size, got \[32, 32\]"),
        ({"steps": 3, "batch_warmup": [{"batch_size": 8}]}, "exactly one of steps, examples or tokens sets how long"),
        (
            {"steps": 3, "batch_warmup": [{"batch_size": 6, "steps": 2}], "micro_batch_size": 4},
            "batch_size 6 is not divisible by micro_batch_size 4",
        ),
        ({"steps": 3, "batch_warmup": [{"batch_size": 6, "steps": 2}]}, "batch_size 32 is not divisible by .* 6"),
        ({"steps": 3, "learning_rate_scales": {"a": -1.0}}, "learning_rate_scales"),
    ],
)
def test_refused(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        Training(**fields)


def test_budgets():
    assert Training(steps=7).total_steps() == 7
    assert Training(examples=100, batch_size=32).total_steps() == 4
    assert Training(tokens=2 * 10**12, batch_size=2048, warmup=5000).total_steps(2048) == 476_838
    with pytest.raises(ConfigurationError, match="tokens_per_row"):
        Training(tokens=100).total_steps()
    with pytest.raises(ConfigurationError, match="do not fit"):
        Training(steps=10, warmup=8, anneal_steps=5).total_steps()


def test_budgets_while_the_batch_grows():
    """OLMo-65B: 1024, 2048, 4096 rows of 2048 tokens for 100B tokens each, then 8192 (arXiv 2402.00838v1, 3.1)."""
    stages = [BatchStage(batch_size=size, tokens=10**11) for size in (1024, 2048, 4096)]
    training = Training(tokens=2 * 10**12, batch_size=8192, batch_warmup=stages, warmup=5000)
    lasts = [-(-(10**11) // (size * 2048)) for size in (1024, 2048, 4096)]  # 47684, 23842, 11921 updates
    rows = sum(size * steps for size, steps in zip((1024, 2048, 4096), lasts, strict=True))
    rest = -(-(2 * 10**12 // 2048 - rows) // 8192)
    assert training.total_steps(2048) == sum(lasts) + rest
    plan = training.batch_plan(2048)
    assert plan.stages == ((1, 1024), (47_685, 2048), (71_527, 4096), (83_448, 8192))
    total = training.total_steps(2048)
    assert plan.seen(total - 1) * 2048 < 2 * 10**12 <= plan.seen(total) * 2048
    assert training.micro_batch == 1024
    short = Training(examples=20, batch_size=8, batch_warmup=[BatchStage(batch_size=4, steps=100)])
    assert short.total_steps() == 5
    with pytest.raises(ConfigurationError, match=r"BatchStage.tokens needs data with a `tokens_per_row`"):
        Training(steps=9, batch_warmup=[BatchStage(batch_size=4, tokens=100)]).batch_plan()


def test_warmup_is_a_fraction_below_one_and_steps_above():
    assert Training(steps=200, warmup=0.03).warmup_steps(200) == 6
    assert Training(steps=200, warmup=1).warmup_steps(200) == 1
    assert Training(steps=200, warmup=50).warmup_steps(200) == 50


def test_equal_configurations_have_equal_fingerprints():
    assert fingerprint(Training(steps=3)) == fingerprint(Training(steps=3, seed=6198))
    assert fingerprint(Training(steps=3)) != fingerprint(Training(steps=4))
