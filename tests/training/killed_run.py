"""A run in a process of its own, to be killed: python killed_run.py KIND DIRECTORY STEPS DELAY."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from training_standins import Distillation, NextToken, TinyLanguageModel, config, points, token_rows

from glasshouse.training.trainer import train

if __name__ == "__main__":
    kind, directory, steps, delay = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(1)
    objective = NextToken(TinyLanguageModel()) if kind == "language" else Distillation()
    data = token_rows() if kind == "language" else points()
    settings = config(steps=steps, checkpoint_every=7, micro_batch_size=4, log_every=2, validate_every=5, keep=2)

    def stop(step):
        print(step, flush=True)
        time.sleep(delay)
        return False

    print("hash", train(objective, data, settings, directory, stop=stop).weights_hash, flush=True)
