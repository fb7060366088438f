"""The size of the effect on digits, for two splits of classes: about a minute of one core."""

from __future__ import annotations

import pytest

from glasshouse.vision.collection import digits
from glasshouse.vision.completion.cost import training_flops
from glasshouse.vision.completion.fit import fit, objectives
from glasshouse.vision.completion.masks import Mask
from glasshouse.vision.completion.presets import completion_model, completion_training
from glasshouse.vision.selection import Selection
from glasshouse.vision.unlearning.measures import completions, hidden_error, same_masks
from glasshouse.vision.unlearning.methods import Unlearning, unlearn
from glasshouse.vision.unlearning.split import Split, parts_of

SPLITS = {"A": (("1", "3", "8"), ("0", "4", "6", "7")), "B": (("0", "5", "9"), ("1", "2", "3", "4"))}


@pytest.mark.slow
def test_forgetting_retention_and_cost_on_two_splits(tmp_path) -> None:
    images = digits()
    config, settings = completion_model("mae", 8, 1), completion_training("mae", 1600, 0)
    pixels = images.images[~images.held_out]
    original, _ = fit(pixels, config, settings, tmp_path / "original")
    ((objective, steps),) = objectives(config.build(0), settings)
    training = training_flops(objective, {"images": pixels[: settings.batch_size]}, steps)

    def error(model, places) -> float:
        measured = images.images[places]
        hidden = same_masks(Mask(), measured, 0)
        return float(hidden_error(completions(model, measured, hidden), measured, hidden).mean())

    for name, (forget, retain) in SPLITS.items():
        split = Split(forget=Selection(classes=forget), retain=Selection(classes=retain))
        parts, method = parts_of(images, split), Unlearning()
        made = unlearn(original, images, parts, method, tmp_path / name)
        assert made.decoder_unchanged
        assert error(made.model, parts.forget_test) >= 2.0 * error(original, parts.forget_test)
        assert error(made.model, parts.retain_test) <= 1.25 * error(original, parts.retain_test)
        batch = {
            "retain": images.images[parts.retain[: method.batch_size]],
            "forget": images.images[parts.forget[: method.batch_size]],
        }
        unlearning = training_flops(method.objective(config.build(0), config.build(0)), batch, method.steps)
        assert training >= 5 * unlearning
