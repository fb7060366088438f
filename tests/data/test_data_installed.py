"""The text of this machine: stable, sampled by hash, traceable to bytes."""

from collections import Counter
from inspect import cleandoc
from pathlib import Path

import pytest

from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.installed import (
    SOURCES,
    InstalledText,
    distributions,
    installed_documents,
    installed_fingerprint,
    resolve,
)  # fmt: skip
from glasshouse.store.configuration import ConfigurationError


def read(**options):
    quarantine = Quarantine()
    found = [row for batch in installed_documents(InstalledText(**options), quarantine) for row in batch.to_pylist()]
    assert quarantine.rows_seen == len(found) + quarantine.rows_quarantined
    return found


@pytest.fixture(scope="module")
def documents():
    return read(megabytes=3)


def test_all_sources_up_to_the_cap(documents):
    sizes = Counter()
    for row in documents:
        sizes[row["source"]] += len(row["text"].encode())
    assert set(sizes) == set(SOURCES)
    assert 2_700_000 < sum(sizes.values()) < 4_500_000
    assert len({row["id"] for row in documents}) == len(documents)


def test_the_sample_is_the_same_again_and_another_with_another_seed(documents):
    assert read(megabytes=3) == documents
    other = {row["id"] for row in read(megabytes=3, seed=1)}
    assert len(other & {row["id"] for row in documents}) < 0.8 * len(documents)


def test_the_origin_leads_back_to_the_bytes(documents):
    assert not any(row["origin"]["file"].startswith("/") for row in documents)
    for row in documents:
        origin = row["origin"]
        content = resolve(origin["file"]).read_bytes()[origin["start"] : origin["end"]].decode()
        if row["source"] == "docstrings":
            assert cleandoc(row["text"]).split()[0] in content
        elif "/topics/" not in row["id"]:
            assert content == row["text"]
        else:
            assert len(content) >= len(row["text"])
    with pytest.raises(FileNotFoundError, match="not installed"):
        resolve("no-such-package:x.py")
    with pytest.raises(FileNotFoundError, match="no file"):
        resolve("python:no/such.py")


def test_a_file_is_code_or_docstrings_but_not_both(documents):
    code = {row["origin"]["file"] for row in documents if row["source"] in ("stdlib", "packages")}
    assert not code & {row["origin"]["file"] for row in documents if row["source"] == "docstrings"}


def test_development_tools_are_not_part_of_the_closure():
    names = {distribution.metadata["Name"].lower() for distribution in distributions("closure")}
    assert {"numpy", "torch", "pyarrow"} <= names
    assert not {"pytest", "ruff", "mypy", "glasshouse"} & names
    assert names < {distribution.metadata["Name"].lower() for distribution in distributions("all")}


def test_the_fingerprint_is_stable_and_sees_the_packages():
    assert installed_fingerprint() == installed_fingerprint(InstalledText(megabytes=1))
    assert installed_fingerprint() != installed_fingerprint(InstalledText(packages="all"))


def test_bad_configuration_is_refused():
    with pytest.raises(ConfigurationError, match="megabytes"):
        InstalledText(megabytes=0)
    with pytest.raises(ConfigurationError, match="packages"):
        InstalledText(packages="some")


def test_bad_files_are_quarantined(monkeypatch):
    real = Path.read_bytes

    def damaged(self):
        if self.name == "random.py":
            raise PermissionError(13, "denied")
        return b"\xff" if self.suffix in (".h", ".hpp", ".cuh") else real(self)

    monkeypatch.setattr(Path, "read_bytes", damaged)
    quarantine = Quarantine()
    sources = Counter(
        source
        for batch in installed_documents(InstalledText(megabytes=2), quarantine)
        for source in batch["source"].to_pylist()
    )
    assert sources["headers"] == 0
    assert quarantine.by_reason["invalid_utf8"] > 100
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
