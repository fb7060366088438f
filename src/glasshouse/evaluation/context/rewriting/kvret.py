"""CQR on KVRET ("InCar"): what a driver said to an assistant, reformulated.

What is rewritten is the turn at `base_utt_idx`, which is not always the last: a driver asks for an appointment, is
asked when, and the reformulation is of the first request with the answer in it. Turns that nobody reformulated, since
they are complete, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glasshouse.evaluation.context.rewriting.canard import read_rows
from glasshouse.evaluation.context.rewriting.queries import Query
from glasshouse.evaluation.context.sources import find_files

_SPEAKERS = {"driver": "User", "assistant": "Bot"}


def read_cqr_kvret(folder: str | Path, split: str = "test") -> list[Query]:
    """Queries of a split, with all that was said before the assistant answered."""
    file = find_files("cqr_kvret", folder, f"{split}.json", f"*_{split}_public.json")[0]
    return [query for row in read_rows(file) for query in _queries(row)]


def _queries(row: dict[str, Any]) -> Iterator[Query]:
    turns = row["dialogue"]
    said = [(_SPEAKERS[turn["turn"]], turn["data"]["utterance"].strip()) for turn in turns]
    for number, turn in enumerate(turns):
        found = turn.get("reformulation")
        if found and found["reformulated_utt"]:
            base = found["base_utt_idx"]
            group = row["scenario"]["uuid"]
            # the query itself stands below the conversation, where it is the last turn
            history = tuple(said[:number]) if base < number - 1 else tuple(said[:base])
            yield Query(f"{group}-{number}", history, said[base][1], found["reformulated_utt"].strip(), group)
