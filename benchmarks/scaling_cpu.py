"""How the best learning rate and batch move with the size of a model and the length of its training, fitted on a CPU.

For every group (depth, tokens, rows per update) the same model is trained with learning rates a factor of two apart on
one pass over new text, outwards until the best has a neighbour on both sides; a parabola through the three held-out
losses around the best, over the logarithm of the rate, has its minimum at the best rate. Power laws are fitted to the
minima:

    best rate = a N^b D^c B^d          N parameters without embeddings, D tokens, B tokens per update
    best batch = e D^f                 from parabolas over the batch, each batch at its own best rate

`glasshouse.language.scaling` holds the fitted rule, and a test compares it with the JSON written here. Text: what the
recipe `quickstart` trains on, more of it. A cell that is in the JSON is not trained again.

    python benchmarks/scaling_cpu.py STORE             (an hour of one core; --small tries it in a minute)
    python benchmarks/scaling_cpu.py --fit --pictures docs/images     only fits what is in the JSON, and draws it
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from turns import machine

from glasshouse.data.curation.rules import dolma_rules
from glasshouse.data.deduplication.methods import exact, minhash
from glasshouse.data.signals.pii import pii
from glasshouse.data.sources.installed import InstalledText
from glasshouse.data.steps import Shards, curate, installed_text, tokenize, train_tokenizer
from glasshouse.language.pretrain import LanguageModelling, TokenRows
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import Transformer
from glasshouse.store.drawing import curves_file
from glasshouse.store.execution import execute
from glasshouse.store.panels import Curves
from glasshouse.store.store import Store
from glasshouse.training.configuration import Training
from glasshouse.training.trainer import train

RESULTS = Path(__file__).parent / "results" / "scaling_cpu.json"
MILLION = 1_000_000
FIRST_RATES = (4e-3, 8e-3, 1.6e-2)
HELD_OUT_ROWS = 400


@dataclass(frozen=True, order=True)
class Cell:
    """One training run."""

    depth: int
    tokens: int
    rows: int
    rate: float

    @property
    def name(self) -> str:
        return f"depth {self.depth}, {self.tokens} tokens, {self.rows} rows, rate {self.rate:g}"


Group = tuple[int, int, int]
"""Depth, tokens, rows per update."""


def groups(small: bool) -> list[Group]:
    """What is compared, the cheapest first."""
    if small:
        return [(1, 100_000, 8), (2, 100_000, 8)]
    rates = [(2, 0.25), (2, 0.5), (2, 1), (3, 0.5), (3, 1), (4, 0.5), (4, 1), (6, 0.5)]
    found = [(depth, round(millions * MILLION), 8) for depth, millions in rates]
    batches = {0.25: (1, 2, 4, 16, 32), 0.5: (1, 2, 4), 1: (2, 4, 16, 32)}
    found += [(2, round(millions * MILLION), rows) for millions, sizes in batches.items() for rows in sizes]
    return sorted(found, key=lambda group: (group[0] ** 2 * group[1], group))


def next_rate(tried: dict[float, float]) -> float | None:
    """The rate to try next, given the losses of those tried: outwards until the best has a neighbour on both sides."""
    for rate in FIRST_RATES:
        if rate not in tried:
            return rate
    rates = sorted(tried)
    best = min(rates, key=lambda rate: tried[rate])
    if best == rates[0] and best > 1e-4:
        return best / 2
    if best == rates[-1] and best < 0.2:
        return best * 2
    return None


def text(store: Path, megabytes: float) -> Shards:
    """Tokens of what is on this machine, curated as `quickstart` does it."""
    corpus = curate(
        installed_text(InstalledText(megabytes=megabytes)),
        keep=dolma_rules,
        mask=pii,
        deduplicate=[exact(), minhash()],
    )
    made = execute(tokenize(corpus, train_tokenizer(corpus, vocabulary=4096), holdout=0.03), Store(store))
    assert isinstance(made, Shards)
    return made


def run(cell: Cell, shards: Shards) -> dict[str, Any]:
    """Train one cell; its held-out loss in nats per token, over the same rows for everyone."""
    config = olmo(depth=cell.depth).but(vocabulary=shards.train.vocabulary)
    model = Transformer(config, seed=0)
    data = TokenRows(shards.train, config.context, config.vocabulary)
    held_out = TokenRows(shards.holdout, config.context, config.vocabulary)
    if data.rows * config.context < cell.tokens:
        raise SystemExit(f"{cell.name} needs {cell.tokens} tokens, there are {data.rows * config.context}")
    training = Training(
        tokens=cell.tokens, batch_size=cell.rows, micro_batch_size=min(4, cell.rows), seed=0,
        learning_rate=cell.rate, warmup=0.05, final_fraction=0, compile=False, checkpoint_every=None,
    )  # fmt: skip
    objective = LanguageModelling(model, validation=_First(held_out, HELD_OUT_ROWS))  # type: ignore[arg-type]
    started = time.process_time()
    with tempfile.TemporaryDirectory() as directory:
        result = train(objective, data, training, directory)
    model.eval()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        **asdict(cell),
        "batch_tokens": cell.rows * config.context,
        "parameters": parameters,
        "without_embeddings": parameters - model.embedding.weight.numel(),
        "steps": result.steps,
        "loss": objective.validate()["loss"],
        "training_loss": result.loss,
        "cpu_seconds": round(time.process_time() - started, 1),
    }


@dataclass(frozen=True)
class _First:
    """The first rows of some data."""

    data: TokenRows
    most: int

    @property
    def rows(self) -> int:
        return min(self.most, self.data.rows)

    def batch(self, indices: Any) -> Any:
        return self.data.batch(indices)


def minimum(xs: Sequence[float], losses: Sequence[float]) -> tuple[float, float] | None:
    """Where a parabola through the lowest point and its neighbours is lowest, and its value; None at an end."""
    best = int(np.argmin(losses))
    if not 0 < best < len(losses) - 1:
        return None
    a, b, c = np.polyfit(xs[best - 1 : best + 2], losses[best - 1 : best + 2], 2)
    at = float(-b / (2 * a))
    return at, float(c - b * b / (4 * a))


def fit(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The minima of all groups and the power laws through them."""
    measured: dict[Group, list[dict[str, Any]]] = {}
    for row in found:
        measured.setdefault((row["depth"], row["tokens"], row["rows"]), []).append(row)
    best = []
    for (depth, tokens, rows), members in sorted(measured.items()):
        members.sort(key=lambda row: row["rate"])
        at = minimum([np.log(row["rate"]) for row in members], [row["loss"] for row in members])
        about = {"depth": depth, "tokens": tokens, "rows": rows, "batch_tokens": members[0]["batch_tokens"]}
        about["without_embeddings"] = members[0]["without_embeddings"]
        best.append(about | ({"rate": None} if at is None else {"rate": float(np.exp(at[0])), "loss": at[1]}))
    inside = [row for row in best if row["rate"] is not None]
    columns = ("without_embeddings", "tokens", "batch_tokens")
    rate = _power_law(inside, columns, "rate")
    batches = []
    for (depth, tokens), members in itertools.groupby(inside, key=lambda row: (row["depth"], row["tokens"])):
        rows = sorted(members, key=lambda row: row["batch_tokens"])
        if len(rows) > 2:
            at = minimum([np.log(row["batch_tokens"]) for row in rows], [row["loss"] for row in rows])
            value = None if at is None else float(np.exp(at[0]))
            batches.append({"depth": depth, "tokens": tokens, "batch_tokens": value})
    known = [row for row in batches if row["batch_tokens"] is not None]
    return {"best": best, "rate": rate, "batches": batches, "batch": _power_law(known, ("tokens",), "batch_tokens")}


def _power_law(rows: list[dict[str, Any]], columns: Sequence[str], target: str) -> dict[str, Any] | None:
    """log target = log factor + sum of exponent x log column, by least squares, with standard errors."""
    if len(rows) <= len(columns):
        return None
    x = np.array([[1.0, *(np.log(row[name]) for name in columns)] for row in rows])
    y = np.log([row[target] for row in rows])
    solution, *_ = np.linalg.lstsq(x, y, rcond=None)
    left = y - x @ solution
    spare = len(rows) - x.shape[1]
    scale = np.sqrt(np.diag(np.linalg.inv(x.T @ x)))
    errors = [float(np.sqrt(left @ left / spare) * size) if spare else None for size in scale]
    names = ("factor", *columns)
    values = [float(np.exp(solution[0])), *map(float, solution[1:])]
    return {
        "exponents": dict(zip(names, values, strict=True)),
        "standard_errors": dict(zip(("log factor", *columns), errors, strict=True)),
        "largest_ratio": float(np.exp(np.abs(left).max())),
        "points": len(rows),
    }


def pictures(fitted: dict[str, Any], cells: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Losses over the rate, and best rates over the batch with the fitted law, as SVG."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(cells, key=lambda row: (row["depth"], row["tokens"], row["rate"])):
        if row["rows"] == 8 and row["tokens"] == MILLION // 2:
            name = f"{row['depth']} layers"
            series.setdefault(name, []).append((float(np.log2(row["rate"] / 1e-3)), row["loss"]))
    rates = Curves(
        "Held-out loss by learning rate", "log2(rate / 0.001), 2,048 tokens an update", "nats per token", series
    )
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in fitted["best"]:
        if row["depth"] == 2 and row["rate"] is not None:
            x = float(np.log2(row["batch_tokens"]))
            for name, value in (("measured", row["rate"]), ("fitted", law(fitted["rate"], row))):
                lines.setdefault(f"{name}, {row['tokens'] / MILLION:g}M tokens", []).append((x, value))
    batches = Curves(
        "Best learning rate by batch, 2 layers", "log2(tokens an update)", "learning rate", lines, log_y=True
    )
    return {"scaling_rates.svg": curves_file(rates), "scaling_batches.svg": curves_file(batches)}


def law(fitted: dict[str, Any], row: dict[str, Any]) -> float:
    """A fitted power law at a row's values."""
    value = 1.0
    for name, exponent in fitted["exponents"].items():
        value *= exponent if name == "factor" else row[name] ** exponent
    return value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", type=Path, help="where the text and its tokens are kept")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--megabytes", type=float, default=30)
    parser.add_argument("--pictures", type=Path, help="a folder for the pictures")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--fit", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    kept = (
        json.loads(arguments.out.read_text())
        if arguments.out.exists()
        else {"machine": machine("torch", "glasshouse"), "cells": {}}
    )
    if not arguments.fit:
        if arguments.store is None:
            parser.error("name a STORE, or --fit")
        shards = text(arguments.store, 3 if arguments.small else arguments.megabytes)
        for group in groups(arguments.small):
            tried: dict[float, float] = {}
            while (rate := next_rate(tried)) is not None:
                cell = Cell(*group, rate)
                if cell.name not in kept["cells"]:
                    kept["cells"][cell.name] = row = run(cell, shards)
                    print(f"{cell.name}: {row['loss']:.4f} ({row['cpu_seconds']:.0f} CPU s)", flush=True)
                    _write(arguments.out, kept)
                tried[rate] = kept["cells"][cell.name]["loss"]
    kept["fit"] = fit(kept["cells"].values())
    _write(arguments.out, kept)
    if kept["fit"]["rate"] is not None and arguments.pictures:
        for name, picture in pictures(kept["fit"], kept["cells"].values()).items():
            (arguments.pictures / name).write_text(picture)
    print(json.dumps(kept["fit"], indent=1))
    return 0


def _write(path: Path, kept: dict[str, Any]) -> None:
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
