"""Scoring a language model on a CPU, side by side: ours against lm-evaluation-harness and its `HFLM`.

The same random Llama folder, the same questions (four choices after two solved ones) and the same prompts for greedy
text; fp32, one thread. First whether the numbers are the same; then the CPU time of a pass over all requests, in turns
(see `turns.py`); then the time from a command to its first score, the harness's own command line against ours, on the
harness's own task file and on the same questions as plain rows.

    python benchmarks/evaluation.py            result in benchmarks/results/evaluation.json
    python benchmarks/evaluation.py --small    few requests and rounds, to try the script
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from turns import Competitor, Turn, machine, ratio_of, spread

from glasshouse.data.tokens.tokenizer import save_tokenizer, train_bpe
from glasshouse.evaluation.requests import Generate, LogLikelihood
from glasshouse.evaluation.scorers import LocalScorer, answers

RESULTS = Path(__file__).parent / "results"
BATCH = 16
"""Of HFLM, in requests; ours batches by tokens."""
PARITY, SPEED, COLD = 1e-4, 0.9, 0.4
WHO = ("hflm", "glasshouse", "glasshouse on transformers")
TASK = """task: cold_choices
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
output_type: multiple_choice
test_split: test
num_fewshot: 0
doc_to_text: "{{{{question}}}}"
doc_to_target: label
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


def words(draw: random.Random, least: int, most: int) -> str:
    """Words of a made-up language of 400 words."""
    syllables = "ka to mi re su no la pe vi ho".split()  # noqa: SIM905
    return " ".join(
        "".join(syllables[int(digit)] for digit in f"{draw.randrange(400):03d}")
        for _ in range(draw.randint(least, most))
    )


def requests(count: int) -> tuple[list[LogLikelihood], list[Generate]]:
    """`count` questions of four choices, and a quarter as many prompts."""
    draw = random.Random(1)
    likelihoods = []
    for _ in range(count):
        shown = "".join(f"Question: {words(draw, 4, 9)}\nAnswer: {words(draw, 1, 3)}\n\n" for _ in range(2))
        context = f"{shown}Question: {words(draw, 4, 9)}\nAnswer:"
        likelihoods += [LogLikelihood(context, f" {words(draw, 1, 4)}") for _ in range(4)]
    return likelihoods, [Generate(words(draw, 5, 30), ("mika",), 32) for _ in range(count // 4)]


def prepare(home: Path, count: int) -> None:
    """The model folder, and the questions as plain rows and as a task of the harness."""
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    draw = random.Random(0)
    tokenizer = train_bpe([words(draw, 5, 40) for _ in range(400)] + ["Question: \nAnswer: 0123456789."], 1000)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=96, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=256, bos_token_id=0, eos_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(home / "model")
    save_tokenizer(tokenizer, home / "model")
    end = tokenizer.id_to_token(0)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end).save_pretrained(home / "model")
    asked, _ = requests(count)
    rows = [
        {"question": group[0].context, "choices": [one.continuation[1:] for one in group], "label": number % 4}
        for number, group in enumerate(asked[first : first + 4] for first in range(0, len(asked), 4))
    ]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / "tasks").mkdir()
    (home / "tasks" / "cold_choices.yaml").write_text(TASK.format(rows=home / "rows.jsonl"))


def scoring(who: str, home: Path) -> Any:
    """A function of requests to `(log-likelihood, greedy)` and texts."""
    if who == "hflm":
        import transformers
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        model = transformers.AutoModelForCausalLM.from_pretrained(home / "model", dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(home / "model")
        harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH)

        def by_harness(asked: list[LogLikelihood], prompts: list[Generate]) -> tuple[list[Any], list[str]]:
            pairs = [Instance("loglikelihood", {}, (r.context, r.continuation), n) for n, r in enumerate(asked)]
            texts = [
                Instance("generate_until", {}, (r.prompt, {"until": list(r.stop), "max_gen_toks": r.tokens}), n)
                for n, r in enumerate(prompts)
            ]
            found = harness.loglikelihood(pairs, disable_tqdm=True) if pairs else []
            return found, harness.generate_until(texts, disable_tqdm=True) if texts else []

        return by_harness
    from glasshouse.evaluation.models import open_folder, scored_model

    if who == "glasshouse":
        scorer = LocalScorer(open_folder(home / "model"))
    else:
        import transformers

        model = transformers.AutoModelForCausalLM.from_pretrained(home / "model", dtype=torch.float32)
        scorer = LocalScorer(scored_model(model, transformers.AutoTokenizer.from_pretrained(home / "model")))

    def by_us(asked: list[LogLikelihood], prompts: list[Generate]) -> tuple[list[Any], list[str]]:
        found: list[Any] = answers(scorer, asked)
        written: list[Any] = answers(scorer, prompts)
        return [(one.nats, one.greedy) for one in found], [one.text for one in written]

    return by_us


def parity(home: Path, count: int) -> dict[str, Any]:
    """How far the log-likelihoods are apart, and how many answers differ."""
    asked, prompts = requests(count)
    told, texts = scoring("hflm", home)(asked, prompts)
    found: dict[str, Any] = {"likelihoods": len(asked), "texts": len(prompts), "different_texts": len(set(texts))}
    for who in WHO[1:]:
        pairs, written = scoring(who, home)(asked, prompts)
        apart = [abs(mine[0] - other[0]) for mine, other in zip(pairs, told, strict=True)]
        found[who] = {
            "largest_difference": max(apart),
            "differ": sum(one > PARITY for one in apart)
            + sum(mine[1] != other[1] for mine, other in zip(pairs, told, strict=True))
            + sum(mine != other for mine, other in zip(written, texts, strict=True)),
        }
    return found


def row(who: str, home: Path, count: int, kind: str) -> None:
    """A competitor's side: a step is a pass over all requests of a kind."""
    turn = Turn()
    asked, prompts = requests(count)
    score = scoring(who, home)
    given = (asked, []) if kind == "likelihoods" else ([], prompts)
    score(*given)
    done = turn.begin()
    while not done:
        score(*given)
        done = turn()
    turn.end()


def speed(home: Path, count: int, kind: str, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every pass, in turns."""
    competitors: list[Competitor] = []
    taken: dict[str, list[float]] = {}
    try:
        for who in WHO:
            command = [__file__, "--row", who, "--home", home, "--count", str(count), "--kind", kind]
            competitors.append(Competitor(who, command))
            competitors[-1].take(1)
            taken[who] = []
        for _ in range(rounds):
            for competitor in competitors:
                taken[competitor.name] += competitor.take(1)["cpu"]
        for competitor in competitors:
            competitor.end()
    finally:
        for competitor in competitors:
            competitor.kill()
    return taken


def cold(home: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Wall and CPU seconds of commands, one after the other, round by round."""
    model = str(home / "model")
    commands = {
        "lm_eval": [
            *("-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32"),
            *("--tasks", "cold_choices", "--include_path", str(home / "tasks"), "--batch_size", str(BATCH)),
            *("--device", "cpu"),
        ],
        "glasshouse on the task file": [
            *("-m", "glasshouse", "evaluate", model, "--task", f"lm_eval:{home / 'tasks' / 'cold_choices.yaml'}"),
        ],
        "glasshouse on plain rows": ["-m", "glasshouse", "evaluate", model, "--task", str(home / "rows.jsonl")],
    }  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    taken: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken[name]["wall"].append(time.perf_counter() - started)
            taken[name]["cpu"].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="questions of four choices; a quarter as many texts")
    parser.add_argument("--rounds", type=int, default=7, help="passes of each, in turns")
    parser.add_argument("--cold", type=int, default=3, help="rounds of commands")
    parser.add_argument("--small", action="store_true", help="8 questions, 2 rounds, one round of commands")
    parser.add_argument("--row", choices=WHO, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=["likelihoods", "texts"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS / "evaluation.json", help="JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.row:
        row(arguments.row, arguments.home, arguments.count, arguments.kind)
        return
    if arguments.small:
        arguments.count, arguments.rounds, arguments.cold = 8, 2, 1
    about = machine("torch", "transformers", "lm_eval", "glasshouse")
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        prepare(home, arguments.count)
        same = parity(home, arguments.count)
        passes = {kind: speed(home, arguments.count, kind, arguments.rounds) for kind in ("likelihoods", "texts")}
        commands = cold(home, arguments.cold)
    bars = []
    for who in WHO[1:]:
        what = f"answers of {who} unlike HFLM's (by more than {PARITY} nats, a greedy mark or a text)"
        bars.append({"what": what, "bar": "0", "value": same[who]["differ"], "holds": same[who]["differ"] == 0})
        for kind, taken in passes.items():
            ratio = ratio_of(taken["hflm"], taken[who])
            what = f"speed of {who} / HFLM, {kind}"
            bars.append({"what": what, "bar": f">= {SPEED}", "ratio": ratio, "holds": ratio["median"] >= SPEED})
    for name in list(commands)[1:]:
        ratio = ratio_of(commands[name]["wall"], commands["lm_eval"]["wall"])
        what = f"wall time to a score, {name} / lm_eval"
        bars.append({"what": what, "bar": f"<= {COLD}", "ratio": ratio, "holds": ratio["median"] <= COLD})
    result = {
        "machine": about, "questions": arguments.count, "parity": same,
        "cpu_seconds": {kind: {who: spread(t) for who, t in taken.items()} for kind, taken in passes.items()},
        "commands": {name: {clock: spread(t) for clock, t in taken.items()} for name, taken in commands.items()},
        "bars": bars,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for bar in bars:
        value = bar["value"] if "value" in bar else bar["ratio"]["median"]
        print(f"{'holds' if bar['holds'] else 'FAILS'}  {bar['what']}: {value:.2f} (bar {bar['bar']})")


if __name__ == "__main__":
    main()
