"""Training speed on one GPU, side by side: our trainer, `transformers` in a plain loop, and nanochat if it is given.

Everyone trains a model of the same shape on random tokens in bf16 with fused AdamW and clipping; each row is a process
of its own, rows take turns (`--rounds`), and a measurement is `--steps` updates between two synchronisations, after
`--warm` updates. Model FLOPs are counted alike for all rows, 6 per weight that takes part in a matrix product and token
and the causal half of attention (6 L d T), so that utilisation does not depend on who counts; peaks are the vendors'
dense bf16 figures (`training/meters.py`). The micro-batch is the largest of `--micro` that fits, found for each row.

    benchmarks/train_gpu.sh                                   both shapes, every row, JSON in benchmarks/results
    python benchmarks/train_gpu.py --shape tiny --device cpu  tries the script anywhere

nanochat (github.com/karpathy/nanochat) is another model with as many layers, heads and features, and its own optimiser;
its code is imported from a checkout and nothing of it is kept here. What is not measured stays empty.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from turns import machine

import glasshouse
from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.configuration import TransformerConfig, feed_forward_width, olmo
from glasshouse.nn.families import to_config
from glasshouse.nn.transformer import Transformer
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.meters import peak_flops
from glasshouse.training.trainer import train

RESULTS = Path(__file__).parent / "results" / "train_gpu.json"
SHAPES: dict[str, TransformerConfig] = {
    "tiny": olmo(depth=2).but(vocabulary=512, context=64),
    "125M": olmo("1B").but(width=768, layers=12, heads=12, feed_forward=feed_forward_width(768)),
    "1B": olmo("1B"),
}
ROWS = (
    "trainer compiled",
    "trainer eager",
    "trainer float8",
    "transformers compiled",
    "transformers eager",
    "nanochat compiled",
)
BARS = (
    ("1B", "trainer compiled", "transformers eager", 1.2),
    ("1B", "trainer compiled", "transformers compiled", 1.2),
)
UTILISATION_BAR = ("1B", "trainer compiled", 0.45)


def matmul_flops_per_token(config: TransformerConfig) -> float:
    """Forward and backward: 6 per weight in a product, 6 L d T for causal attention (half of 12 L d T)."""
    weights = config.parameters - (0 if config.tied else config.vocabulary * config.width)
    return 6.0 * weights + 6.0 * config.layers * config.width * config.context


class Stopwatch:
    """Called after every update; measures `steps` updates after `warm` ones, and then says stop."""

    def __init__(self, device: torch.device, warm: int, steps: int) -> None:
        self.device, self.warm, self.steps = device, warm, steps
        self.done, self.seconds, self._start = 0, math.nan, 0.0

    def __call__(self, step: int = 0) -> bool:
        self.done += 1
        if self.done == self.warm:
            self._wait()
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            self._start = time.perf_counter()
        if self.done == self.warm + self.steps:
            self._wait()
            self.seconds = time.perf_counter() - self._start
            return True
        return False

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @property
    def memory_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None


def rows_of(config: TransformerConfig, rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(config.vocabulary, (rows, config.context), generator=generator)


def plain_loop(
    model: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    tokens: Tensor,
    watch: Stopwatch,
) -> None:
    """What a careful person writes by hand: nothing is read back from the device."""
    while True:
        loss_of(tokens.to(watch.device, non_blocking=True)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if watch():
            return


def trainer_row(config: TransformerConfig, micro: int, watch: Stopwatch, how: str) -> float:
    """Our trainer as a user runs it; "float8" is compiled too. Weights are drawn on the device, as the others' are."""
    model = Transformer(config, device="meta").to_empty(device=watch.device)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    training = Training(
        steps=watch.warm + watch.steps, batch_size=micro, learning_rate=3e-4, decay="everything", warmup=0,
        schedule="constant", compile=how != "eager", float8=how == "float8", checkpoint_every=None, log_every=1_000_000,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        train(LanguageModelling(model), TensorRows({"tokens": rows_of(config, 4 * micro)}), training, directory,
              stop=watch)  # fmt: skip
    return matmul_flops_per_token(config)


def transformers_row(config: TransformerConfig, micro: int, watch: Stopwatch, how: str) -> float:
    """`OlmoForCausalLM`, compiled as a whole, as its users do."""
    from transformers import OlmoConfig, OlmoForCausalLM

    settings = to_config(config, "olmo") | {
        "pad_token_id": None, "eos_token_id": None, "attn_implementation": "sdpa", "use_cache": False,
    }  # fmt: skip
    with torch.device(watch.device):
        model = OlmoForCausalLM(OlmoConfig(**{key: value for key, value in settings.items() if key != "model_type"}))
    model.train()
    forward = torch.compile(model) if how == "compiled" else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), eps=1e-5, fused=True)

    def loss(tokens: Tensor) -> Tensor:
        with torch.autocast(watch.device.type, dtype=torch.bfloat16):
            return forward(input_ids=tokens, labels=tokens).loss

    plain_loop(model, loss, optimizer, rows_of(config, micro), watch)
    return matmul_flops_per_token(config)


def nanochat_row(config: TransformerConfig, micro: int, watch: Stopwatch, how: str) -> float:
    """nanochat's model and optimiser: as many layers and heads, full attention; its own count of FLOPs."""
    from nanochat.gpt import GPT, GPTConfig

    shape = GPTConfig(
        sequence_len=config.context, vocab_size=config.vocabulary, n_layer=config.layers, n_head=config.heads,
        n_kv_head=config.heads, n_embd=config.width, window_pattern="L",
    )  # fmt: skip
    with torch.device("meta"):
        model = GPT(shape)
    model.to_empty(device=watch.device)
    model.init_weights()
    optimizer = model.setup_optimizer()
    forward = torch.compile(model, dynamic=False) if how == "compiled" else model

    def loss(tokens: Tensor) -> Tensor:
        return forward(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())

    tokens = torch.cat([rows_of(config, micro), rows_of(config, micro)[:, :1]], dim=1)
    plain_loop(model, loss, optimizer, tokens, watch)
    attention = 6.0 * config.layers * config.width * config.context
    return 6.0 * model.num_matmul_params() + attention


RUNNERS = {"trainer": trainer_row, "transformers": transformers_row, "nanochat": nanochat_row}


def compete(row: str, shape: str, device: str, micro: int, warm: int, steps: int) -> dict[str, Any]:
    """One measurement of one row, in this process."""
    config, chosen = SHAPES[shape], torch.device(device)
    torch.set_float32_matmul_precision("high")
    who, how = row.split()
    watch = Stopwatch(chosen, warm, steps)
    with contextlib.redirect_stdout(sys.stderr):
        flops = RUNNERS[who](config, micro, watch, how)
    speed = micro * config.context * steps / watch.seconds
    peak = peak_flops(chosen, "bf16") if chosen.type == "cuda" else None
    return {
        "tokens_per_second": speed,
        "utilisation": speed * flops / peak.flops if peak else None,
        "memory_bytes": watch.memory_bytes,
        "micro_batch": micro,
    }


class RowFailedError(RuntimeError):
    """A row could not be measured; the last line says why."""


def measured(row: str, arguments: argparse.Namespace, shape: str, micro: int) -> dict[str, Any] | None:
    """A row in a process of its own; None when its memory does not suffice. Raises when it fails otherwise."""
    command = [sys.executable, __file__, "--row", row, "--shape", shape, "--device", arguments.device]
    command += ["--micro", str(micro), "--warm", str(arguments.warm), "--steps", str(arguments.steps)]
    command += ["--nanochat", str(arguments.nanochat)] if arguments.nanochat else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    if "OutOfMemoryError" in done.stderr:
        return None
    print(f"{row} at {shape} failed:\n{done.stderr[-3000:]}", file=sys.stderr, flush=True)
    raise RowFailedError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])


def measure(arguments: argparse.Namespace, shape: str) -> Iterator[dict[str, Any]]:
    """Every row of a shape, `rounds` times in turn, at the largest micro-batch that fits it; why others have no row.

    Gives everything so far after each measurement.
    """
    rows: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    failed: dict[str, str] = {}
    asked = [name for name in ROWS if arguments.only in name]
    for turn in range(arguments.rounds):
        for name in asked:
            if name in failed:
                continue
            try:
                found = _largest(
                    name, arguments, shape, [sizes[name]] if name in sizes else sorted(arguments.micro)[::-1]
                )
            except RowFailedError as error:
                failed[name] = str(error)
                continue
            sizes[name] = found["micro_batch"]
            rows.setdefault(name, []).append(found)
            print(f"{shape} {name} round {turn}: {found['tokens_per_second']:,.0f} tokens/s", flush=True)
            yield {"rows": {name: _middle(found) for name, found in rows.items()}, "failed": failed}
    yield {"rows": {name: _middle(found) for name, found in rows.items()}, "failed": failed}


def _largest(name: str, arguments: argparse.Namespace, shape: str, micros: list[int]) -> dict[str, Any]:
    """A measurement at the first micro-batch that fits."""
    if name.startswith("nanochat") and not arguments.nanochat:
        raise RowFailedError("no checkout of nanochat was given")
    for micro in micros:
        found = measured(name, arguments, shape, micro)
        if found is not None:
            return found
    raise RowFailedError(f"out of memory at {micros[-1]} rows")


def _middle(found: list[dict[str, Any]]) -> dict[str, Any]:
    speeds = [one["tokens_per_second"] for one in found]
    middle = sorted(found, key=lambda one: one["tokens_per_second"])[(len(found) - 1) // 2]
    return middle | {"tokens_per_second": statistics.median(speeds), "rounds": speeds}


def judge(shapes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The bars, on what was measured."""
    found = []
    for shape, ours, theirs, bar in BARS:
        rows = shapes.get(shape, {}).get("rows", {})
        if ours in rows and theirs in rows:
            ratio = rows[ours]["tokens_per_second"] / rows[theirs]["tokens_per_second"]
            found.append(_bar(f"tokens/s of {ours} / {theirs} at {shape}", ratio, bar))
    shape, ours, bar = UTILISATION_BAR
    share = shapes.get(shape, {}).get("rows", {}).get(ours, {}).get("utilisation")
    if share is not None:
        found.append(_bar(f"model FLOPs utilisation of {ours} at {shape}", share, bar))
    return found


def _bar(what: str, value: float, bar: float) -> dict[str, Any]:
    return {"what": what, "bar": f">= {bar}", "value": value, "holds": value >= bar}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, action="append", help="default: 125M and 1B")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--micro", type=int, nargs="+", default=[32, 16, 8, 4], help="micro-batches to try, in rows")
    parser.add_argument("--warm", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument("--nanochat", type=Path, help="a checkout of nanochat")
    parser.add_argument("--out", type=Path, default=None, help="JSON file (default on a GPU: benchmarks/results)")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.nanochat:
        if not (arguments.nanochat / "nanochat" / "gpt.py").is_file():
            parser.error(f"{arguments.nanochat} is no checkout of nanochat: it has no nanochat/gpt.py")
        sys.path.insert(0, str(arguments.nanochat))
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no GPU here; --shape tiny --device cpu tries the script")
    shapes = arguments.shape or ["125M", "1B"]
    if arguments.row:
        options = (arguments.micro[0], arguments.warm, arguments.steps)
        print(json.dumps(compete(arguments.row, shapes[0], arguments.device, *options)))
        return 0
    about = machine("torch", "transformers") | {"glasshouse": glasshouse.__version__}
    on_gpu = arguments.device.startswith("cuda")
    about["device"] = torch.cuda.get_device_name(arguments.device) if on_gpu else "CPU"
    out = arguments.out or (RESULTS if on_gpu else None)
    found: dict[str, Any] = {}
    for shape in shapes:
        for so_far in measure(arguments, shape):
            found[shape] = so_far
            document = {"machine": about, "shapes": found, "bars": judge(found)}
            if out:
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    print(json.dumps(judge(found), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
