"""SFT, DPO and LoRA in the world of letters: what they bring and cost, over seeds, with controls.

Per seed: a model of 0.9M parameters is pre-trained on prose, fine-tuned on instructions (and, as a control, on
instructions with shuffled answers), and tuned on preferences (and, as a control, on preferences without a rule).
The settings of DPO were chosen after a first run with others (5e-5, beta 0.5: 91 +- 6 % of pairs won), on training
pairs of another seed, but from the model of seed 0 and with the same held-out pairs.
Everything is measured on held-out items. One thread.

    python benchmarks/adaptation.py                      three seeds, result in benchmarks/results/adaptation.json
    python benchmarks/adaptation.py --seeds 1 --steps 300
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from turns import machine

from glasshouse.data.tokens.tokenizer import END_OF_TEXT, train_bpe
from glasshouse.evaluation.adaptation import Recall, drift, grade_answers, weigh
from glasshouse.evaluation.perplexity import document_nats
from glasshouse.language.adapters import Lora, add_adapters, merge_adapters
from glasshouse.language.chat import Chat
from glasshouse.language.conversations import prompts_of
from glasshouse.language.dpo import PreferenceTuning, prefer
from glasshouse.language.finetune import FineTuning, finetune
from glasshouse.language.letters import conversations, preferences, prose
from glasshouse.language.model import LoadedModel
from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import Transformer
from glasshouse.store.progress import SilentBar
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train

RESULTS = Path(__file__).parent / "results"
CONTEXT = 128
SFT = FineTuning(epochs=2, learning_rate=1e-3, batch_size=8)
DPO = PreferenceTuning(epochs=1, learning_rate=1e-4, batch_size=16, beta=1.0)


def bar(text, total):
    return SilentBar()


def pretrained(steps, seed, folder):
    tokenizer = train_bpe(prose(2000, seed=seed), 320)
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = [
        token for text in prose(16 * steps * CONTEXT // 60, seed=seed) for token in [end, *tokenizer.encode(text).ids]
    ]
    rows = torch.tensor(ids[: len(ids) // CONTEXT * CONTEXT]).view(-1, CONTEXT)
    model = Transformer(olmo(depth=4).but(vocabulary=320, context=CONTEXT), seed=seed)
    training = Training(
        steps=steps,
        batch_size=16,
        learning_rate=6e-3,
        warmup=0.05,
        final_fraction=0,
        compile=False,
        seed=seed,
        log_every=50,
    )
    train(LanguageModelling(model), TensorRows({"tokens": rows}), training, folder)
    return LoadedModel(model.eval(), tokenizer, end)


def measured(model, held_out, pairs, reference=None):
    values = grade_answers(model, held_out, bar)["values"] | Recall().measure(model, bar)["values"]
    texts = [np.array(model.tokenizer.encode(text).ids) for text in prose(60, split="holdout")]
    nats = document_nats(model.transformer, texts, end_of_sequence=model.end_of_sequence, context=CONTEXT)
    values["prose/nats_per_token"] = float(nats.sum() / sum(map(len, texts)))
    if reference is not None:
        values |= weigh(model, reference, pairs, bar)["values"]
        values |= drift(model, reference, prompts_of(pairs)[:100], bar)["values"]
    return values


def one_seed(seed, steps, home):
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return stages(seed, steps, Path(home or folder) / f"seed-{seed}")


def stages(seed, steps, folder):
    found, seconds = {}, {}

    def note(stage, model, *reference):
        timings = (folder / stage / "timings.jsonl").read_text().splitlines()
        seconds[stage] = json.loads(timings[-1])["cpu_seconds"]
        found[stage] = measured(model, held_out, pairs, *reference)
        print(seed, stage, f"{seconds[stage]:.0f} CPU s", json.dumps(found[stage]), flush=True)

    held_out, pairs = conversations(200, split="holdout"), preferences(200, split="holdout")
    base = pretrained(steps, seed, folder / "base")
    chat = Chat(base.tokenizer, base.end_of_sequence)
    note("base", base)

    def tuned(name, start, method, data, settings):
        model = LoadedModel(copy.deepcopy(start.transformer), start.tokenizer, start.end_of_sequence)
        if settings.lora is not None:
            model = LoadedModel(add_adapters(model.transformer, settings.lora), start.tokenizer, start.end_of_sequence)
        method(model.transformer, data, chat, settings.but(seed=seed), folder / name)
        if settings.lora is not None:
            model = LoadedModel(merge_adapters(model.transformer), start.tokenizer, start.end_of_sequence)
        model.transformer.eval()
        return model

    sft = tuned("sft", base, finetune, conversations(3000, seed=seed), SFT)
    note("sft", sft)
    note("shuffled", tuned("shuffled", base, finetune, conversations(3000, seed=seed, shuffled=True), SFT))
    dpo = preferences(800, seed=seed)
    note("dpo", tuned("dpo", sft, prefer, dpo, DPO), sft)
    note("random", tuned("random", sft, prefer, preferences(800, seed=seed, random_labels=True), DPO), sft)
    normal = DPO.but(length_normalised=True, beta=5.0)  # as OLMo 2
    note("normalised", tuned("normalised", sft, prefer, dpo, normal), sft)
    lora = Lora(rank=8, targets=("query", "key", "value", "output", "gate", "up", "down"))
    note("lora", tuned("lora", sft, prefer, dpo, DPO.but(lora=lora, learning_rate=1e-3)), sft)
    return {"stages": found, "cpu_seconds": seconds}


def summary(runs):
    """Mean and spread over seeds of every value of every stage."""
    found = runs[0]["stages"]
    return {
        stage: {
            name: {
                "mean": statistics.fmean(run["stages"][stage][name] for run in runs),
                "spread": statistics.stdev(run["stages"][stage][name] for run in runs) if len(runs) > 1 else 0.0,
            }
            for name in values
        }
        for stage, values in found.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600, help="updates of pre-training")
    parser.add_argument("--processes", type=int, default=1, help="seeds worked on at once")
    parser.add_argument("--runs", type=Path, help="keep the runs here; what is finished there is not trained again")
    parser.add_argument("--output", type=Path, default=RESULTS / "adaptation.json")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(chosen.processes, get_context("spawn")) as pool:
        runs = list(pool.map(one_seed, range(chosen.seeds), repeat(chosen.steps), repeat(chosen.runs)))
    document = {"machine": machine("torch", "peft"), "steps": chosen.steps, "summary": summary(runs), "runs": runs}
    chosen.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
