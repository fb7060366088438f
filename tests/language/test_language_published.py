"""The published trainings against the papers' and the released configurations' numbers."""

import pytest

from glasshouse.language.published import OLMO_2_Z_LOSS, olmo_2_training, olmo_training
from glasshouse.nn.configuration import olmo, olmo_2
from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.configuration import Training
from glasshouse.training.identity import rate_schedule
from glasshouse.training.schedules import clip_norm_at, learning_rate


def rate(training: Training, context: int, step: int) -> float:
    steps = training.total_steps(context)
    return learning_rate(
        step, peak=training.learning_rate, steps=steps, warmup=training.warmup_steps(steps),
        schedule=training.schedule, final=training.final_fraction,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("step", "expected"), [(1, 3.0054e-5), (2500, 1.65e-4), (5000, 3e-4), (240_919, 1.65e-4), (476_838, 3e-5)]
)
def test_the_learning_rates_of_olmo_7b(step, expected):
    training = olmo_training("7B")
    assert training.total_steps(olmo("7B").context) == 476_838
    assert rate(training, 2048, step) == pytest.approx(expected, rel=1e-6)


def test_olmo_is_trained_as_its_table_says():
    for size, (peak, warmup, schedule) in {"1B": (4e-4, 2000, "cosine"), "7B": (3e-4, 5000, "linear")}.items():
        training = olmo_training(size)
        assert (training.learning_rate, training.warmup, training.schedule) == (peak, warmup, schedule)
        assert (training.betas, training.eps, training.weight_decay) == ((0.9, 0.95), 1e-5, 0.1)
        assert (training.clip_norm, training.final_fraction, training.decay) == (1.0, 0.1, "matrices")
        assert training.batch_size * olmo(size).context == 4_194_304
    clips = olmo_training("7B")
    assert [clip_norm_at(s, 1.0, clips.early_clip_norm, clips.early_clip_steps) for s in (1000, 1001)] == [10.0, 1.0]


@pytest.mark.parametrize(
    ("size", "peak", "batch", "warmup", "steps"),
    [("1B", 4e-4, 512, 4000, 2_384_186), ("7B", 3e-4, 1024, 2000, 1_192_093), ("13B", 3e-4, 2048, 1000, 596_047)],
)
def test_olmo_2_is_trained_as_its_configurations_say(size, peak, batch, warmup, steps):
    training, context = olmo_2_training(size), olmo_2(size).context
    assert (training.learning_rate, training.batch_size, training.warmup) == (peak, batch, warmup)
    assert training.total_steps(context) == steps
    assert (training.eps, training.weight_decay, training.schedule, OLMO_2_Z_LOSS) == (1e-8, 0.1, "cosine", 1e-5)
    assert rate(training, context, steps) == pytest.approx(0.1 * peak)


def test_a_preset_can_be_made_small_and_an_unknown_size_is_refused():
    small = olmo_training("7B").but(tokens=None, steps=10, batch_size=4, warmup=2)
    assert small.total_steps() == 10
    with pytest.raises(ConfigurationError, match="no size '3B'; it knows 1B, 7B"):
        olmo_training("3B")
    with pytest.raises(ConfigurationError, match="olmo_2_training"):
        olmo_2_training("65B")


def test_olmo_65b_doubles_its_batch_every_hundred_billion_tokens():
    """2M, 4M, 8M and 16M tokens (arXiv 2402.00838v1); warmed up over 10 485 760 000 tokens (`mitchish65-s3.yaml`)."""
    training, context = olmo_training("65B"), olmo("65B").context
    plan, steps = training.batch_plan(context), training.total_steps(context)
    assert [size * context for _, size in plan.stages] == [2**21, 2**22, 2**23, 2**24]
    assert [round(plan.seen(first) * context / 1e11) for first, _ in plan.stages[1:]] == [1, 2, 3]
    rates = rate_schedule(training, plan, steps)
    assert plan.seen(5000) * context == 10_485_760_000
    assert rates.at(5000) == pytest.approx(1.5e-4)
    assert rates.at(steps) == pytest.approx(1.5e-5)
