"""A corpus opened with a look at whether its files are whole and belong together, before anything is read from them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from glasshouse.data.corpus import KEPT, CorpusDirectory

_MAPPINGS = ("curation", "sources", "stages", "rules", "documents", "kept", "masked_spans", "cut_spans")


class DamagedCorpusError(ValueError):
    """The files of a corpus are damaged, or contradict each other."""


def open_corpus(corpus: str | Path | CorpusDirectory) -> CorpusDirectory:
    """A corpus whose files can be opened, and whose documents are as many as its summary counts.

    Raises:
        NotACorpusError: there is no corpus.
        DamagedCorpusError: naming the file.
    """
    home = corpus if isinstance(corpus, CorpusDirectory) else CorpusDirectory(corpus)
    rows = {file: _rows(file) for file in (*home.document_files, *home.signal_files, *home.removed_files)}
    counted, held = _counted(home), sum(rows[file] for file in home.document_files)
    if counted is not None and counted != held:
        raise DamagedCorpusError(
            f"{home.path}: its files hold {held:,} documents, its summary counts {counted:,}: a file is missing or "
            "from another run; curate again"
        )
    return home


def _rows(file: Path) -> int:
    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedCorpusError(f"{file} is damaged ({' '.join(str(error).split())}): curate again") from None


def _counted(home: CorpusDirectory) -> int | None:
    """How many documents the summary of `curate` counts; `None` where something else made the documents."""
    try:
        found = home.summary
    except (TypeError, ValueError) as error:
        raise DamagedCorpusError(f"{home.path}/summary.json is damaged ({error}): curate again") from None
    if "curation" not in found:
        return None
    wrong = [name for name in _MAPPINGS if not isinstance(found.get(name) or {}, dict)]
    if not wrong and not isinstance((found["curation"] or {}).get("keep") or {}, dict):
        wrong = ["curation.keep"]
    counted: object = None if wrong else (found.get(KEPT) or {}).get("documents")
    if wrong or not isinstance(counted, int | None):
        where = ", ".join(wrong) or f"{KEPT}.documents"
        raise DamagedCorpusError(f"{home.path}/summary.json is damaged ({where}): curate again")
    return counted
