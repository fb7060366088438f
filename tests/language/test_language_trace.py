"""Provenance against brute force: the stream is laid out row by row and searched."""

from __future__ import annotations

import numpy as np
import pytest

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.tokens.shards import TokenShards, write_shards
from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.trace import Sighting, Trace
from glasshouse.store.store import StoreError
from glasshouse.training.order import BatchPlan, DataOrder, KeyedOrder, OlmoOrder

CONTEXT, BATCH, STEPS = 16, 12, 60


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    generator = np.random.default_rng(0)
    words = ["leaf", "root", "stem", "glass", "house", "light"]
    documents = []
    for index in range(60):
        text = " ".join(generator.choice(words, size=int(generator.integers(1, 60))))
        documents.append(
            Document(id=f"d{index}", text=text, source="garden", origin=Origin(f"f{index % 7}", index, index + 1))
        )
    directory = tmp_path_factory.mktemp("shards")
    made = list(batches(documents))
    write_shards(made, train_bpe([d.text for d in documents], 280), directory, shard_tokens=400)
    return TokenShards(directory / "train")


def brute_force(shards: TokenShards, order: DataOrder, world: int) -> set[tuple[object, ...]]:
    """(step, epoch, rank, row, tokens, document) of everything, by laying out the whole stream."""
    table = shards.documents().to_pylist()
    rows: list[list[tuple[int, int, str]]] = []
    for shard, entry in enumerate(shards.manifest.shards):
        owner = [
            record["id"] for record in table if record["shard"] == shard for _ in range(record["start"], record["end"])
        ]
        for start in range(0, entry.tokens - CONTEXT + 1, CONTEXT):
            piece, parts = owner[start : start + CONTEXT], []
            for name in dict.fromkeys(piece):
                places = [place for place, other in enumerate(piece) if other == name]
                parts.append((places[0], places[-1] + 1, name))
            rows.append(parts)
    stream = [
        (epoch, int(row))
        for epoch in range(STEPS * BATCH // len(rows) + 1)
        for row in order.permutation.row_at(epoch, np.arange(len(rows)))
    ]
    return {
        (step + 1, epoch, place % world, row, (low, high), name)
        for step in range(STEPS)
        for place, (epoch, row) in enumerate(stream[step * BATCH : (step + 1) * BATCH])
        for low, high, name in rows[row]
    }


def plain(item: Sighting) -> tuple[object, ...]:
    return (item.step, item.epoch, item.rank, item.row, item.tokens, item.document)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("kind", [KeyedOrder, OlmoOrder])
def test_both_directions_equal_brute_force_over_several_epochs(
    shards: TokenShards, kind: type[KeyedOrder] | type[OlmoOrder], world: int
) -> None:
    order = DataOrder(kind(shards.row_count(CONTEXT), 3), BatchPlan.constant(BATCH))
    assert 2 * shards.row_count(CONTEXT) < STEPS * BATCH
    trace = Trace(order, shards, CONTEXT, STEPS, world)
    expected = brute_force(shards, order, world)
    forward = [plain(item) for step in range(1, STEPS + 1) for item in trace.at_step(step)]
    assert set(forward) == expected
    assert len(forward) == len(expected)
    ids = {str(record["id"]) for record in shards.documents().to_pylist()}
    backward = [plain(item) for name in ids for item in trace.of_document(name)]
    assert set(backward) == expected
    assert len(backward) == len(expected)


def test_bytes_lead_back_to_the_source_file(shards: TokenShards) -> None:
    order = DataOrder(KeyedOrder(shards.row_count(CONTEXT), 3), BatchPlan.constant(BATCH))
    for item in Trace(order, shards, CONTEXT, STEPS).at_step(1):
        number = int(item.document[1:])
        assert (item.file, item.bytes) == (f"f{number % 7}", (number, number + 1))


def test_bad_questions_get_clear_answers(shards: TokenShards) -> None:
    trace = Trace(
        DataOrder(KeyedOrder(shards.row_count(CONTEXT), 3), BatchPlan.constant(BATCH)), shards, CONTEXT, STEPS
    )
    with pytest.raises(StoreError, match="updates 1 to 60; there is no update 61"):
        trace.at_step(61)
    with pytest.raises(StoreError, match=r"no document 'd999'.*close ones"):
        trace.of_document("d999")
