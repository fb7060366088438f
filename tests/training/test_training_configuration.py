"""What a training configuration refuses."""

import pytest

from glasshouse.store.configuration import ConfigurationError, fingerprint
from glasshouse.training.configuration import Training


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
        ({"steps": 3, "spike": {"sigmas": -1}}, "spike"),
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


def test_warmup_is_a_fraction_below_one_and_steps_above():
    assert Training(steps=200, warmup=0.03).warmup_steps(200) == 6
    assert Training(steps=200, warmup=1).warmup_steps(200) == 1
    assert Training(steps=200, warmup=50).warmup_steps(200) == 50


def test_equal_configurations_have_equal_fingerprints():
    assert fingerprint(Training(steps=3)) == fingerprint(Training(steps=3, seed=6198))
    assert fingerprint(Training(steps=3)) != fingerprint(Training(steps=4))
