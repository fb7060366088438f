"""Quality and cost on a CPU: nanoGPT's tiny-Shakespeare setting, ours and nanoGPT itself side by side.

The setting is the CPU command of nanoGPT's README (github.com/karpathy/nanoGPT): characters, the first 90 % to train
and the rest to validate, 4 layers, 4 heads, width 128, 64 characters of context, 2000 steps of 12 random windows,
AdamW (betas 0.9 and 0.99, weight decay 0.1), clip at 1.0, 100 steps of warm-up, cosine to a tenth, no dropout, no
compilation, float32. Ours is an OLMo block with as many parameters (feed-forward width 344 for SwiGLU's three
matrices, against 512 for two), trained by `glasshouse.training.trainer.train`. Its windows are all starting places of
the training text in the trainer's keyed order: random, without repetition. What differs besides the model: the peak
learning rate (`--learning-rate`, nanoGPT's is 0.001), the first step's warm-up (10 % of the peak) and the
embedding, which OLMo does not decay.

The validation loss is exact: every character of the validation text but the first is predicted once, in consecutive
windows. The mean over random windows, nanoGPT's own way, is given beside it (the same windows for everyone). CPU time
is of the training steps only; competitors take turns of 50 steps, one thread each (see `turns.py`).

    python benchmarks/shakespeare_cpu.py --data tinyshakespeare.txt --nanogpt ../nanoGPT

`--nanogpt` is a folder with nanoGPT's `model.py`; without it the peer's row stays empty.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from turns import Competitor, Turn, machine, ratio_of

from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.transformer import Transformer
from glasshouse.training.configuration import Training
from glasshouse.training.trainer import train

RESULTS = Path(__file__).parent / "results" / "shakespeare_cpu.json"
DATA = Path(__file__).parents[2] / "shared/data/lm/tinyshakespeare.txt"
LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
WARMUP, CLIP, DECAY, BETAS, FINAL = 100, 1.0, 0.1, (0.9, 0.99), 0.1
PEER_RATE = 1e-3
LOSS_BAR, COST_BAR = 1.68, 1.25
TURN = 50  # steps
RANDOM_BATCHES = 200

Windows = tuple[Tensor, Tensor]
"""Characters and the characters that follow each of them."""


@dataclass(frozen=True)
class Text:
    """A text as numbers of characters: its parts and their windows."""

    path: Path

    @cached_property
    def _ids(self) -> NDArray[np.int64]:
        text = self.path.read_text(encoding="utf-8")
        number = {character: index for index, character in enumerate(sorted(set(text)))}
        return np.array([number[character] for character in text], dtype=np.int64)

    @property
    def vocabulary(self) -> int:
        return int(self._ids.max()) + 1

    @property
    def training(self) -> NDArray[np.int64]:
        return self._ids[: int(len(self._ids) * 0.9)]

    @property
    def validation(self) -> NDArray[np.int64]:
        return self._ids[int(len(self._ids) * 0.9) :]

    def consecutive(self) -> Iterator[Windows]:
        """The validation text in windows side by side; the last one is what remains."""
        part = torch.from_numpy(self.validation)
        whole = (len(part) - 1) // CONTEXT * CONTEXT
        tokens, targets = part[:whole].view(-1, CONTEXT), part[1 : whole + 1].view(-1, CONTEXT)
        yield from zip(tokens.split(64), targets.split(64), strict=True)
        if len(part) - 1 > whole:
            yield part[whole:-1][None], part[whole + 1 :][None]

    def drawn(self) -> Iterator[Windows]:
        """Random windows of the validation text, as nanoGPT estimates; the same for everyone."""
        generator = np.random.default_rng(1337)
        for _ in range(RANDOM_BATCHES):
            yield windows(self.validation, generator.integers(len(self.validation) - CONTEXT, size=BATCH))


def windows(characters: NDArray[np.int64], starts: NDArray[np.int64]) -> Windows:
    """The windows that start at these places."""
    chosen = torch.from_numpy(characters[starts[:, None] + np.arange(CONTEXT + 1)])
    return chosen[:, :-1].contiguous(), chosen[:, 1:].contiguous()


@dataclass(frozen=True)
class EveryWindow:
    """Training data whose rows are all windows of a text, by where they start."""

    characters: NDArray[np.int64]

    @property
    def rows(self) -> int:
        return len(self.characters) - CONTEXT

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.characters.tobytes()).hexdigest()

    def batch(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        tokens, targets = windows(self.characters, indices)
        return {"tokens": tokens, "targets": targets}

    def describe(self, indices: NDArray[np.int64]) -> list[str]:
        return [f"characters {start} to {start + CONTEXT}" for start in indices.tolist()]


def mean_loss(parts: Iterator[Windows], loss: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Nats per character, from the mean `loss` of each part."""
    total = count = 0.0
    with torch.no_grad():
        for tokens, targets in parts:
            total += float(loss(tokens, targets)) * targets.numel()
            count += targets.numel()
    return total / count


def verdict(text: Text, turn: Turn, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The last word of a competitor."""
    turn.end(
        cpu_seconds=turn.spent,
        validation_loss=mean_loss(text.consecutive(), loss),
        validation_loss_random_windows=mean_loss(text.drawn(), loss),
    )


def ours(text: Text, arguments: argparse.Namespace) -> None:
    """An OLMo block, through our trainer."""
    config = TransformerConfig(
        vocabulary=text.vocabulary,
        width=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        feed_forward=344,
        context=CONTEXT,
        tied=True,
    )
    turn, model = Turn(), Transformer(config, seed=arguments.seed)
    objective = LanguageModelling(model)
    training = Training(
        steps=arguments.steps,
        batch_size=BATCH,
        seed=arguments.seed,
        learning_rate=arguments.learning_rate,
        weight_decay=DECAY,
        betas=BETAS,
        eps=1e-8,
        schedule="cosine",
        warmup=min(WARMUP, arguments.steps // 2),
        final_fraction=FINAL,
        clip_norm=CLIP,
        precision=arguments.precision,
        compile=False,
        checkpoint_every=None,
    )
    about = {"parameters": sum(p.numel() for p in model.parameters()), "shape": config.model_dump(mode="json")}
    turn.begin(**about, training=training.model_dump(mode="json"))
    with tempfile.TemporaryDirectory() as directory:
        train(objective, EveryWindow(text.training), training, directory, stop=turn)
    model.eval()

    def loss(tokens: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.precision == "bf16"):
            return objective.token_loss({"tokens": tokens, "targets": targets}).mean

    verdict(text, turn, loss)


def nanogpt(text: Text, arguments: argparse.Namespace) -> None:
    """nanoGPT's model and optimiser, in a loop that does what its `train.py` does on a CPU."""
    turn, module = Turn(), imported(arguments.nanogpt / "model.py")
    torch.manual_seed(1337 + arguments.seed)
    config = module.GPTConfig(
        block_size=CONTEXT,
        vocab_size=text.vocabulary,
        n_layer=LAYERS,
        n_head=HEADS,
        n_embd=WIDTH,
        dropout=0.0,
        bias=False,
    )
    model = module.GPT(config)
    optimizer = model.configure_optimizers(DECAY, PEER_RATE, BETAS, "cpu")
    characters = text.training

    def batch() -> Windows:
        return windows(characters, torch.randint(len(characters) - CONTEXT, (BATCH,)).numpy())

    turn.begin(parameters=sum(p.numel() for p in model.parameters()))
    tokens, targets = batch()
    for step in range(arguments.steps):
        for group in optimizer.param_groups:
            group["lr"] = peer_rate(step, arguments.steps)
        _, loss = model(tokens, targets)
        tokens, targets = batch()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turn()
    model.eval()
    verdict(text, turn, lambda tokens, targets: model(tokens, targets)[1])


def peer_rate(step: int, steps: int) -> float:
    """nanoGPT's schedule; steps count from 0."""
    warmup = min(WARMUP, steps // 2)
    if step < warmup:
        return PEER_RATE * (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    return PEER_RATE * (FINAL + (1 - FINAL) * (1 + math.cos(math.pi * done)) / 2)


def imported(path: Path) -> Any:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    if spec is None or spec.loader is None or not path.exists():
        raise SystemExit(f"{path} is not there: give --nanogpt the folder that holds nanoGPT's model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def measure(names: list[str], arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Everyone trains to the end, in turns."""
    competitors: list[Competitor] = []
    rows: dict[str, dict[str, Any]] = {}
    shared = ["--data", arguments.data, "--steps", arguments.steps, "--learning-rate", arguments.learning_rate]
    shared += ["--precision", arguments.precision]
    if arguments.nanogpt:
        shared += ["--nanogpt", arguments.nanogpt]
    try:
        for name in names:
            who, _, seed = name.partition(" seed ")
            competitors.append(Competitor(name, [__file__, "--row", who, "--seed", seed, *shared]))
            rows[name] = {**competitors[-1].about, "cpu_seconds_of_turns": []}
        left = arguments.steps
        while left:
            turn = min(TURN, left)
            left -= turn
            for competitor in competitors:
                rows[competitor.name]["cpu_seconds_of_turns"].append(sum(competitor.take(turn)["cpu"]))
            print(f"{arguments.steps - left} of {arguments.steps} steps", flush=True)
        for competitor in competitors:
            rows[competitor.name] |= competitor.end()
    finally:
        for competitor in competitors:
            competitor.kill()
    return rows


def judge(rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The worst seed against the loss bar; the cost against nanoGPT, turn by turn."""
    own = [row for name, row in rows.items() if name.startswith("ours")]
    worst = max(row["validation_loss"] for row in own)
    what = "validation loss, worst seed of ours"
    found = [{"what": what, "bar": f"<= {LOSS_BAR}", "value": worst, "holds": worst <= LOSS_BAR}]
    peers = [row for name, row in rows.items() if name.startswith("nanogpt")]
    if peers:
        theirs = peers[0]["cpu_seconds_of_turns"]
        turns = zip(*(row["cpu_seconds_of_turns"] for row in own), strict=True)
        ratio = ratio_of([statistics.median(turn) for turn in turns], theirs)
        what = "CPU time of a turn, median seed of ours / nanoGPT"
        holds = ratio["median"] <= COST_BAR
        found.append({"what": what, "bar": f"<= {COST_BAR}", "value": ratio["median"], "ratio": ratio, "holds": holds})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the text (default: %(default)s)")
    parser.add_argument("--nanogpt", type=Path, help="folder with nanoGPT's model.py")
    parser.add_argument("--seeds", type=int, default=3, help="runs of ours")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="peak of ours (default: %(default)s)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of ours")
    parser.add_argument("--row", choices=["ours", "nanogpt"], help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file (default: %(default)s)")
    arguments = parser.parse_args()
    if not arguments.data.exists():
        parser.error(f"{arguments.data} is not there: give --data the tiny-Shakespeare text")
    if arguments.row:
        torch.set_num_threads(1)
        return {"ours": ours, "nanogpt": nanogpt}[arguments.row](Text(arguments.data), arguments)
    about = machine("torch", "glasshouse")
    if arguments.nanogpt:
        about["nanogpt_model_sha256"] = hashlib.sha256((arguments.nanogpt / "model.py").read_bytes()).hexdigest()
    names = [f"ours seed {seed}" for seed in range(arguments.seeds)] + ["nanogpt seed 0"] * bool(arguments.nanogpt)
    rows = measure(names, arguments)
    bars = judge(rows)
    for name, row in rows.items():
        print(
            f"{name:16} validation {row['validation_loss']:.4f} (random windows "
            f"{row['validation_loss_random_windows']:.4f}), {row['cpu_seconds']:.1f} CPU s, "
            f"{row['parameters']:,} weights"
        )
    for bar in bars:
        print(f"{'holds' if bar['holds'] else 'FAILS'}  {bar['what']}: {bar['value']:.3f} (bar {bar['bar']})")
    data = {"sha256": hashlib.sha256(arguments.data.read_bytes()).hexdigest(), "bytes": arguments.data.stat().st_size}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": about, "data": data, "steps": arguments.steps, "turn": TURN, "rows": rows, "bars": bars}
    arguments.out.write_text(json.dumps(document, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()
