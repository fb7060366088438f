"""The step that indexes a corpus for search, and its artifact."""

from __future__ import annotations

from functools import cached_property

from glasshouse.data.executor import Threads
from glasshouse.data.search.building import Indexing
from glasshouse.data.search.corpus_index import CorpusIndex
from glasshouse.data.steps.artifacts import Documents
from glasshouse.store.artifact import Artifact
from glasshouse.store.panels import Numbers, Panel
from glasshouse.store.step import Run, step


class SearchIndex(Artifact):
    """Suffix arrays and a ranked index of a corpus."""

    @cached_property
    def index(self) -> CorpusIndex:
        """The index, opened."""
        return CorpusIndex(self.path)

    def panels(self) -> list[Panel]:
        """How much can be searched, and what the index takes on disk."""
        header, files = self.index.header, self.manifest["files"]
        size = sum(entry["bytes"] for entry in files.values())
        figures = {
            "documents": f"{header.documents:,}",
            "text": f"{header.text_bytes / 1e6:.1f} MB",
            "suffix arrays": f"{len(header.shards)}",
            "ranked search": "yes" if header.ranked else "no",
            "on disk": f"{size / 1e6:.1f} MB",
        }
        note = "Any string, word sequence or piece of model output can be looked up: `glasshouse search`."
        return [Numbers("Search", figures, note=note)]


@step()
def index_corpus(run: Run, corpus: Documents, indexing: Indexing = Indexing()) -> SearchIndex:  # noqa: B008 (frozen)
    """Index a corpus for exact and ranked search: 5.4 bytes on disk per byte of text, 5 of memory per shard."""
    with run.bar("indexing", corpus.manifest["measurements"]["bytes"]) as bar:
        # One worker: a shard is sorted in memory, and two at a time would need twice as much.
        index = CorpusIndex.build(
            corpus.directory, run.output, indexing, executor=Threads(1), work=run.scratch / "index",
            progress=bar.advance,
        )  # fmt: skip
    run.measure(documents=index.header.documents, bytes=index.header.text_bytes, shards=len(index.header.shards))
    return SearchIndex(run.output)
