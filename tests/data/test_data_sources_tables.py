"""Parquet of others, Arrow files, and Hugging Face datasets: the same documents as a plain loop over rows gives."""

import io
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.data.document import DOCUMENT
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.huggingface import read_dataset
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.rows import SeenIds
from glasshouse.data.sources.settings import Reading
from glasshouse.data.sources.tables import documents_of_table


def collected(batches, quarantine):
    found = []
    for batch in batches:
        assert batch.schema.equals(DOCUMENT)
        batch.validate(full=True)
        found += batch.to_pylist()
    assert quarantine.rows_kept == len(found)
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
    return found


def read(path, **reading):
    quarantine = Quarantine()
    (shard,) = plan_inputs(path, reading=Reading(**reading))
    return collected(shard.batches(quarantine), quarantine), quarantine


def expected(rows, limit):
    """What the documents are, written a second time: (id, text, source, added, metadata) or a reason, per row."""
    seen, out = set(), []
    for row in rows:
        if row["id"] is None:
            out.append("missing_id")
        elif row["text"] is None:
            out.append("missing_text")
        elif row["id"] == "":
            out.append("missing_id")
        elif len(row["text"].encode()) > limit:
            out.append("text_too_long")
        elif (row["source"] or "unknown", row["id"]) in seen:
            out.append("duplicate_id")
        else:
            seen.add((row["source"] or "unknown", row["id"]))
            metadata = row["metadata"]
            try:
                json.loads("{}" if metadata is None else metadata)
            except ValueError:
                metadata = json.dumps(metadata, ensure_ascii=False)
            out.append(
                (
                    row["id"],
                    row["text"],
                    row["source"] or "unknown",
                    row["added"] or "",
                    "{}" if metadata is None else metadata,
                )
            )
    return out


NAMES = st.one_of(st.none(), st.sampled_from(["", "a", "b", "é", "c"]))
ROW = st.fixed_dictionaries(
    {
        "id": NAMES,
        "text": st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=30)),
        "source": NAMES,
        "added": NAMES,
        "metadata": st.one_of(st.none(), st.sampled_from(['{"a":1}', "{}", "no json", '"x"', "[1]"])),
    }
)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(ROW, max_size=25),
    kind=st.sampled_from(["string", "large", "dictionary"]),
    cut=st.integers(1, 200),
    others=st.sampled_from(["drop", "metadata"]),
)
def test_columns_and_rows_agree_with_a_plain_loop(rows, kind, cut, others):
    """By columns ("drop") and row by row ("metadata", without other fields) must both equal the reference."""
    types = {"string": pa.string(), "large": pa.large_string(), "dictionary": pa.dictionary(pa.int32(), pa.string())}
    batch = pa.RecordBatch.from_pylist(rows, pa.schema(dict.fromkeys(ROW_NAMES, types[kind])))
    quarantine, reading = Quarantine(), Reading(max_document_bytes=40, batch_bytes=cut, other_fields=others)
    found = collected(documents_of_table(batch, ("f", 5), reading, quarantine, SeenIds()), quarantine)
    wanted = expected(rows, 40)
    kept = [row for row in wanted if isinstance(row, tuple)]
    assert [tuple(row[name] for name in ROW_NAMES) for row in found] == kept
    reasons = [(record["line"], record["reason"]) for record in quarantine.records]
    assert reasons == [(number + 6, row) for number, row in enumerate(wanted) if isinstance(row, str)]
    places = [number + 6 for number, row in enumerate(wanted) if isinstance(row, tuple)]
    assert [row["origin"] for row in found] == [
        {"file": f"f#row={place}", "start": 0, "end": len(row["text"].encode())}
        for place, row in zip(places, found, strict=True)
    ]


ROW_NAMES = ["id", "text", "source", "added", "metadata"]


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        (pa.array([1, 2]), pa.array(["a", "b"])),
        (pa.array([b"x", b"y"]), pa.array(["a", "b"])),
        (pa.array(["x", "y"]), pa.array([["a"], ["b"]])),
        (pa.array([None, None], pa.null()), pa.array(["a", "b"])),
        (pa.array(["x", "y"]), pa.array([1.5, None])),
    ],
)
def test_foreign_types_are_told_row_by_row(tmp_path, ids, texts):
    pq.write_table(pa.table({"id": ids, "text": texts}), tmp_path / "x.parquet")
    found, quarantine = read(tmp_path / "x.parquet")
    assert not found
    assert quarantine.rows_quarantined == 2
    assert {reason.split("_")[0] for reason in quarantine.by_reason} <= {"mistyped", "missing"}


def test_a_foreign_schema_with_keys_of_its_own(tmp_path):
    table = pa.table(
        {
            "content": pa.array(["one", "two", "one"], pa.large_string()).dictionary_encode(),
            "doc_id": pa.array([10, 11, 12], pa.uint32()),
            "url": ["u1", None, "u3"],
            "score": [0.5, float("nan"), 2.0],
            "when": pa.array([0, 1, 2], pa.timestamp("ms")),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    settings_ = {"text_key": "content", "id_key": "doc_id", "source": "web", "number_ids": True}
    found, quarantine = read(tmp_path / "x.parquet", **settings_, other_fields="metadata")
    assert [(row["id"], row["text"], row["source"]) for row in found] == [
        ("10", "one", "web"), ("11", "two", "web"), ("12", "one", "web"),
    ]  # fmt: skip
    assert json.loads(found[0]["metadata"]) == {"url": "u1", "score": 0.5, "when": "1970-01-01T00:00:00"}
    assert quarantine.rows_quarantined == 0
    assert len(read(tmp_path / "x.parquet", **(settings_ | {"number_ids": False}))[0]) == 0


def test_a_column_that_comes_twice_and_invalid_bytes_elsewhere(tmp_path):
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff"], pa.binary()).buffers())
    pq.write_table(pa.table({"id": ["a", "b"], "text": ["x", "y"], "created": bad}), tmp_path / "x.parquet")
    found, quarantine = read(tmp_path / "x.parquet")
    assert [row["created"] for row in found] == ["ok"]
    assert quarantine.by_reason == {"invalid_utf8": 1}


def dataset():
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"id": ["a", "b", "a", None], "text": ["x", "y", "z", "w"], "n": [1, 2, 3, 4]})


def test_dataset_objects(tmp_path):
    datasets = pytest.importorskip("datasets")
    made = dataset()
    for given_, names in (
        (made, ["d#row=1", "d#row=2"]),
        (made.to_iterable_dataset(), ["d#row=1", "d#row=2"]),
        (made.with_format("numpy"), ["d#row=1", "d#row=2"]),
        (made.select([1, 0]), ["d#row=1", "d#row=2"]),
        (
            datasets.DatasetDict({"train": made.select([0]), "test": made.select([1])}),
            ["d/train#row=1", "d/test#row=1"],
        ),
    ):
        quarantine = Quarantine()
        found = collected(read_dataset(given_, quarantine, name="d"), quarantine)
        assert sorted(row["id"] for row in found) == ["a", "b"]
        assert [row["origin"]["file"] for row in found] == names
        assert set(quarantine.by_reason) <= {"duplicate_id", "missing_id"}
    quarantine = Quarantine()
    list(read_dataset(made, quarantine))
    assert quarantine.by_reason == {"duplicate_id": 1, "missing_id": 1}
    with pytest.raises(TypeError, match="got list"):
        list(read_dataset([1], Quarantine()))


def test_saved_datasets_are_read_without_the_package(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    made = dataset()
    made.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict({"train": made.select([0]), "test": made.select([1])}).save_to_disk(tmp_path / "two")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    shards = plan_inputs(tmp_path / "one")
    assert [(shard.form, shard.name) for shard in shards] == [
        ("arrow", "data-00000-of-00002.arrow"), ("arrow", "data-00001-of-00002.arrow"),
    ]  # fmt: skip
    quarantine = Quarantine()
    found = collected((batch for shard in shards for batch in shard.batches(quarantine)), quarantine)
    assert [row["text"] for row in found] == ["x", "y", "z"]
    splits = plan_inputs(tmp_path / "two")
    assert [shard.path.split("/")[-2] for shard in splits] == ["train", "test"]
    (tmp_path / "one" / "state.json").write_text('{"_data_files": [], "_indices_files": [{"filename": "i"}]}')
    with pytest.raises(ValueError, match="selection of rows"):
        plan_inputs(tmp_path / "one")


@pytest.mark.parametrize("splits", ['["../outside"]', '["."]', '["/tmp"]', '[""]', "[1]", '"train"', "7"])
def test_splits_of_a_saved_dataset_are_folders_inside(tmp_path, splits):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_dict.json").write_text(f'{{"splits": {splits}}}')
    with pytest.raises(ValueError, match=r"dataset_dict\.json whose splits are no names of folders"):
        plan_inputs(tmp_path / "saved")


ASTRAY = """
import sys
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.sources.inputs import plan_inputs
quarantine = Quarantine()
list(plan_inputs(sys.argv[1])[0].batches(quarantine))
print(quarantine.records[0]["message"])
"""


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.list_(pa.string())])
def test_an_arrow_file_whose_offsets_lead_astray_is_damaged(tmp_path, kind):
    """Followed, such an offset can end the whole process, so another one reads the file."""
    texts = [f"text {n}" for n in range(4)]
    column = pa.array([[text] for text in texts] if pa.types.is_list(kind) else texts, kind)
    table = pa.table({"id": pa.array([f"id{n}" for n in range(4)]), "text": column})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    offsets = np.arange(5, dtype="<i8" if kind == pa.large_string() else "<i4") * 6
    assert sink.getvalue().count(offsets.tobytes()) == 1
    astray = offsets.copy()
    astray[2] = 1 << 30
    (tmp_path / "in.arrow").write_bytes(sink.getvalue().replace(offsets.tobytes(), astray.tobytes()))
    command = [sys.executable, "-c", ASTRAY, str(tmp_path / "in.arrow")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "column 'text' is damaged" in done.stdout
