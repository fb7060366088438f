"""Samples of one's own policy with scores, as rows of JSON Lines or Parquet: one row per sample.

    {"prompt": "How do I ...?", "helpful": 1.3, "harmless": -0.2, "refusal": 0.8}

`prompt` is text or messages and only says which samples belong together. Every other column is a score of the sample,
or a value of the prompt (a reference), which is then the same in all of its rows. Prompts may have different numbers of
samples: rows of the tensors are filled up with NaN, which never count as samples.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool
from torch import Tensor

from glasshouse.alignment.algebra import Expression, properties
from glasshouse.alignment.combination import Missing, columns_needed, references_from, utility
from glasshouse.alignment.frontier import Frontier, Preview, frontier
from glasshouse.alignment.transforms import PerPrompt, RewardError, Rewards


@dataclasses.dataclass(frozen=True)
class ScoredSamples:
    """Scores and values per prompt by column. `present` says which places of the tensors are samples."""

    prompts: tuple[str, ...]
    scores: Mapping[str, Rewards]
    columns: Mapping[str, PerPrompt]
    present: Bool[Tensor, "prompts samples"]
    missing: Mapping[str, int]


def preview_samples(
    paths: Sequence[str | Path],
    utilities: Mapping[str, Expression],
    judge: Mapping[str, str] | None = None,
    settings: Preview | None = None,
    *,
    accuracy: Mapping[str, float] | None = None,
    missing: Missing = "raise",
    prompt: str = "prompt",
) -> Frontier:
    """The frontier of utilities over samples in files.

    Args:
        judge: property -> column of the rewards that it is judged by; a property's own scores by default.
        accuracy: of the reward models by property, where it is known from held-out comparisons.
        missing: what is done with samples that lack a score: `raise`, or `drop` to leave them out everywhere.
    """
    about = list(dict.fromkeys(name for expression in utilities.values() for name in properties(expression)))
    if unknown := sorted(set(judge or {}) - set(about)):
        raise RewardError(f"no utility has a property {unknown[0]!r} to be judged: there are {', '.join(about)}")
    judges = {name: (judge or {}).get(name, name) for name in about}
    fixed = [name for expression in utilities.values() for name in columns_needed(expression)]
    samples = read_scored_samples(paths, [*about, *judges.values()], fixed, prompt)
    if missing == "raise" and any(samples.missing.values()):
        counts = ", ".join(f"{count} of {name!r}" for name, count in samples.missing.items() if count)
        raise RewardError(
            f"scores are missing or not finite: {counts}. A missing score never counts as good: mend them, or drop "
            "those samples"
        )
    judged = {name: samples.scores[column] for name, column in judges.items()}
    whole = torch.stack([value.isfinite() for value in samples.scores.values()]).all(0)
    scores = {name: samples.scores[name].where(whole, torch.nan) for name in about}
    made = {
        name: utility(expression, scores, references_from(expression, scores, samples.columns, missing="drop"), "drop")
        for name, expression in utilities.items()
    }
    others = {name: scores[name] for name, column in judges.items() if name != column}
    return frontier(made, judged, settings, scores=others, accuracy=accuracy)


def read_scored_samples(
    paths: Sequence[str | Path], scores: Iterable[str], columns: Iterable[str] = (), prompt: str = "prompt"
) -> ScoredSamples:
    """Scores of samples, gathered by prompt in the order in which prompts first come.

    A score that is absent, null or not finite is NaN here, and counted in `missing`: what is to be done with it is
    said to `combination.utility`. Raises `RewardError` with the file and row for anything that is no number, columns
    that no row has, and values of a prompt that differ.
    """
    wanted, fixed = tuple(dict.fromkeys(scores)), tuple(dict.fromkeys(columns))
    found: dict[str, list[list[float]]] = {}
    values: dict[str, list[float]] = {}
    seen: set[str] = set()
    for where, row in rows(paths):
        seen |= row.keys()
        key = _prompt(row, prompt, where)
        given = [_number(row.get(name), name, where) for name in fixed]
        if any(value != value for value in given):
            name = next(name for name, value in zip(fixed, given, strict=True) if value != value)
            raise RewardError(f"{where} has no finite {name!r}: a reference is needed for every prompt")
        if values.setdefault(key, given) != given:
            raise RewardError(f"{where}: {', '.join(fixed)} differ between samples of one prompt, they belong to it")
        found.setdefault(key, []).append([_number(row.get(name), name, where) for name in wanted])
    if not found:
        raise RewardError(f"no samples in {', '.join(map(str, paths)) or 'no files'}")
    if unknown := [name for name in (*wanted, *fixed) if name not in seen]:
        raise RewardError(f"no row has a column {unknown[0]!r}: there are {', '.join(sorted(seen))}")
    return _gathered(found, values, wanted, fixed)


def _gathered(
    found: Mapping[str, list[list[float]]],
    values: Mapping[str, list[float]],
    wanted: Sequence[str],
    fixed: Sequence[str],
) -> ScoredSamples:
    longest = max(map(len, found.values()))
    table = torch.full((len(found), longest, len(wanted)), torch.nan, dtype=torch.float64)
    present = torch.zeros(len(found), longest, dtype=torch.bool)
    for index, samples in enumerate(found.values()):
        table[index, : len(samples)] = torch.tensor(samples, dtype=torch.float64).view(len(samples), len(wanted))
        present[index, : len(samples)] = True
    scores = {name: table[..., index].contiguous() for index, name in enumerate(wanted)}
    missing = {name: int((score.isnan() & present).sum()) for name, score in scores.items()}
    per_prompt = torch.tensor([values[key] for key in found], dtype=torch.float64).view(len(found), len(fixed))
    columns = {name: per_prompt[:, index] for index, name in enumerate(fixed)}
    return ScoredSamples(tuple(found), scores, columns, present, missing)


def rows(paths: Sequence[str | Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows with where they stand."""
    for path in map(Path, paths):
        if path.suffix == ".parquet":
            try:
                listed = pq.read_table(path).to_pylist()
            except pa.ArrowInvalid as error:
                raise RewardError(f"{path} is no Parquet file ({' '.join(str(error).split())})") from None
            yield from ((f"{path}, row {number}", row) for number, row in enumerate(listed, 1))
        else:
            with path.open("rb") as lines:
                yield from _json_lines(path, lines)


def _json_lines(path: Path, lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(
                line
            )  # takes NaN and Infinity, as Python writes them: they are missing scores, no broken rows
        except ValueError as error:
            raise RewardError(f"{path}, row {number} is no JSON ({error})") from None
        if not isinstance(row, dict):
            raise RewardError(f"{path}, row {number} is no object with columns but a {type(row).__name__}")
        yield f"{path}, row {number}", row


def _prompt(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row.get(column)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    raise RewardError(
        f"{where} has no {column!r} that is text or messages: it has {', '.join(sorted(row)) or 'nothing'}"
    )


def _number(value: Any, name: str, where: str) -> float:
    """The number, NaN where there is none or none that is finite."""
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RewardError(f"{where}: {name!r} takes one number per sample, got {value!r:.60}")
    return float(value) if abs(value) < float("inf") else float("nan")
