"""Steps that audit unlearned models, and certify one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from glasshouse.store.artifact import Artifact
from glasshouse.store.files import StoreError
from glasshouse.store.panels import Panel
from glasshouse.store.step import Run, step
from glasshouse.vision.completion.model import Completion
from glasshouse.vision.completion.steps import CompletionModel
from glasshouse.vision.feature_steps import Features
from glasshouse.vision.image_steps import ImageSet
from glasshouse.vision.unlearning.audit import (
    ORIGINAL,
    RETRAINED,
    AuditSettings,
    ask_for_reference,
    findings,
    look_at,
    recovered,
)
from glasshouse.vision.unlearning.certificate import CertificateError, CertificateRefusedError, certificate
from glasshouse.vision.unlearning.comparison_steps import Found
from glasshouse.vision.unlearning.methods import Unlearning
from glasshouse.vision.unlearning.panels import audit_panels, certificate_panels
from glasshouse.vision.unlearning.split import Split, SplitError, parts_of


class Audit(Found):
    """What the audit found about several models."""

    def panels(self) -> list[Panel]:
        """The checks, the curves of relearning, and what leaks."""
        return audit_panels(self.found)


@step()
def audit_models(
    run: Run,
    images: ImageSet,
    split: Split,
    features: Features,
    original: CompletionModel,
    models: Mapping[str, CompletionModel],
    retrained: CompletionModel | None = None,
    settings: AuditSettings = AuditSettings(),  # noqa: B008 (frozen)
    no_reference: bool = False,
    device: str = "cpu",
) -> Audit:
    """Audit unlearned models by name, beside the original and the one retrained without the forgotten images.

    Raises `MissingReferenceError` when there is no retrained model, unless `no_reference` says that there is none, and
    `SplitError` when it was trained with what is to be forgotten.
    """
    ask_for_reference(retrained is not None, no_reference)
    if retrained is not None and retrained.training.get("without") != split.forget.model_dump(mode="json"):
        raise SplitError(
            f"{retrained} is no reference: it was trained without {retrained.training.get('without')}, to be forgotten "
            f"is {split.forget.model_dump(mode='json')}; train it with train_completion(..., without=split.forget)"
        )
    collection = images.load()
    every = {ORIGINAL: original, **({RETRAINED: retrained} if retrained is not None else {}), **models}
    loaded: dict[str, Completion] = {name: model.load(device) for name, model in every.items()}
    with run.bar("auditing", len(every)) as bar:
        looked = look_at(loaded, collection, parts_of(collection, split), features.load(), settings,
                         run.scratch / "attacks", bar)  # fmt: skip
    checks = {
        name: findings(looked, name, settings, keeps_decoder=_keeps_decoder(model), no_reference=no_reference)
        for name, model in models.items()
    }
    values: dict[str, float] = {}
    for name, item in looked["models"].items():
        values |= {f"{name}/recovery/{updates}": error for updates, error in item["recovery"].items()}
        values |= {f"{name}/probe": item["probe"], f"{name}/membership": item["membership"]}
        if retrained is not None:
            values |= {f"{name}/recovered/{n}": share for n, share in recovered(looked, name, settings).items()}
    values |= {f"{name}/passes": float(all(check.holds for check in found)) for name, found in checks.items()}
    document = {
        "looked": looked,
        "settings": settings.model_dump(mode="json"),
        "checks": {name: [dataclasses.asdict(check) for check in found] for name, found in checks.items()},
        "values": values,
    }
    (run.output / "found.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Audit(run.output)


def _keeps_decoder(model: CompletionModel) -> bool:
    """Whether the method that made a model promised to leave the decoder."""
    return Unlearning(**model.training["settings"]).keeps_decoder


class Certificate(Artifact):
    """A certificate, or why it was refused."""

    @cached_property
    def document(self) -> dict[str, Any]:
        """The certificate. Raises `StoreError` when it was refused."""
        if not self.issued:
            raise StoreError(f"no certificate: {json.loads(self.file('refused.json').read_text())['why']}")
        found: dict[str, Any] = json.loads(self.file("certificate.json").read_text(encoding="utf-8"))
        return found

    @property
    def issued(self) -> bool:
        """Whether the audit passed."""
        return (self.path / "certificate.json").exists()

    @property
    def values(self) -> dict[str, float]:
        """Whether it was issued, for claims."""
        return {"issued": float(self.issued)}

    def panels(self) -> list[Panel]:
        """The verdict, its checks, and what was not shown."""
        if self.issued:
            return certificate_panels(self.document)
        return certificate_panels(json.loads(self.file("refused.json").read_text(encoding="utf-8")))


@step()
def certify(
    run: Run, model: CompletionModel, audit: Audit, name: str = "unlearned", no_reference: bool = False
) -> Certificate:
    """The certificate of a model that was audited under `name`; `refused.json` in its place when the audit failed.

    Raises `CertificateError` when the model is not the one that was audited under this name.
    """
    looked, about = audit.found["looked"], model.training
    audited = looked["models"].get(name, {}).get("hashes")
    if audited != {part: about["hashes"][f"{part} after"] for part in ("encoder", "decoder")}:
        raise CertificateError(
            f"{model} is not what was audited as {name!r}; audited were {', '.join(looked['models'])}"
        )
    settings = AuditSettings(**audit.found["settings"])
    configuration = {"split": about["split"], "settings": about["settings"], "model": model.id, "audit": audit.id}
    try:
        document = certificate(
            looked, name, settings, configuration, keeps_decoder=_keeps_decoder(model), no_reference=no_reference
        )
        target = "certificate.json"
    except CertificateRefusedError as refused:
        failed = [dataclasses.asdict(finding) for finding in refused.findings]
        document = {"verdict": "refused", "why": str(refused), "findings": failed, "model": {"name": name}}
        target = "refused.json"
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
    (run.output / target).write_text(text + "\n", encoding="utf-8")
    return Certificate(run.output)
