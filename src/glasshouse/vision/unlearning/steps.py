"""Steps of unlearning: make a model forget, compare models, audit them, certify one."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from glasshouse.store.artifact import Artifact
from glasshouse.store.files import StoreError
from glasshouse.store.panels import Panel
from glasshouse.store.step import Run, step
from glasshouse.vision.completion.cost import training_flops
from glasshouse.vision.completion.model import Completion
from glasshouse.vision.completion.steps import CompletionModel, finished
from glasshouse.vision.image_steps import Features, ImageSet
from glasshouse.vision.unlearning.audit import ORIGINAL, RETRAINED, AuditSettings, findings, look_at, recovered
from glasshouse.vision.unlearning.certificate import CertificateRefusedError, certificate
from glasshouse.vision.unlearning.comparison import compare
from glasshouse.vision.unlearning.methods import Unlearning, unlearn
from glasshouse.vision.unlearning.pairs import PairedImages
from glasshouse.vision.unlearning.panels import audit_panels, certificate_panels, comparison_panels
from glasshouse.vision.unlearning.selection import Split, parts_of


@step()
def unlearn_images(
    run: Run, model: CompletionModel, images: ImageSet, split: Split, settings: Unlearning, device: str = "cpu"
) -> CompletionModel:
    """Make a model forget some images, by the paper's method or by a baseline. A killed run goes on."""
    found = images.load()
    parts = parts_of(found, split)
    before = model.load(device)
    with run.bar(f"unlearning: {settings.method}", settings.steps) as bar:
        made = unlearn(before, found, parts, settings, run.scratch / "run", progress=bar)
    pair = settings.objective(copy.deepcopy(before), copy.deepcopy(before))
    pixels = found.images.to(device)
    batch = {name: pixels[places[: settings.batch_size]] for name, places in
             (("retain", parts.retain), ("forget", parts.forget))}  # fmt: skip
    about = {
        "title": f"Unlearned: {settings.method}",
        "images": PairedImages(found.images, parts.retain, parts.forget).rows,
        "flops": training_flops(pair, batch, settings.steps),
        "settings": settings.model_dump(mode="json"),
        "split": split.model_dump(mode="json"),
        "hashes": made.hashes,
        "decoder unchanged": made.decoder_unchanged,
    }
    return finished(run, made.model, [made.result], about)


class Found(Artifact):
    """Figures and pictures of several models."""

    @cached_property
    def found(self) -> dict[str, Any]:
        """Everything that was measured."""
        read: dict[str, Any] = json.loads(self.file("found.json").read_text(encoding="utf-8"))
        return read

    @property
    def values(self) -> dict[str, float]:
        """All figures by name, for claims."""
        values: dict[str, float] = self.found["values"]
        return values

    def pictures(self) -> dict[str, bytes]:
        """Grids as PNG, by name."""
        return {path.stem: path.read_bytes() for path in sorted(self.path.glob("*.png"))}


class Comparison(Found):
    """What models complete, side by side."""

    def panels(self) -> list[Panel]:
        """Grids, the table of models, and the curve over alpha."""
        return comparison_panels(self.found, self.pictures())


@step()
def compare_models(
    run: Run,
    images: ImageSet,
    split: Split,
    features: Features,
    original: CompletionModel,
    models: Mapping[str, CompletionModel],
    settings: AuditSettings = AuditSettings(),  # noqa: B008 (frozen)
    sweep: Mapping[str, CompletionModel] | None = None,
    shown: tuple[str, ...] = (),
) -> Comparison:
    """Measure completions of several models of one split.

    Args:
        models: by name; `shown` of them stand in the grids.
        sweep: models by their alpha, as text.
    """
    collection = images.load()
    every = {ORIGINAL: original, **models, **{f"alpha {alpha}": model for alpha, model in (sweep or {}).items()}}
    with run.bar("comparing completions", len(every)) as bar:
        found, pictures = compare(
            {name: model.load() for name, model in every.items()}, collection, parts_of(collection, split),
            features.load(), settings, shown=(ORIGINAL, *shown), bar=bar,
        )  # fmt: skip
    found["sweep"] = list(sweep or {})
    found["values"] |= {f"{name}/flops": float(model.training["flops"]) for name, model in every.items()}
    found["values"] |= {
        f"{name}/decoder unchanged": float(model.training["decoder unchanged"])
        for name, model in every.items() if "decoder unchanged" in model.training
    }  # fmt: skip
    found["values"]["feature accuracy"] = float(features.about["accuracy"])
    (run.output / "found.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for name, content in pictures.items():
        (run.output / f"{name}.png").write_bytes(content)
    return Comparison(run.output)


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
) -> Audit:
    """Audit unlearned models by name, beside the original and the one retrained without the forgotten images.

    Raises `MissingReferenceError` when there is no retrained model, unless `no_reference` says that there is none.
    """
    collection = images.load()
    every = {ORIGINAL: original, **({RETRAINED: retrained} if retrained is not None else {}), **models}
    loaded: dict[str, Completion] = {name: model.load() for name, model in every.items()}
    with run.bar("auditing", len(every)) as bar:
        looked = look_at(loaded, collection, parts_of(collection, split), features.load(), settings,
                         run.scratch / "attacks", bar)  # fmt: skip
    checks = {
        name: findings(looked, name, _decoder_unchanged(model), settings, no_reference=no_reference)
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
        "checks": {name: [check.__dict__ for check in found] for name, found in checks.items()},
        "values": values,
    }
    (run.output / "found.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Audit(run.output)


def _decoder_unchanged(model: CompletionModel) -> bool | None:
    """None for a method that trains the decoder."""
    about = model.training
    return bool(about["decoder unchanged"]) if Unlearning(**about["settings"]).keeps_decoder else None


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
    run: Run,
    images: ImageSet,
    split: Split,
    model: CompletionModel,
    audit: Audit,
    name: str = "unlearned",
    settings: AuditSettings = AuditSettings(),  # noqa: B008 (frozen)
    no_reference: bool = False,
) -> Certificate:
    """The certificate of a model that was audited under `name`; `refused.json` in its place when the audit failed."""
    collection, about = images.load(), model.training
    configuration = {"split": split.model_dump(mode="json"), "settings": about["settings"], "model": model.id,
                     "audit": audit.id}  # fmt: skip
    try:
        document = certificate(
            audit.found["looked"], name, collection, parts_of(collection, split), about["hashes"], settings,
            configuration, keeps_decoder=_decoder_unchanged(model) is not None, no_reference=no_reference,
        )  # fmt: skip
        target = "certificate.json"
    except CertificateRefusedError as refused:
        failed = [finding.__dict__ for finding in refused.findings]
        document, target = {"verdict": "refused", "why": str(refused), "findings": failed}, "refused.json"
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
    (run.output / target).write_text(text + "\n", encoding="utf-8")
    return Certificate(run.output)


__all__ = ["Audit", "Certificate", "Comparison", "audit_models", "certify", "compare_models", "unlearn_images"]
