"""Ten thousand documents, three epochs, growing batches, data that changes: every answer against laying it all out.

Bar: every (step, row, span) leads to its document and every document to its steps, for 1, 2 and 4 ranks, in under a
millisecond a question, with nothing stored but the run's identity.
"""

from __future__ import annotations

import json
import random
import time

import numpy as np
import pytest
import torch

from glasshouse.data.document import Document, Origin, batches
from glasshouse.data.tokens.shards import TokenShards, write_shards
from glasshouse.data.tokens.tokenizer import train_bpe
from glasshouse.language.joined import JoinedShards
from glasshouse.language.token_rows import TokenRows
from glasshouse.language.trace import Trace
from glasshouse.store.configuration import canonical
from glasshouse.training.configuration import BatchStage, Training
from glasshouse.training.identity import order_of_run, training_order
from glasshouse.training.loader import Loader
from glasshouse.training.stages import DataStages, StagedOrder

CONTEXT, DOCUMENTS, LATER = 32, 10_000, 400
WORDS = ["leaf", "root", "stem", "glass", "house", "light", "water", "clay"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    found = []
    tokenizer = train_bpe([" ".join(WORDS)] * 20, 280)
    for name, count in (("web", DOCUMENTS), ("books", LATER)):
        draw = random.Random(name)
        documents = [
            Document(
                id=f"{name}-{i}", text=" ".join(draw.choices(WORDS, k=draw.randint(1, 40))), source=name,
                origin=Origin(f"{name}.jsonl", i, i + 1),
            )
            for i in range(count)
        ]  # fmt: skip
        directory = tmp_path_factory.mktemp(name)
        write_shards(batches(documents), tokenizer, directory, shard_tokens=60_000)
        found.append(TokenShards(directory / "train"))
    return found


@pytest.fixture(scope="module")
def run(parts):
    """Settings, data and order: three epochs of the first part while the batch doubles twice, then the second."""
    rows = parts[0].row_count(CONTEXT)
    stages = [BatchStage(batch_size=16, examples=rows // 2), BatchStage(batch_size=32, examples=rows)]
    settings = Training(examples=3 * rows, batch_size=64, batch_warmup=stages, micro_batch_size=4, precision="fp32")
    first = settings.total_steps() + 1
    settings = settings.but(examples=None, steps=first + 60)
    data = DataStages(((1, TokenRows(parts[0], CONTEXT, 320)), (first, TokenRows(parts[1], CONTEXT, 320))))
    return settings, data, training_order(settings, data), first


def laid_out(parts, order: StagedOrder, first: int, steps: int):
    """(document, low, high) of every row, and (row, epoch) of every place in the stream, by plain replay."""
    rows = []
    for shards in parts:
        table = shards.documents().to_pylist()
        for shard, entry in enumerate(shards.manifest.shards):
            spans = [(r["start"], r["end"], r["id"]) for r in table if r["shard"] == shard]
            owner = [name for start, end, name in spans for _ in range(end - start)]
            for start in range(0, entry.tokens - CONTEXT + 1, CONTEXT):
                piece, held, low = owner[start : start + CONTEXT], [], 0
                for place in range(1, CONTEXT + 1):
                    if place == CONTEXT or piece[place] != piece[low]:
                        held.append((piece[low], low, place))
                        low = place
                rows.append(held)
    batches_, offset = {}, 0
    grows = [begin - 1 for begin, _ in order.plan.stages[1:]]
    for index, (begin, shuffle) in enumerate(order.stages):
        last = first - 1 if index == 0 else steps
        epochs = [shuffle.row_at(epoch, np.arange(shuffle.rows)) for epoch in range(40 if index else 4)]
        stream = [(offset + int(row), epoch) for epoch, found in enumerate(epochs) for row in found]
        position = 0
        for step in range(begin, last + 1):
            size = next((rows for rows, last in zip((16, 32), grows, strict=True) if step <= last), 64)
            batches_[step] = stream[position : position + size]
            position += size
        offset += shuffle.rows
    return rows, batches_


@pytest.mark.slow
def test_everything_equals_a_replay_in_both_directions(parts, run):
    settings, data, order, first = run
    steps = settings.total_steps()
    rows, expected = laid_out(parts, order, first, steps)
    assert len(rows) == data.rows
    assert order.visits_of_row(0, first - 1)[-1].epoch == 2
    # Nothing but the identity is needed.
    identity = json.loads(json.dumps({"order": order.identity, "configuration": canonical(settings)}))
    assert len(json.dumps(identity)) < 4096
    shards = JoinedShards(tuple(parts))
    everything = {}
    for world in (1, 2, 4):
        trace = Trace(order_of_run(identity), shards, CONTEXT, steps, world)
        forward = set()
        for step in range(1, steps + 1):
            found = [(s.step, s.epoch, s.rank, s.row, *s.tokens, s.document) for s in trace.at_step(step)]
            wanted = [
                (step, epoch, place % world, row, low, high, name)
                for rank in range(world)
                for place, (row, epoch) in list(enumerate(expected[step]))[rank::world]
                for name, low, high in rows[row]
            ]
            assert found == wanted
            forward |= set(found)
        everything[world] = forward
    # Backwards: the steps of every document, complete and nothing else.
    trace, back = Trace(order_of_run(identity), shards, CONTEXT, steps, 4), set()
    for name in (f"{part}-{i}" for part, count in (("web", DOCUMENTS), ("books", LATER)) for i in range(count)):
        back |= {(s.step, s.epoch, s.rank, s.row, *s.tokens, s.document) for s in trace.of_document(name)}
    assert back == everything[4]


@pytest.mark.parametrize(("world", "prefetch"), [(1, 0), (2, 3), (4, 1)])
def test_the_loader_reads_these_documents(parts, run, world, prefetch):
    _, data, order, first = run
    for rank in range(world):
        span = {"first": first - 12, "last": first + 12, "micro_batch": 4, "rank": rank, "world": world}
        with Loader(data, order, prefetch=prefetch, **span) as loader:
            for prepared in loader:
                part = parts[prepared.step >= first]
                inside = prepared.rows - (data.first_rows[1] if prepared.step >= first else 0)
                read = torch.cat([batch["tokens"] for batch in prepared.batches])
                assert torch.equal(read, torch.from_numpy(part.rows(inside, CONTEXT)))
                assert data.describe(prepared.rows) == list(
                    dict.fromkeys(
                        f"{s.document_id} ({s.source})" for row in inside for s in part.spans_of_row(row, CONTEXT)
                    )
                )


def test_a_question_takes_under_a_millisecond(parts, run):
    settings, _, order, _ = run
    steps, shards = settings.total_steps(), JoinedShards(tuple(parts))
    trace = Trace(order, shards, CONTEXT, steps, 4)
    trace.of_document("web-0")  # reads the spans once
    draw, forward, backward = random.Random(0), [], []
    for _ in range(300):
        step, rank = draw.randint(1, steps), draw.randrange(4)
        began = time.process_time()
        row = int(order.rows_at_step(step, rank, 4)[0])
        shards.spans_of_row(row, CONTEXT)
        forward.append(time.process_time() - began)
        name = f"web-{draw.randrange(DOCUMENTS)}"
        began = time.process_time()
        trace.of_document(name)
        backward.append(time.process_time() - began)
    assert sorted(forward)[150] < 1e-3
    assert sorted(backward)[150] < 1e-3
    print(f"row of a step {1e6 * sorted(forward)[150]:.0f} us, document {1e6 * sorted(backward)[150]:.0f} us")
