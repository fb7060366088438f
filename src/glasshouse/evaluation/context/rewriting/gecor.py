"""GECOR: turns of CamRest676 with ellipsis or coreference, and the complete sentence they stand for."""

from __future__ import annotations

from pathlib import Path

from glasshouse.evaluation.context.dialogue_state.camrest import read_camrest_rows
from glasshouse.evaluation.context.rewriting.queries import Query

KINDS = ("ellipsis", "coreference")


def read_gecor(folder: str | Path, kinds: tuple[str, ...] = KINDS) -> list[Query]:
    """Every turn in each incomplete version that it has."""
    found = []
    for row in read_camrest_rows(folder):
        history: list[tuple[str, str]] = []
        group = f"camrest-{row['dialogue_id']}"
        for number, turn in enumerate(row["dial"]):
            said = turn["usr"]
            for kind in kinds:
                text = said[f"transcript_with_{kind}"].strip()
                if text:
                    whole = said["transcript_complete"].strip()
                    found.append(Query(f"{group}-{number}-{kind}", tuple(history), text, whole, group))
            history += [("User", said["transcript"]), ("Bot", turn["sys"]["sent"])]
    return found
