"""The step that mixes sources into one body of documents."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from glasshouse.data.executor import Threads
from glasshouse.data.mixing.mix import mix as mix_documents
from glasshouse.data.mixing.mixture import Mixture, Stream
from glasshouse.data.steps.artifacts import Documents
from glasshouse.store.environment import usable_cores
from glasshouse.store.step import Run, step


@step()
def mix(
    run: Run, sources: Mapping[str, Documents], weights: Mapping[str, float], total: float | None = None, seed: int = 0
) -> Documents:
    """Put sources together in given shares of bytes; a source that is too small comes several times.

    Args:
        sources: name -> documents.
        weights: name -> its share in the result.
        total: bytes of text in the result; without it, as much as needs no document twice.
    """
    streams = tuple(Stream(name=name, documents=(str(documents.path),)) for name, documents in sources.items())
    mixture = Mixture(streams=streams, weights=dict(weights), total=total, seed=seed, form="parquet")
    summary = mix_documents(mixture, run.output, Threads(usable_cores())).as_json()
    for name in ("mixture.json", "summary.json"):  # they name folders of this machine; the manifest has the inputs
        (run.output / name).unlink()
    (run.output / "record").mkdir(exist_ok=True)
    (run.output / "record" / "mixture.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    kept = summary["documents"]
    run.measure(documents=kept, seen=kept, quarantined=summary["quarantined"], bytes=summary["bytes"])
    return Documents(run.output)
