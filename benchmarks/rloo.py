"""A step of RLOO on a CPU, side by side: ours through the whole trainer against TRL's `RLOOTrainer`.

Both draw answers to the same prompts from the same Llama weights with a key/value cache, score them by the same
function of their tokens, read them again under the policy and the reference (beta = gamma = 0.05), and take one AdamW
step clipped at 1.0; fp32, one thread. What differs is what each does around that: TRL also makes text of every answer,
for its reward functions and logs, and measures the entropy of whole distributions. Processes take turns, a step at a
time (see `turns.py`). CPU time of the process.

    python benchmarks/rloo.py            both shapes, result in benchmarks/results/rloo.json
    python benchmarks/rloo.py --small    one tiny shape and few rounds, to try the script
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from turns import Competitor, Turn, machine, ratio_of, spread

from glasshouse.alignment.policies import Answers, LanguagePolicy, PromptRows
from glasshouse.alignment.rloo import LeaveOneOut, Rloo
from glasshouse.nn.configuration import TransformerConfig, llama
from glasshouse.nn.huggingface import save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.training.configuration import Training
from glasshouse.training.trainer import train

RESULTS = Path(__file__).parent / "results"
VOCABULARY, END = 512, 0
SHAPES: dict[str, dict[str, int]] = {
    "32 answers of 12 tokens, width 64, 2 layers": {
        "width": 64, "layers": 2, "heads": 4, "prompts": 8, "answers": 4, "asked": 8, "tokens": 12,
    },
    "64 answers of 48 tokens, width 256, 4 layers": {
        "width": 256, "layers": 4, "heads": 4, "prompts": 8, "answers": 8, "asked": 24, "tokens": 48,
    },
}  # fmt: skip
BAR = 1.0
"""TRL's step over ours."""


def model(shape: dict[str, int]) -> Transformer:
    """The policy that both start from."""
    config: TransformerConfig = llama().but(
        vocabulary=VOCABULARY, width=shape["width"], layers=shape["layers"], heads=shape["heads"],
        key_value_heads=shape["heads"], feed_forward=4 * shape["width"], context=128,
    )  # fmt: skip
    return Transformer(config, seed=0)


def prompts(shape: dict[str, int]) -> list[list[int]]:
    """Random prompts, each as long as the others, so that nobody pads them."""
    generator = torch.Generator().manual_seed(0)
    found: list[list[int]] = torch.randint(1, VOCABULARY, (64, shape["asked"]), generator=generator).tolist()
    return found


def score(tokens: list[int]) -> float:
    """The reward: the share of tokens in the lower half of the vocabulary."""
    return sum(token < VOCABULARY // 2 for token in tokens) / max(len(tokens), 1)


def ours(shape: dict[str, int], turn: Turn) -> None:
    """Our trainer as it is; its `stop` is where the turn goes round."""

    def reward(_: Any, answers: Answers) -> torch.Tensor:
        rows = zip(answers.tokens.flatten(0, 1).tolist(), answers.lengths.flatten().tolist(), strict=True)
        return torch.tensor([score(row[:length]) for row, length in rows]).view(answers.lengths.shape)

    policy = model(shape)
    settings = Rloo(gamma=0.05, answers=shape["answers"])
    objective = LeaveOneOut(LanguagePolicy(shape["tokens"], END), policy, copy.deepcopy(policy), reward, settings)
    training = Training(
        steps=1_000_000, batch_size=shape["prompts"], learning_rate=1e-4, weight_decay=0.0, schedule="constant",
        warmup=0, clip_norm=1.0, precision="fp32", compile=False, checkpoint_every=None,
    )  # fmt: skip
    if turn.begin():
        return
    with tempfile.TemporaryDirectory() as directory:
        train(objective, PromptRows(prompts(shape)), training, directory, stop=turn)


def theirs(shape: dict[str, int], turn: Turn) -> None:
    """`trl.RLOOTrainer` on the same weights; a callback is where the turn goes round."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import RLOOConfig, RLOOTrainer

    class Turns(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_training_stop = turn()
            return control

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [score(row) for row in completion_ids]

    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        save_huggingface(model(shape), home, end=END, begin=END)
        words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(VOCABULARY)}, unk_token="w1"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token="w0", pad_token="w0", padding_side="left"
        ).save_pretrained(home)
        rows = [{"prompt": " ".join(f"w{token}" for token in prompt)} for prompt in prompts(shape)]
        arguments = RLOOConfig(
            str(home / "run"), use_cpu=True, bf16=False, max_steps=1_000_000, report_to=[], save_strategy="no",
            per_device_train_batch_size=shape["prompts"] * shape["answers"], num_generations=shape["answers"],
            max_completion_length=shape["tokens"], beta=0.05, temperature=1.0, learning_rate=1e-4, weight_decay=0.0,
            lr_scheduler_type="constant", max_grad_norm=1.0, gradient_checkpointing=False, disable_tqdm=True,
            logging_steps=10, seed=0,
        )  # fmt: skip
        trainer = RLOOTrainer(
            str(home), reward_funcs=reward, args=arguments, train_dataset=Dataset.from_list(rows), callbacks=[Turns()]
        )
        if not turn.begin():
            trainer.train()


def measure(shape: str, rounds: int, warm: int) -> dict[str, dict[str, Any]]:
    """CPU and wall seconds of `rounds` steps of both, taken in turn after `warm` steps each."""
    competitors: list[Competitor] = []
    rows: dict[str, dict[str, Any]] = {}
    try:
        for who in ("glasshouse", "trl"):
            competitors.append(Competitor(who, [__file__, "--row", who, "--shape", shape]))
            competitors[-1].take(warm)
            rows[who] = {"cpu_seconds": [], "wall_seconds": []}
        for _ in range(rounds):
            for competitor in competitors:
                taken = competitor.take(1)
                rows[competitor.name]["cpu_seconds"] += taken["cpu"]
                rows[competitor.name]["wall_seconds"] += taken["wall"]
        for competitor in competitors:
            competitor.end()
    finally:
        for competitor in competitors:
            competitor.kill()
    for row in rows.values():
        row["step"] = spread(row["cpu_seconds"])
        row["wall_step"] = spread(row["wall_seconds"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24, help="measured steps of both, per shape")
    parser.add_argument("--warm", type=int, default=4, help="steps before measuring")
    parser.add_argument("--small", action="store_true", help="the first shape, three rounds")
    parser.add_argument("--row", choices=["glasshouse", "trl"], help=argparse.SUPPRESS)
    parser.add_argument("--shape", choices=SHAPES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=None, help="JSON file (default: benchmarks/results/rloo.json)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.row:
        turn = Turn()
        (ours if arguments.row == "glasshouse" else theirs)(SHAPES[arguments.shape], turn)
        return turn.end()
    about = machine("torch", "transformers", "trl", "glasshouse")
    shapes, bars = {}, []
    for shape in list(SHAPES)[: 1 if arguments.small else None]:
        rows = measure(shape, *((3, 1) if arguments.small else (arguments.rounds, arguments.warm)))
        ratio = ratio_of(rows["trl"]["cpu_seconds"], rows["glasshouse"]["cpu_seconds"])
        shapes[shape] = {"settings": SHAPES[shape], "rows": rows}
        what = f"speed of glasshouse / trl, {shape}"
        bars.append({"what": what, "bar": f">= {BAR}", "ratio": ratio, "holds": ratio["median"] >= BAR})
        for name, row in rows.items():
            print(f"{shape}: {name} {row['step']['median']:.4f} CPU s a step ({row['wall_step']['median']:.4f} s)")
        print(f"{'holds' if bars[-1]['holds'] else 'FAILS'}  {what}: {ratio['median']:.2f} (bar >= {BAR})", flush=True)
    out = arguments.out or (None if arguments.small else RESULTS / "rloo.json")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"machine": about, "shapes": shapes, "bars": bars}, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()
