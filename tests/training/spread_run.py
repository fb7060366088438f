"""Runs of several processes: python spread_run.py RANK WORLD FOLDER CASE... ; each case trains into FOLDER/CASE.

Under torchrun: spread_run.py torchrun FOLDER KILL; of the first attempt, process 1 is killed at update KILL.

Importing torch takes longer than a tiny run, so one group of processes does many cases.
"""

import errno
import hashlib
import json
import os
import signal
import sys
import traceback
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
import torch.distributed as dist
from torch import nn
from training_standins import Distillation, config, points

from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.configuration import TransformerConfig
from glasshouse.nn.transformer import Transformer
from glasshouse.training import shards
from glasshouse.training.checkpoint import latest_checkpoint, load_checkpoint
from glasshouse.training.data import TensorRows
from glasshouse.training.objective import Loss, trainable
from glasshouse.training.optimizers import build_optimizers
from glasshouse.training.parallel import Parallelism, ParallelPlan, alone
from glasshouse.training.parallelize import parallelize
from glasshouse.training.processes import joined
from glasshouse.training.shards import whole
from glasshouse.training.trainer import train

OLMO = TransformerConfig(vocabulary=61, width=24, layers=2, heads=4, feed_forward=20, context=16, tied=True)
OLMO_2 = OLMO.but(
    tied=False, norm="rms_norm", norm_placement="after", query_key_norm=True, key_value_heads=2, initialization="normal"
)


def rows(number=32, length=16, seed=1):
    """Rows with different numbers of targets, in some none: micro-batches of no weight must not part the ranks."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 61, (number, length), generator=generator)
    targets = torch.full_like(tokens, -100)
    lengths = torch.randint(0, length, (number, 1), generator=generator)
    keep = torch.arange(length - 1) < lengths
    targets[:, :-1] = torch.where(keep, tokens[:, 1:], -100)
    return TensorRows({"tokens": tokens, "targets": targets}, [f"row-{row}" for row in range(number)])


class Followed(Distillation):
    """With an average copy, whose layers nobody names; without noise, which is another in every process."""

    __qualname__ = "Distillation"

    def blocks(self):
        return [self.student[0]]

    def loss(self, batch, step):
        with torch.no_grad():
            target = self.teacher(batch["x"])
        return Loss(nn.functional.mse_loss(self.student(batch["x"]), target))


CASES = {
    "shard": {"parallel": "shard=2"},
    "tied_micro": {"parallel": "shard=2", "training": {"micro_batch_size": 1}},
    "olmo_2": {"parallel": "shard=2", "model": OLMO_2},
    "bf16": {"parallel": "shard=2", "training": {"precision": "bf16"}},
    "muon": {"parallel": "shard=2", "training": {"optimizer": "muon"}},
    "recomputed": {"parallel": "shard=2,activation_checkpointing=full"},
    "selective": {"parallel": "shard=2,activation_checkpointing=selective", "training": {"precision": "bf16"}},
    "compiled": {"parallel": "shard=2,activation_checkpointing=full", "training": {"compile": True}},
    "meta": {"parallel": "shard=2", "meta": True},
    "tensor": {"parallel": "tensor=2", "training": {"micro_batch_size": 2}},
    "tensor_olmo_2": {"parallel": "tensor=2", "model": OLMO_2},
    "tensor_meta": {"parallel": "tensor=2", "model": OLMO_2, "meta": True},
    "tensor_bf16": {"parallel": "tensor=2", "training": {"precision": "bf16"}},
    "average": {"parallel": "shard=2", "objective": Followed},
    "full_disk": {"parallel": "shard=2", "training": {"checkpoint_every": 2}, "full": 1},
    "alone": {"alone": True},
    "long": {"parallel": "shard=2", "training": {"steps": 12, "checkpoint_every": 4, "warmup": 0}},
    "huggingface": {"parallel": "shard=2,activation_checkpointing=full", "model": None},
    "both": {"parallel": "replicate=2,shard=2"},
    "shard_tensor": {"parallel": "shard=2,tensor=2", "model": OLMO_2},
    "replicate_tensor": {"parallel": "tensor=2", "model": OLMO_2},
    "shard_tensor_meta": {"parallel": "shard=2,tensor=2", "model": OLMO_2, "meta": True},
}


def settings(**changes):
    return config(**({"steps": 5, "batch_size": 8, "compile": False, "clip_norm": 0.5} | changes))


def objective_of(case):
    if "objective" in case:
        return case["objective"](), points()
    if case.get("model", OLMO) is None:
        return LanguageModelling(huggingface()), rows()
    model = Transformer(case.get("model", OLMO), seed=7, device="meta" if case.get("meta") else None)
    return LanguageModelling(model), rows()


def huggingface():
    """A model of the transformers package, whose forward gives logits."""
    from transformers import OlmoConfig, OlmoForCausalLM

    sizes = {"vocab_size": 61, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return OlmoForCausalLM(OlmoConfig(**sizes, num_attention_heads=4, max_position_embeddings=16, eos_token_id=0))


def run(case, folder, plan=None, stop=None):
    objective, data = objective_of(case)
    return train(objective, data, settings(**case.get("training", {})), folder, plan=plan, device="cpu", stop=stop)


def digest(tensor):
    return hashlib.sha256(whole(tensor).contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()


def on_disk(folder):
    """Hashes of every weight and of the optimiser's state in the newest checkpoint, read as whole tensors."""
    found = latest_checkpoint(folder / "checkpoints")
    hashes = {}
    for kind in ("learns", "optimizer"):
        with found.tensors(kind) as stored:
            hashes |= {name: digest(stored[name]) for name in stored}
    return hashes


def in_memory(case, folder, plan):
    """The same after these processes have read it, each its part."""
    objective, _ = objective_of(case)
    parallelize(objective, plan, device=torch.device("cpu"), seed=7, precision="fp32")
    parameters = trainable(objective)
    optimizers = build_optimizers(objective, settings(**case.get("training", {})))
    found = latest_checkpoint(folder / "checkpoints")
    load_checkpoint(found, learns=objective.learns, carries={}, optimizers=optimizers, parameters=parameters)
    hashes = {name: digest(parameter) for name, parameter in parameters.items()}
    for optimizer in optimizers:
        for name, parameter in parameters.items():
            hashes |= {f"{name}|{key}": digest(value) for key, value in optimizer.state.get(parameter, {}).items()}
    return hashes


def full_disk():
    original, calls = shards.save_file, []

    def full(tensors, path, metadata=None):
        calls.append(path)
        if len(calls) > 3:  # the second checkpoint
            raise OSError(errno.ENOSPC, "No space left on device")
        original(tensors, path, metadata)

    shards.save_file = full
    return original


def while_others_wait(case, folder, rank):
    """A run of process 0 by itself, as in a step that one process does."""
    told = {}
    if rank == 0:
        with alone():
            told = {"hash": run(case, folder).weights_hash}
    dist.barrier()
    return told


def spread(case, folder):
    plan = ParallelPlan.current(Parallelism.parse(case["parallel"]))
    found = in_memory(case, folder, plan) if (folder / "checkpoints").exists() else None
    dist.barrier()
    result = run(case, folder, plan)
    told = {"hash": result.weights_hash, "loss": result.loss, "found": found}
    return told | {"resumed_from": result.resumed_from, "checkpoint": str(result.checkpoint)}


def main(rank, world, folder, names):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    for name in names:
        case = CASES[name]
        original = full_disk() if case.get("full") == rank else None
        try:
            by_itself = case.get("alone")
            told = while_others_wait(case, folder / name, rank) if by_itself else spread(case, folder / name)
        except Exception as error:
            told = {"error": str(error), "trace": traceback.format_exc()}
        if original is not None:
            shards.save_file = original
        (folder / f"{name}-{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


def under_torchrun(folder, kill):
    torch.set_num_threads(1)
    rank, attempt = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])

    def stop(step):
        if (rank, attempt, step) == (1, 0, kill):
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    case = CASES["long"]
    with joined(Parallelism(timeout=60)):
        plan = ParallelPlan.current(Parallelism.parse(case["parallel"]))
        result = run(case, folder / "run", plan, stop)
    told = {"hash": result.weights_hash, "resumed_from": result.resumed_from, "attempt": attempt}
    (folder / f"told-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.argv[1] == "torchrun":
        under_torchrun(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
