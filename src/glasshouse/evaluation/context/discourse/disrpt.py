"""Relations in the tab-separated `.rels` files of DISRPT, such as those of GDTB; files whose texts are masked are left
out (PDTB itself is shipped so, see `pdtb`)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from glasshouse.evaluation.context.discourse.relations import Relation, top_sense
from glasshouse.evaluation.context.sources import DataError, find_files


def read_disrpt(folder: str | Path, kind: str = "implicit") -> list[Relation]:
    """The relations of one kind of all `.rels` files of a folder.

    Arguments with a gap are written with `<*>` in the files, and with an ellipsis here.

    Raises:
        DataError: naming file and line of a row that is not of this form.
    """
    return [relation for file in find_files("gdtb", folder, "*.rels") for relation in _relations(file, kind)]


def _relations(file: Path, kind: str) -> Iterator[Relation]:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        needed = {"doc", "unit1_txt", "unit2_txt", "rel_type", "label"}
        if not needed <= set(rows.fieldnames or ()):
            raise DataError(f"{file} has the columns {rows.fieldnames}; a .rels file has {', '.join(sorted(needed))}")
        for row in rows:
            if row["rel_type"] != kind or _masked(row["unit1_txt"]):
                continue
            try:
                sense = top_sense(row["label"])
            except (DataError, AttributeError) as error:
                raise DataError(f"{file}, line {rows.line_num}: {error}") from error
            texts = [row[unit].replace("<*>", "...").strip() for unit in ("unit1_txt", "unit2_txt")]
            yield Relation(f"{row['doc']}-{rows.line_num}", texts[0], texts[1], (sense,), row["doc"])


def _masked(text: str) -> bool:
    return not text.replace("_", "").strip()
