"""The audit of an unlearned model: everything that could show that it has not forgotten, or forgot too much.

Measured side by side for the original, the unlearned and (where there is one) the retrained model: completions under
several masks, the recovery attack, a linear probe, membership inference, and whether the decoder is the same bit for
bit. `findings` decides; the limits are fixed here and are not moved for a model.

Any model learns from the attacker's images. With U, R and O the errors of the unlearned, the retrained and the original
model after as many updates, (R - U) / (R - O) says where between the two the unlearned one is: 0 is like a model that
never saw the images, 1 is as if nothing had been forgotten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from glasshouse.store.configuration import Config, ConfigurationError, fingerprint
from glasshouse.store.progress import Bar
from glasshouse.vision.collection import ImageCollection
from glasshouse.vision.completion.masks import Mask
from glasshouse.vision.completion.model import Completion, decoder_hash, encoder_hash
from glasshouse.vision.feature_network import Extractor
from glasshouse.vision.unlearning.leaks import linear_probe, membership
from glasshouse.vision.unlearning.measures import measure_all, ruler
from glasshouse.vision.unlearning.recovery import Recovery, relearn
from glasshouse.vision.unlearning.split import Parts, hashes

ORIGINAL, RETRAINED = "original", "retrained"
MEASURED_MASKS = (Mask(), Mask(kind="half", share=0.5), Mask(kind="random", share=0.75))


class AuditSettings(Config):
    """What is looked at, and how much is allowed.

    Attributes:
        masks: three kinds or more; the first one decides, and is the one of the attack and of membership.
        forget: the error on forgotten images is at least this many times the original's.
        retain: the error on retained images is at most this many times the original's.
        recovery: the largest (R - U) / (R - O) after relearning; one half is as near to the original as to the
            retrained model.
        tells: where R is not larger than this many times O, relearning tells nothing.
        membership: by how much membership may be told better than of the retrained model, in area under the curve.
    """

    masks: tuple[Mask, ...] = MEASURED_MASKS
    attack: Recovery = Recovery()
    forget: float = Field(2.0, gt=1)
    retain: float = Field(1.25, ge=1)
    recovery: float = Field(0.5, ge=0, le=1)
    tells: float = Field(1.1, gt=1)
    membership: float = Field(0.1, ge=0)
    seed: int = Field(0, ge=0)

    @field_validator("masks")
    @classmethod
    def _three(cls, masks: tuple[Mask, ...]) -> tuple[Mask, ...]:
        if len({mask.name for mask in masks}) < max(3, len(masks)):
            raise ValueError("an audit has three masks or more, all different: what is forgotten depends on the mask")
        return masks


class MissingReferenceError(ConfigurationError):
    """There is no retrained model to compare with, and it was not said that there is none."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One check of the audit."""

    name: str
    holds: bool
    measured: str
    expected: str


def look_at(
    models: Mapping[str, Completion],
    images: ImageCollection,
    parts: Parts,
    extractor: Extractor,
    settings: AuditSettings,
    directory: Path,
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Everything measured of every model by name, as plain JSON data."""
    rulers = {
        "forget": ruler(images, parts.forget_test, extractor),
        "retain": ruler(images, parts.retain_test, extractor),
    }
    mask, few = settings.masks[0], settings.attack.images
    if not parts.forget_is_held_out:  # the attack is measured on what the attacker does not have
        few = min(few, len(parts.forget) // 2)
    attack = settings.attack.but(mask=mask, images=few)
    others = parts.forget_test if parts.forget_is_held_out else parts.retain_test
    found: dict[str, Any] = {}
    for name, model in models.items():
        errors = relearn(model, images, parts.forget, parts.forget_test, attack, directory)
        found[name] = {
            "measured": measure_all(model, rulers, settings.masks, settings.seed),
            "recovery": {str(step): error for step, error in errors.items()},
            "probe": linear_probe(model, images, parts.forget_test),
            "membership": membership(model, images, parts.forget, others, mask),
            "hashes": {"encoder": encoder_hash(model), "decoder": decoder_hash(model)},
        }
        if bar is not None:
            bar.advance()
    return {
        "models": found,
        "data": data_record(images, parts),
        "floors": {name: held.floor for name, held in rulers.items()},
        "extractor": extractor.name,
    }


def data_record(images: ImageCollection, parts: Parts) -> dict[str, Any]:
    """Which images were forgotten, retained and measured on."""
    retain = hashes(images, parts.retain.tolist())
    return {
        "forgotten": hashes(images, parts.forget.tolist()),
        "retained": {"images": len(retain), "sha256 of ids": fingerprint(retain)},
        "measured on": {
            "forget": {"images": len(parts.forget_test), "held out": parts.forget_is_held_out},
            "retain": {"images": len(parts.retain_test), "held out": True},
        },
    }


def findings(
    looked: Mapping[str, Any],
    name: str,
    settings: AuditSettings,
    *,
    keeps_decoder: bool = True,
    no_reference: bool = False,
) -> list[Finding]:
    """The checks of one unlearned model by what `look_at` found.

    `keeps_decoder` is false for a method that trains the decoder too: then it is not asked whether that is the same.
    Raises `MissingReferenceError` without a retrained model, unless `no_reference` says that there is none, and
    `KeyError` for a model that was not looked at.
    """
    models = looked["models"]
    ask_for_reference(RETRAINED in models, no_reference)
    if name not in models:
        raise KeyError(f"the audit looked at {', '.join(models)}, and at no model called {name!r}")
    mask, model = settings.masks[0].name, models[name]
    forget, retain = (ratio(looked, name, part, mask) for part in ("forget", "retain"))
    found = [
        Finding("forgotten", forget >= settings.forget, f"{forget:.2f} x the error", f"≥ {settings.forget:g} x"),
        Finding("retained", retain <= settings.retain, f"{retain:.2f} x the error", f"≤ {settings.retain:g} x"),
    ]
    if keeps_decoder:
        same = model["hashes"]["decoder"] == models[ORIGINAL]["hashes"]["decoder"]
        found.append(Finding("decoder unchanged", same, "the same" if same else "changed", "the same, bit for bit"))
    reference = models.get(RETRAINED)
    if reference is None:
        return found
    told = model["membership"] - max(0.5, reference["membership"])
    return [
        *found,
        _recovered(recovered(looked, name, settings), settings),
        Finding(
            "membership not told", told <= settings.membership, f"{told:+.3f} AUC", f"≤ +{settings.membership:g} AUC"
        ),
    ]


def recovered(looked: Mapping[str, Any], name: str, settings: AuditSettings) -> dict[str, float]:
    """(R - U) / (R - O) by updates of relearning, where that tells something."""
    mine, original, retrained = (looked["models"][one]["recovery"] for one in (name, ORIGINAL, RETRAINED))
    return {
        step: (retrained[step] - mine[step]) / (retrained[step] - original[step])
        for step in mine
        if step != "0" and retrained[step] > settings.tells * original[step]
    }


def _recovered(shares: Mapping[str, float], settings: AuditSettings) -> Finding:
    name, expected = "not recovered", f"≤ {settings.recovery:g} of the way to the original"
    if not shares:
        return Finding(name, True, "nothing to tell: the retrained model relearns as fast as the original", expected)
    worst = max(shares.values())
    return Finding(name, worst <= settings.recovery, f"{worst:.2f} of the way to the original", expected)


def ask_for_reference(there: bool, no_reference: bool) -> None:
    """Raises `MissingReferenceError` without a retrained model, unless it was said that there is none."""
    if not there and not no_reference:
        raise MissingReferenceError(
            "there is no model retrained without the forgotten images to compare with, so there is no verdict: "
            "give one, or say no_reference=True to have what can be said without it"
        )


def ratio(looked: Mapping[str, Any], name: str, part: str, mask: str) -> float:
    """Error of a model over the original's."""
    mine, before = (looked["models"][model]["measured"][part][mask]["mse"] for model in (name, ORIGINAL))
    return float(mine / before)
