"""Documents of Hugging Face `datasets` objects. Nothing is downloaded: the object is the caller's.

Folders of `save_to_disk` are read by `plan_inputs`, which does not need the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.rows import SeenIds
from glasshouse.data.sources.settings import Reading
from glasshouse.data.sources.tables import documents_of_table

ROWS = 1000


def read_dataset(
    dataset: Any,
    quarantine: Quarantine,
    *,
    name: str = "dataset",
    reading: Reading | None = None,
    seen: SeenIds | None = None,
) -> Iterator[pa.RecordBatch]:
    """The documents of a `Dataset`, a streaming `IterableDataset`, or a dictionary of them (split by split, in order).

    Args:
        dataset: the object; its format does not matter.
        quarantine: where rows go that are no documents.
        name: says in `origin.file` where a document came from: `<name>/<split>#row=N`.
        reading: settings, e.g. `text_key`, `make_ids`.
        seen: ids read before.

    Raises `TypeError` for an object that is none of these.
    """
    seen, settings = SeenIds() if seen is None else seen, reading or Reading()
    if isinstance(dataset, dict):
        for split, part in dataset.items():
            yield from read_dataset(part, quarantine, name=f"{name}/{split}", reading=settings, seen=seen)
        return
    if not hasattr(dataset, "with_format") or not hasattr(dataset, "iter"):
        raise TypeError(
            f"expected a Dataset, IterableDataset or a dictionary of them from `datasets`, got {type(dataset).__name__}"
        )
    first = 0
    for table in dataset.with_format("arrow").iter(batch_size=ROWS):
        for batch in table.to_batches():
            yield from documents_of_table(batch, (name, first), settings, quarantine, seen)
            first += batch.num_rows
    if not first:
        quarantine.saw()
        quarantine.add("empty_file", "the dataset has no rows", file=name)
