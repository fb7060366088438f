"""Training speed on a CPU, side by side: our trainer against `transformers`' OlmoForCausalLM in a plain loop.

Everyone takes the same optimisation steps on the same two rows: forward, loss, backward, clip at 1.0, fused AdamW;
17 million parameters (vocabulary 8192, width 384, 8 layers, 6 heads, feed-forward 1024, 512 tokens, tied), one
thread. "Trainer" rows are `glasshouse.training.trainer.train` with its loader, order, meters and metrics, without
checkpoints; "loop" rows are our model in the peer's loop. Processes take turns, a step at a time (see `turns.py`).
Compilation starts from an empty cache and is counted apart, in CPU seconds of the process and its compilers.

    python benchmarks/train_cpu.py                       every row, result in benchmarks/results/train_cpu.json
    python benchmarks/train_cpu.py --only "bf16 eager"   rows whose name contains the text
    python benchmarks/train_cpu.py --attention           where the tiled attention beats the fused kernel
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from turns import Competitor, Turn, machine, ratio_of, spread

from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.attention import attend
from glasshouse.nn.configuration import TransformerConfig, olmo
from glasshouse.nn.families import to_config, to_names
from glasshouse.nn.fused import tiled_rotary_attention
from glasshouse.nn.loss import linear_cross_entropy
from glasshouse.nn.transformer import Transformer, rotary, rotate
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train

RESULTS = Path(__file__).parent / "results"
SHAPE: TransformerConfig = olmo("1B").but(vocabulary=8192, width=384, layers=8, heads=6, feed_forward=1024, context=512)
SMALL: TransformerConfig = SHAPE.but(vocabulary=128, width=32, layers=2, heads=2, feed_forward=64, context=32)
BATCH = 2
OPTIMIZER = {"learning_rate": 3e-4, "betas": (0.9, 0.95), "eps": 1e-5, "weight_decay": 0.1}
CLIP = 1.0

ROWS = {
    f"{who} {precision} {how}": (who, precision, how == "compiled")
    for who in ("transformers", "loop", "trainer")
    for precision, how in (("fp32", "eager"), ("bf16", "eager"), ("bf16", "compiled"))
}
BARS = [
    ("trainer bf16 eager", "transformers bf16 eager", 1.1),
    ("trainer bf16 eager", "transformers fp32 eager", 2.0),
    ("trainer bf16 compiled", "transformers bf16 compiled", 1.0),
    ("trainer bf16 compiled", "transformers fp32 eager", 2.4),
]
COLD_BAR = 0.6  # of the peer's whole-model compilation


def batch(config: TransformerConfig) -> dict[str, torch.Tensor]:
    """The two rows that everyone trains on; a target for every token."""
    drawn = torch.randint(
        config.vocabulary, (BATCH, config.context + 1), generator=torch.Generator().manual_seed(0), dtype=torch.long
    )
    return {"tokens": drawn[:, :-1].contiguous(), "targets": drawn[:, 1:].contiguous()}


def plain_loop(
    model: torch.nn.Module, loss_of: Callable[[], torch.Tensor], precision: str, turn: Turn, **about: Any
) -> float:
    """What a careful person writes by hand. Returns the last loss."""
    settings = {"lr": OPTIMIZER["learning_rate"], **{k: v for k, v in OPTIMIZER.items() if k != "learning_rate"}}
    optimizer = torch.optim.AdamW(model.parameters(), fused=True, **settings)  # type: ignore[arg-type]
    last, done = float("nan"), turn.begin(**about)
    while not done:
        with torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else nullcontext():
            loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        last = loss.item()
        done = turn()
    return last


def transformers_row(config: TransformerConfig, precision: str, compiled: bool, turn: Turn) -> float:
    """`OlmoForCausalLM` with the same weights, compiled as a whole, as its users do."""
    from transformers import OlmoConfig, OlmoForCausalLM

    settings = to_config(config, "olmo") | {
        "pad_token_id": None,
        "eos_token_id": None,
        "attn_implementation": "sdpa",
        "use_cache": False,
    }
    model = OlmoForCausalLM(OlmoConfig(**{key: value for key, value in settings.items() if key != "model_type"}))
    model.load_state_dict(to_names(Transformer(config, seed=0).state_dict(), config, "olmo"), strict=False)
    model.tie_weights()
    model.train()
    forward = torch.compile(model) if compiled else model
    rows = batch(config)

    def loss() -> torch.Tensor:
        logits = forward(input_ids=rows["tokens"]).logits
        return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), rows["targets"].flatten())

    return plain_loop(model, loss, precision, turn, parameters=sum(p.numel() for p in model.parameters()))


def loop_row(config: TransformerConfig, precision: str, compiled: bool, turn: Turn) -> float:
    """Our model in the peer's loop, compiled block by block."""
    model = Transformer(config, seed=0).train()
    for block in model.blocks if compiled else ():
        block.compile()
    rows = batch(config)

    def loss() -> torch.Tensor:
        return linear_cross_entropy(model(rows["tokens"], logits=False).hidden, model.head_weight, rows["targets"]).mean

    return plain_loop(model, loss, precision, turn, parameters=sum(p.numel() for p in model.parameters()))


def trainer_row(config: TransformerConfig, precision: str, compiled: bool, turn: Turn) -> float:
    """Our trainer as it is; its `stop` is where the turn goes round."""
    model = Transformer(config, seed=0)
    training = Training(
        steps=1_000_000,
        batch_size=BATCH,
        schedule="constant",
        warmup=0,
        decay="everything",
        clip_norm=CLIP,
        precision=precision,
        compile=compiled,
        checkpoint_every=None,
        **OPTIMIZER,
    )
    if turn.begin(parameters=sum(p.numel() for p in model.parameters())):
        return float("nan")
    with tempfile.TemporaryDirectory() as directory:
        result = train(LanguageModelling(model), TensorRows(batch(config)), training, directory, stop=turn)
    return result.loss if result.loss is not None else float("nan")


def compete(row: str, config: TransformerConfig) -> None:
    """The subprocess of one row."""
    torch.set_num_threads(1)
    who, precision, compiled = ROWS[row]
    runners = {"transformers": transformers_row, "loop": loop_row, "trainer": trainer_row}
    turn = Turn()
    loss = runners[who](config, precision, compiled, turn)
    turn.end(loss=loss)


def measure(names: list[str], rounds: int, warm: int, small: bool) -> dict[str, dict[str, Any]]:
    """CPU seconds of `rounds` steps of every row, taken in turn after `warm` steps each."""
    rows: dict[str, dict[str, Any]] = {}
    competitors: list[Competitor] = []
    with tempfile.TemporaryDirectory() as cache:
        try:
            for name in names:
                command = [__file__, "--row", name, *(["--small"] if small else [])]
                folder = f"{cache}/{name.replace(' ', '-')}"
                competitors.append(Competitor(name, command, TORCHINDUCTOR_CACHE_DIR=folder))
                first = competitors[-1].take(1)
                warmed = competitors[-1].take(warm)
                rows[name] = {
                    **competitors[-1].about,
                    "first_step": {"cpu": first["cpu"][0], "compilers": first["children"], "wall": first["wall"][0]},
                    "warm_up_cpu_seconds": warmed["cpu"],
                    "cpu_seconds": [],
                }
                print(f"{name:28} first step {first['cpu'][0] + first['children']:6.2f} CPU s", flush=True)
            for _ in range(rounds):
                for competitor in competitors:
                    rows[competitor.name]["cpu_seconds"] += competitor.take(1)["cpu"]
            for competitor in competitors:
                rows[competitor.name]["last_loss"] = competitor.end()["loss"]
        finally:
            for competitor in competitors:
                competitor.kill()
    for row in rows.values():
        row["step"] = spread(row["cpu_seconds"])
        first = row["first_step"]
        row["cold_cpu_seconds"] = first["cpu"] + first["compilers"] - row["step"]["median"]
    return rows


def judge(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Each bar: how many times as fast, round by round (steps taken one after the other)."""
    found = []
    for fast, slow, bar in BARS:
        if fast in rows and slow in rows:
            ratio = ratio_of(rows[slow]["cpu_seconds"], rows[fast]["cpu_seconds"])
            holds = ratio["median"] >= bar
            found.append({"what": f"speed of {fast} / {slow}", "bar": f">= {bar}", "ratio": ratio, "holds": holds})
    ours, theirs = (rows.get(f"{who} bf16 compiled") for who in ("trainer", "transformers"))
    if ours and theirs:
        share = ours["cold_cpu_seconds"] / theirs["cold_cpu_seconds"]
        what = "CPU of the first, cold compilation, trainer bf16 compiled / transformers bf16 compiled"
        found.append({"what": what, "bar": f"<= {COLD_BAR}", "ratio": {"median": share}, "holds": share <= COLD_BAR})
    return found


def attention_table(rounds: int = 8) -> dict[str, dict[str, float]]:
    """CPU milliseconds, forward and backward with the rotation, of both kernels on 2048 tokens and six heads."""
    rows: dict[str, dict[str, float]] = {}
    for precision, size, length in itertools.product(
        (torch.float32, torch.bfloat16), (32, 48, 64, 128), (64, 128, 256, 512, 1024, 2048)
    ):
        angles = rotary(torch.arange(length)[None], size, 10_000.0)
        shape = (2048 // length, length, 6, size)
        *parts, slope = (torch.randn(shape, dtype=precision).transpose(1, 2).requires_grad_() for _ in range(4))
        query, key, value = parts
        kernels = {
            "tiled": lambda q=query, k=key, v=value, a=angles: tiled_rotary_attention(q, k, v, *a),
            "fused": lambda q=query, k=key, v=value, a=angles: attend(rotate(q, a), rotate(k, a), v),
        }
        times: dict[str, list[float]] = {name: [] for name in kernels}
        for _ in range(rounds):
            for name, kernel in kernels.items():
                start = time.process_time()
                torch.autograd.grad(kernel(), parts, slope)
                times[name].append((time.process_time() - start) * 1e3)
        name = f"{str(precision).removeprefix('torch.')} size {size} length {length}"
        rows[name] = {kernel: min(values) for kernel, values in times.items()}
        print(f"{name}: tiled {rows[name]['tiled']:.1f} ms, fused {rows[name]['fused']:.1f} ms", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument("--rounds", type=int, default=16, help="measured steps of every row")
    parser.add_argument("--warm", type=int, default=3, help="steps after the first and before measuring")
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the script")
    parser.add_argument("--attention", action="store_true", help="measure the two attention kernels instead")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=None, help="JSON file (default for a full run: benchmarks/results)")
    arguments = parser.parse_args()
    config = SMALL if arguments.small else SHAPE
    if arguments.row:
        return compete(arguments.row, config)
    torch.set_num_threads(1)
    out, about = arguments.out, machine("torch", "transformers", "glasshouse")
    if arguments.attention:
        out, document = out or RESULTS / "attention_cpu.json", {"attention": attention_table()}
    else:
        names = [name for name in ROWS if arguments.only in name]
        if not names:
            parser.error(f"no row has {arguments.only!r} in its name; the rows are: {', '.join(ROWS)}")
        rows = measure(names, arguments.rounds, arguments.warm, arguments.small)
        bars = judge(rows)
        for name, row in rows.items():
            step = row["step"]
            print(
                f"{name:28} median {step['median']:.3f} least {step['least']:.3f} CPU s a step,"
                f" {BATCH * config.context / step['median']:5.0f} tokens/CPU-s, loss {row['last_loss']:.5f}"
            )
        for bar in bars:
            held = "holds" if bar["holds"] else "FAILS"
            print(f"{held}  {bar['what']}: {bar['ratio']['median']:.2f} (bar {bar['bar']})")
        shape = config.model_dump(mode="json")
        document = {"shape": shape, "batch": BATCH, "rows": rows, "bars": bars}
        out = out or (RESULTS / "train_cpu.json" if not (arguments.only or arguments.small) else None)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"machine": about, **document}, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()
