"""The certificate of a forgotten set: what was forgotten, from which model, how it was checked, and what was not shown.

It is plain JSON with the hashes of the data and of both models, so that anybody who holds them can check it
(`check_certificate`). It is refused when the audit fails.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from glasshouse.store.configuration import fingerprint
from glasshouse.vision.collection import ImageCollection
from glasshouse.vision.completion.model import Completion, decoder_hash, encoder_hash
from glasshouse.vision.unlearning.audit import ORIGINAL, RETRAINED, AuditSettings, Finding, data_record, findings, ratio
from glasshouse.vision.unlearning.split import Parts

NOT_SHOWN = (
    "that no attack recovers the images: one attack of fine-tuning was made",
    "anything about images of other kinds, or masks that were not measured",
    "that the images are gone from copies, checkpoints and data outside this model",
)
WITHOUT_REFERENCE = (
    "how the model differs from one that never saw the images: there was no such model",
    "whether it relearns faster than such a model, or tells who was trained on",
)


class CertificateRefusedError(ValueError):
    """The audit failed; `findings` says where."""

    def __init__(self, failed: Sequence[Finding]) -> None:
        self.findings = tuple(failed)
        said = "; ".join(f"{item.name}: {item.measured}, expected {item.expected}" for item in failed)
        super().__init__(f"no certificate, the audit failed: {said}")


class CertificateError(ValueError):
    """A certificate that was changed, or belongs to other data or another model."""


def certificate(
    looked: Mapping[str, Any],
    name: str,
    settings: AuditSettings,
    configuration: Mapping[str, Any],
    *,
    keeps_decoder: bool = True,
    no_reference: bool = False,
) -> dict[str, Any]:
    """The certificate of the model called `name`.

    Args:
        looked: from `glasshouse.vision.unlearning.audit.look_at`; hashes of models and images are of what was audited.
        settings: with which it was looked.
        configuration: how the model was made to forget, as JSON data.
        keeps_decoder: false for a method that trains the decoder too.

    Raises:
        CertificateRefusedError: the audit failed.
        MissingReferenceError: there is no retrained model, and `no_reference` does not say so.
    """
    found = findings(looked, name, settings, keeps_decoder=keeps_decoder, no_reference=no_reference)
    if failed := [item for item in found if not item.holds]:
        raise CertificateRefusedError(failed)
    reference = RETRAINED in looked["models"]
    models = {one: item for one, item in looked["models"].items() if one in (ORIGINAL, RETRAINED, name)}
    document = {
        "what": "unlearning of an image completion model",
        "verdict": "passed" if reference else "passed what can be checked without a retrained model",
        "findings": [dataclasses.asdict(item) for item in found],
        "data": looked["data"],
        "model": {"name": name, "before": models[ORIGINAL]["hashes"], "after": models[name]["hashes"]},
        "configuration": dict(configuration),
        "audit": {"settings": settings.model_dump(mode="json"), "measured": {**looked, "models": models}},
        "gap to retraining": gap(looked, name, settings) if reference else None,
        "not shown": [*_not_shown(looked, name), *(() if reference else WITHOUT_REFERENCE)],
    }
    return document | {"sha256": fingerprint(document)}


def gap(looked: Mapping[str, Any], name: str, settings: AuditSettings) -> dict[str, Any]:
    """By how much the model's error differs from the retrained one's: set -> mask -> ratio of errors."""
    return {
        part: {
            m.name: ratio(looked, name, part, m.name) / ratio(looked, RETRAINED, part, m.name) for m in settings.masks
        }
        for part in ("forget", "retain")
    }


def check_certificate(document: Mapping[str, Any], model: Completion, images: ImageCollection, parts: Parts) -> None:
    """Raises `CertificateError` when a certificate was changed, or is not one of this model and these images."""
    inner = {name: value for name, value in document.items() if name != "sha256"}
    if fingerprint(inner) != document.get("sha256"):
        raise CertificateError("the certificate was changed after it was written: its sha256 does not fit")
    if document["data"] != data_record(images, parts):
        raise CertificateError("the certificate is about other images than these")
    for part, found in (("encoder", encoder_hash(model)), ("decoder", decoder_hash(model))):
        if document["model"]["after"][part] != found:
            raise CertificateError(f"the certificate is about another model: its {part} has other weights")


def _not_shown(looked: Mapping[str, Any], name: str) -> list[str]:
    mine = looked["models"][name]["probe"]
    reference = looked["models"].get(RETRAINED)
    beside = "" if reference is None else f" ({100 * reference['probe']:.0f} % in the retrained model)"
    probe = (
        "that the class of a forgotten image cannot be read from the encoder: a linear probe finds it in "
        f"{100 * mine:.0f} % of images{beside}"
    )
    return [probe, *NOT_SHOWN]
