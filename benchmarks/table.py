"""The tables of benchmarks/README.md, made from the JSON in benchmarks/results.

python benchmarks/table.py --write     put them between the markers
python benchmarks/table.py --check     fail when they are not what the JSON says
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Result = dict[str, Any]


def training_speed(found: Result) -> str:
    """Rows and bars of `train_cpu.json`."""
    tokens = found["batch"] * found["shape"]["context"]
    rows = [
        [
            name,
            f"{row['step']['median']:.3f}",
            f"{row['step']['quarter']:.3f} to {row['step']['three_quarters']:.3f}",
            f"{tokens / row['step']['median']:,.0f}",
            f"{row['cold_cpu_seconds']:.0f}" if "compiled" in name else "",
            f"{row['last_loss']:.4f}",
        ]
        for name, row in found["rows"].items()
    ]
    head = ["row", "CPU s a step", "middle half", "tokens per CPU s", "cold compilation, CPU s", "last loss"]
    return _table(head, rows) + "\n\n" + _bars(found["bars"])


def shakespeare(found: Result) -> str:
    """Rows and bars of `shakespeare_cpu.json`."""
    rows = [
        [
            name,
            f"{row['parameters']:,}",
            f"{row['validation_loss']:.4f}",
            f"{row['validation_loss_random_windows']:.4f}",
            f"{1000 * statistics.median(row['cpu_seconds_of_turns']) / found['turn']:.1f}",
        ]
        for name, row in found["rows"].items()
    ]
    head = ["run", "weights", "validation loss", "on random windows", "CPU ms a step"]
    return _table(head, rows) + "\n\n" + _bars(found["bars"])


def attention(found: Result) -> str:
    """The two kernels of `attention_cpu.json`, CPU milliseconds."""
    rows = [
        [name, f"{row['tiled']:.1f}", f"{row['fused']:.1f}", f"{row['tiled'] / row['fused']:.2f}"]
        for name, row in found["attention"].items()
        if name.startswith("bfloat16")
    ]
    return _table(["shape", "tiled, ms", "fused, ms", "tiled / fused"], rows)


def curation(found: Result) -> str:
    """All bars of `curation.json`, part by part."""
    rows = []
    for bar in found["bars"]:
        value = "" if bar["value"] is None else f"{bar['value']:.4g}"
        holds = {True: "yes", False: "**no**", None: "not measured"}[bar["holds"]]
        rows.append([f"{bar['part']}: {bar['what']}", bar["bar"], value, holds])
    peers = ", ".join(f"{name} {version}" for name, version in found["peers"].items())
    corpus = found["corpus"]
    about = f"Peers: {peers}. Corpus: {corpus['documents']:,} documents, {corpus['bytes_of_text'] / 1e6:.0f} MB."
    return about + "\n\n" + _table(["part: what", "wanted", "measured", "holds"], rows)


def training_on_a_gpu(found: Result) -> str:
    """Rows and bars of `train_gpu.json`, shape by shape."""
    rows = []
    for shape, measured in found["shapes"].items():
        rows += [[shape, name, f"not measured: {why}", "", "", ""] for name, why in measured["failed"].items()]
        for name, row in measured["rows"].items():
            share = "" if row["utilisation"] is None else f"{100 * row['utilisation']:.1f} %"
            memory = "" if row["memory_bytes"] is None else f"{row['memory_bytes'] / 2**30:.1f}"
            rows.append([shape, name, f"{row['tokens_per_second']:,.0f}", share, memory, str(row["micro_batch"])])
    head = ["shape", "row", "tokens/s", "utilisation", "memory, GiB", "rows a step"]
    return "\n\n".join([_table(head, rows), *([_bars(found["bars"])] if found["bars"] else [])])


def scaling(found: Result) -> str:
    """Best rates and batches of `scaling_cpu.json`, and the laws through them."""
    rows = []
    for best in found["fit"]["best"]:
        rate = "at an end" if best["rate"] is None else f"{best['rate']:.4f}"
        loss = "" if best["rate"] is None else f"{best['loss']:.4f}"
        rows.append(
            [f"{best['depth']} layers, {best['tokens'] / 1e6:g}M tokens", f"{best['batch_tokens']:,}", rate, loss]
        )
    lines = []
    for what, name in (("best rate", "rate"), ("best batch", "batch")):
        law = found["fit"][name]
        terms = [f"{law['exponents']['factor']:.3g}"]
        for column, exponent in law["exponents"].items():
            if column != "factor":
                error = law["standard_errors"][column]
                terms.append(f"{column}^({exponent:.3f}" + ("" if error is None else f" ± {error:.3f}") + ")")
        lines.append(
            f"{what} = {' x '.join(terms)}: {law['points']} points, the worst off by {law['largest_ratio']:.2f}x"
        )
    head = ["model and training", "tokens an update", "best rate", "loss there, nats"]
    return _table(head, rows) + "\n\n" + "\n\n".join(lines)


def logic_programs(found: Result) -> str:
    """Accuracies of `logic_programs.json`, and what the second solver said."""
    rows = []
    for row in found["rows"]:
        low, high = row["interval"]
        other = row["accuracy_with_facts_about_everything"]
        name = f"{row['dataset']}, {row['model']}"
        counts = [str(row["items"]), str(row["ran"])]
        shares = [f"{row['accuracy']:.4f}", f"{low:.3f} to {high:.3f}", f"{row['baseline']:.3f}"]
        bar = ["" if other is None else f"{other:.4f}", f"{row['bar']:.3f}", "yes" if row["holds"] else "**no**"]
        rows.append([name, *counts, *shares, *bar])
    agree = sum(solvers["agree"] for solvers in found["two_solvers"])
    differ = sum(len(solvers["differ"]) for solvers in found["two_solvers"])
    wrong = sum(len(row["problems"]) for row in found["rows"])
    about = (
        f"{found['cpu_seconds']['all']:.0f} CPU seconds in all. Evidence found wrong: {wrong}. Puzzles in which Z3 and "
        f"OR-tools agree: {agree} of {agree + differ}."
    )
    head = ["set, programs by", "items", "answered", "right", "95 % interval", "commonest answer", "second reading"]
    return _table([*head, "wanted", "holds"], rows) + "\n\n" + about


def policy_steps(found: Result) -> str:
    """Rows and bars of `rloo.json`."""
    rows = [
        [shape, name, *(f"{1000 * row[kind]['median']:.0f}" for kind in ("step", "wall_step"))]
        for shape, measured in found["shapes"].items()
        for name, row in measured["rows"].items()
    ]
    return _table(["shape", "row", "CPU ms a step", "wall ms a step"], rows) + "\n\n" + _bars(found["bars"])


def scoring(found: Result) -> str:
    """Rows and bars of `evaluation.json`."""
    rows = [
        [who, *(f"{1000 * found['cpu_seconds'][kind][who]['median']:.0f}" for kind in ("likelihoods", "texts"))]
        for who in found["cpu_seconds"]["texts"]
    ]
    commands = [
        [name, *(f"{taken[clock]['median']:.1f}" for clock in ("wall", "cpu"))]
        for name, taken in found["commands"].items()
    ]
    asked = f"{found['parity']['likelihoods']} log-likelihoods, ms CPU"
    return "\n\n".join(
        [
            _table(["scorer", asked, f"{found['parity']['texts']} texts, ms CPU"], rows),
            _table(["command, to the first score", "wall s", "CPU s"], commands),
            _bars(found["bars"]),
        ]
    )


def context_baselines(found: Result) -> str:
    rows = []
    for name, methods in found["rows"].items():
        for method, values in methods.items():
            if method != "items":
                shown = ", ".join(f"{metric} {value:.1f}" for metric, value in values.items())
                rows.append([name, f"{methods['items']['records']:,}", method, shown])
    return _table(["task", "records", "trivial method", "of 100"], rows)


def unlearning(found: Result) -> str:
    """Medians over runs of `unlearning.json`, and in how many runs each claim holds."""
    columns = {
        "error, forgotten": "forget mse ratio",
        "error, retained": "retain mse ratio",
        "Fréchet, forgotten": "forget frechet",
        "nearest is right, forgotten": "forget nearest",
        "recovered": "recovered",
        "class by a probe": "probe",
        "membership, AUC": "membership",
        "audit passes": "passes",
    }
    passed = {name: sum(run["models"][name].get("passes", 0) for run in found["runs"]) for name in found["medians"]}
    rows = []
    for name, medians in found["medians"].items():
        told = {key: f"{medians[key]:.2f}" if key in medians else "" for key in columns.values()}
        told["passes"] = f"{passed[name]:.0f} of {len(found['runs'])}" if "passes" in medians else ""
        rows.append([name, *told.values()])
    claims = [[name.replace("_", " "), held] for name, held in found["held"].items()]
    return _table(["model", *columns], rows) + "\n\n" + _table(["claim", "holds in"], claims)


TABLES: dict[str, Callable[[Result], str]] = {
    "train_cpu": training_speed,
    "train_gpu": training_on_a_gpu,
    "train_gpu_h100": training_on_a_gpu,
    "shakespeare_cpu": shakespeare,
    "attention_cpu": attention,
    "scaling_cpu": scaling,
    "curation": curation,
    "logic_programs": logic_programs,
    "rloo": policy_steps,
    "evaluation": scoring,
    "context_baselines": context_baselines,
    "unlearning": unlearning,
}


def machine(found: Result) -> str:
    """One line on where it was measured."""
    about = found["machine"]
    left_out = ("vector_extensions", "load_average", "nanogpt_model_sha256")
    return "Measured on: " + ", ".join(f"{name} {value}" for name, value in about.items() if name not in left_out) + "."


def filled(text: str, results: Path) -> str:
    """`text` with every marked place filled from `results`. Raises `ValueError` for a place without its end."""
    for name, table in TABLES.items():
        start, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if start not in text or end not in text:
            raise ValueError(f"the text has no place for {name}: it needs the markers {start} and {end}")
        path = results / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            body = f"{table(found)}\n\n{machine(found)}"
        else:
            body = f"Not measured yet: `{path.name}` is missing."
        pattern = re.escape(start) + ".*?" + re.escape(end)
        text = re.sub(pattern, lambda _, b=body, s=start, e=end: f"{s}\n{b}\n{e}", text, flags=re.DOTALL)
    return text


def _bars(bars: Iterable[Result]) -> str:
    rows = []
    for bar in bars:
        spread = bar.get("ratio", {})
        value = bar.get("value", spread.get("median"))
        middle = f"{spread['quarter']:.2f} to {spread['three_quarters']:.2f}" if "quarter" in spread else ""
        rows.append([bar["what"], bar["bar"], f"{value:.2f}", middle, "yes" if bar["holds"] else "**no**"])
    return _table(["bar", "wanted", "measured", "middle half of the rounds", "holds"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=HERE / "README.md")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true")
    action.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    text = arguments.page.read_text(encoding="utf-8")
    wanted = filled(text, arguments.results)
    if arguments.write:
        arguments.page.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        print(f"{arguments.page} does not say what the JSON says: run python benchmarks/table.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
