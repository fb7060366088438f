"""Do reward models that know their doubt predict real preferences better jointly? Point, ensemble and epinet on pairs.

Features are hashed words of the last answer (1,024 counts, each answer scaled to length 1), so no language model is
needed. Every head has one hidden layer of 64 and is trained alike: 500 updates of 64 pairs, Adam at 3e-4, the first
pairs of each set; it is measured on later ones. Features of length 1 are small (1/32 each), so a prior network says
little at scale 1; `--prior` is chosen on seed 0 of the harmless pairs. No text is kept or printed.

    python benchmarks/reward_doubt.py --harmless hh_harmless_test.jsonl.gz \\
        --helpful apo_helpful_train.csv.gz apo_helpful_test.csv.gz

Harmless: anthropics/hh-rlhf, harmless-base/test (JSON Lines). Helpful: nirjhar-das/active-preference-optimization,
datasets/anthropic_hard_8k_{train,test} (CSV with `chosen` and `rejected`).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import statistics
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from turns import machine

from glasshouse.alignment.bradley_terry import RewardModelling
from glasshouse.data.quarantine import Quarantine
from glasshouse.language.conversations import read_preferences
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.training.configuration import Training
from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train

RESULTS = Path(__file__).parent / "results"
WORDS, SIZE, HIDDEN = re.compile(r"[a-z0-9']+|[^\sa-z0-9]"), 1024, (64,)


def bag(text):
    """Counts of hashed words, scaled to length 1."""
    counts = np.zeros(SIZE, np.float32)
    for word in WORDS.findall(text.lower()):
        counts[zlib.crc32(word.encode()) % SIZE] += 1
    return counts / max(1.0, float(np.linalg.norm(counts)))


def rows(pairs):
    found = [(bag(chosen), bag(rejected)) for chosen, rejected in pairs if chosen != rejected]
    return TensorRows({"features": torch.from_numpy(np.array(found))})


def harmless(path):
    """The first 1,700 pairs, and the 600 after them."""
    found = [(item.chosen, item.rejected) for item in read_preferences(path, Quarantine())]
    return rows(found[:1700]), rows(found[1700:2300])


def helpful(paths):
    """4,000 pairs of the one file, 1,000 of the other."""
    csv.field_size_limit(1 << 24)
    sets = []
    for path, most in zip(paths, (4000, 1000), strict=True):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found = [(row["chosen"], row["rejected"]) for row in csv.DictReader(lines)]
        sets.append(rows(found[:most]))
    return sets


def measured(learnt, held_out, head, seed, steps):
    made = head.build(SIZE, seed=seed)
    objective = RewardModelling(made, validation=held_out)
    training = Training(
        steps=steps, batch_size=64, seed=seed, learning_rate=3e-4, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8,
        schedule="constant", warmup=0, clip_norm=None, precision="fp32", compile=False, checkpoint_every=None,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        train(objective, learnt, training, Path(folder) / "run")
    return objective.validate()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harmless", type=Path, required=True)
    parser.add_argument("--helpful", type=Path, nargs=2, required=True)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--prior", type=float, default=50.0, help="scale of the prior networks")
    parser.add_argument("--output", type=Path, default=RESULTS / "reward_doubt.json")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    heads = {
        "point": EpistemicConfig(kind="point", hidden=HIDDEN),
        "ensemble": EpistemicConfig(hidden=HIDDEN, prior_scale=chosen.prior),
        "ensemble without priors": EpistemicConfig(hidden=HIDDEN, prior_scale=0.0),
    }
    found = {}
    for name, (learnt, held_out) in {"harmless": harmless(chosen.harmless), "helpful": helpful(chosen.helpful)}.items():
        found[name] = {"pairs": [learnt.rows, held_out.rows], "heads": {}}
        for kind, head in heads.items():
            runs = [measured(learnt, held_out, head, seed, chosen.steps) for seed in range(chosen.seeds)]
            values = {value: statistics.fmean(run[value] for run in runs) for value in runs[0]}
            found[name]["heads"][kind] = {"mean": values, "runs": runs}
            print(name, kind, {value: round(number, 3) for value, number in values.items()}, flush=True)
    document = {"machine": machine("torch"), "steps": chosen.steps, "prior_scale": chosen.prior, "sets": found}
    chosen.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
