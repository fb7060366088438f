"""Steps that measure and curate documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from glasshouse.data.curation.configuration import Curation, CutSpans
from glasshouse.data.curation.curate import curate as curate_documents
from glasshouse.data.curation.rules import RuleSet, SourceRules, dolma_rules
from glasshouse.data.deduplication.keys import DocumentMethod, PieceMethod
from glasshouse.data.deduplication.methods import exact, minhash
from glasshouse.data.executor import Threads
from glasshouse.data.signals.families import default_families, signals_of
from glasshouse.data.signals.measuring import measure_signals as measure_directory
from glasshouse.data.signals.pii import PiiMasking, pii
from glasshouse.data.signals.signal import Family
from glasshouse.data.steps.artifacts import Corpus, Documents, Signals
from glasshouse.store.configuration import Config
from glasshouse.store.environment import usable_cores
from glasshouse.store.step import Run, step


@step()
def measure_signals(run: Run, documents: Documents, families: Sequence[Family] = ()) -> Signals:
    """Measure every document once; thresholds are chosen later, from the columns."""
    chosen = tuple(families) or default_families()
    with run.bar("measuring", documents.manifest["measurements"]["bytes"]) as bar:
        about = measure_directory(
            documents.inputs(), run.output, chosen, executor=Threads(usable_cores()), work=run.scratch / "signals",
            progress=bar.advance,
        )  # fmt: skip
    run.measure(documents=about["documents"], bytes=about["bytes"], columns=len(signals_of(chosen)))
    return Signals(run.output)


@step()
def curate(
    run: Run,
    documents: Documents,
    keep: SourceRules | RuleSet | None = dolma_rules,
    mask: PiiMasking | None = pii,
    cut: Sequence[CutSpans] = (),
    deduplicate: Sequence[DocumentMethod | PieceMethod] = (exact(), minhash()),
    families: Sequence[Family] = (),
    signals: Signals | None = None,
    seed: int = 0,
) -> Corpus:
    """Measure every document, remove what the rules name, mask personal information, remove duplicates."""
    curation = Curation(
        keep=keep,
        mask=mask,
        cut=tuple(cut),
        deduplicate=cast("tuple[Config, ...]", tuple(deduplicate)),
        families=cast("tuple[Config, ...]", tuple(families)),
        seed=seed,
    )
    with run.bar("curating", documents.manifest["measurements"]["bytes"]) as bar:
        summary = curate_documents(
            documents.inputs(), run.output, curation, executor=Threads(usable_cores()), work=run.scratch / "curation",
            signals=None if signals is None else signals.path, progress=bar.advance,
        )  # fmt: skip
    run.measure(
        seen=summary.input,
        documents=summary.kept.documents,
        removed=summary.removed.documents,
        quarantined=summary.quarantined,
        bytes=summary.kept.bytes,
    )
    return Corpus(run.output)
