"""A damaged corpus is told in one line, naming the file, by everything that looks at a corpus."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from glasshouse.data.curation.configuration import Curation
from glasshouse.data.curation.curate import curate
from glasshouse.data.curation.rules import RuleSet, rule
from glasshouse.data.description.datasheet import datasheet
from glasshouse.data.description.difference import difference
from glasshouse.data.description.explain import explain
from glasshouse.data.description.whatif_table import SignalTable
from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.mixing.mix import mix
from glasshouse.data.mixing.mixture import Mixture, Stream
from glasshouse.data.opening import DamagedCorpusError, open_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    made = [Document(f"d{n}", f"the text {n} " * (n + 1), "web", Origin("f", n, n + 1)) for n in range(20)]
    rules = RuleSet(name="few", rules=(rule("word_count < 9"),))
    curate(batches(made, 200), tmp_path / "corpus", Curation(keep=rules), shard_bytes=400)
    assert len(list((tmp_path / "corpus").glob("documents-*.parquet"))) > 1
    return tmp_path / "corpus"


def _cut(name: str) -> Callable[[Path], None]:
    def cut(home: Path) -> None:
        (home / name).write_bytes((home / name).read_bytes()[:500])

    return cut


def _summary(text: str) -> Callable[[Path], None]:
    return lambda home: (home / "summary.json").write_text(text) and None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut("documents-00000.parquet"), "documents-00000.parquet is damaged"),
        (_cut("signals-00000.parquet"), "signals-00000.parquet is damaged"),
        (_cut("removed-00000.parquet"), "removed-00000.parquet is damaged"),
        (lambda home: (home / "documents-00001.parquet").unlink(), "a file is missing"),
        (_summary("{"), "summary.json is damaged"),
        (_summary("5"), "summary.json is damaged"),
        (_summary('{"curation": {"keep": 5}}'), "damaged (curation.keep)"),
        (_summary('{"curation": [1], "kept": 5}'), "damaged (curation, kept)"),
        (_summary('{"curation": null, "kept": {"documents": "x"}}'), "damaged (kept.documents)"),
    ],
)
def test_damage_is_told_by_all_that_look(
    corpus: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(corpus, whole)
    assert open_corpus(whole).path == whole
    damage(corpus)
    mixture = Mixture(streams=(Stream(name="a", documents=(str(corpus),)),))
    for look in (
        lambda: SignalTable(corpus), lambda: datasheet(corpus), lambda: explain(corpus, "d1"),
        lambda: difference(whole, corpus), lambda: mix(mixture, tmp_path / "out"),
    ):  # fmt: skip
        with pytest.raises(DamagedCorpusError) as told:
            look()
        assert words in str(told.value)
        assert "\n" not in str(told.value)


def test_documents_that_were_not_curated_need_no_counts(corpus: Path, tmp_path: Path) -> None:
    mixture = Mixture(streams=(Stream(name="a", documents=(str(corpus),)),), form="parquet")
    mix(mixture, tmp_path / "mixed")
    assert open_corpus(tmp_path / "mixed").document_files
