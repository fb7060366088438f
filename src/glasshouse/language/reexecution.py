"""Executing a part of a pre-training run again, which must arrive at the receipts that the run left.

What is checked: every file of the model and of its shards against their manifests; the weights of the model against
the last receipt; the checkpoint that is started from against its receipt; what the numbers depend on (seed, order,
data, initial weights, configuration) against the run's identity; and then, by computing the updates again, every
receipt on the way. Whoever changes weights, receipts, data or seed, and makes the manifests fit, has still to find
other updates that lead to the same hashes.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

from glasshouse.data.steps import Shards
from glasshouse.data.tokens.shards import ShardError
from glasshouse.language.model import LanguageModel
from glasshouse.language.pretraining_run import PretrainingRun, inputs_of, same_number_of_processes, start_from
from glasshouse.nn.families import ConversionError
from glasshouse.store import environment
from glasshouse.store.files import StoreError, read_json
from glasshouse.store.progress import Bar
from glasshouse.store.store import Store
from glasshouse.training.checkpoint import (
    CheckpointError,
    ResumeRefusedError,
    latest_checkpoint,
    load_checkpoint,
    refuse_changes,
    weights_hash,
)
from glasshouse.training.receipts import RECEIPTS, Receipt, read_receipts


class NotReproducedError(StoreError):
    """A run is not what its artifact says."""


@dataclass(frozen=True)
class Reexecution:
    """Updates `start` + 1 to `end` were computed again and met the receipts of the updates in `checked`."""

    start: int
    end: int
    asked: int
    checked: tuple[int, ...]
    seconds: float

    def __str__(self) -> str:
        origin = f"the checkpoint of update {self.start}" if self.start else "the seed"
        more = f" ({self.asked} updates were asked for, the next receipt is {self.end - self.start} away)"
        receipts = f"the receipt{'s' * (len(self.checked) > 1)} of update {', '.join(map(str, self.checked))}"
        return (
            f"updates {self.start + 1} to {self.end} executed again from {origin} in {self.seconds:.1f} s"
            f"{more if self.asked != self.end - self.start else ''}: {receipts} met"
        )


def reexecute(
    model: LanguageModel,
    store: Store,
    steps: int,
    start: int | None = None,
    *,
    progress: Bar | None = None,
) -> Reexecution:
    """Compute `steps` updates (rounded up to the next receipt) of a model's training again.

    Args:
        start: update whose kept checkpoint is started from, 0 for the seed; by default the last kept one that leaves
            `steps` to do.
        progress: advances by one per update.

    Raises:
        NotReproducedError: something differs; the message names it, and the first receipt that was missed.
        StoreError: the question cannot be asked: no receipts, no such checkpoint, shards that are gone.
    """
    if steps < 1:
        raise StoreError(f"at least 1 update has to be executed again, got {steps}")
    inputs = inputs_of(model, store)
    _files_are_whole(store, model, inputs)
    same_number_of_processes(model)
    run = PretrainingRun.of(model, inputs)
    last = _last(model)
    first = _start(model, steps, last) if start is None else start
    target = _target(model, first, steps, last)
    _weights_are_the_last_receipt_s(model)
    began = time.perf_counter()
    home = _workplace(store)
    try:
        checked = _Again(model, run, first, target, home / "run").run(progress)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return Reexecution(first, target, steps, checked, time.perf_counter() - began)


class _Again:
    """The run from `start` to `target` in a directory of its own, compared as it goes."""

    def __init__(self, model: LanguageModel, run: PretrainingRun, start: int, target: int, home: Path) -> None:
        self.model, self.start, self.target, self.home = model, start, target, home
        self.made = replace(run, training=run.training.but(keep=1))
        self.expected = {receipt.step: receipt for receipt in model.receipts if start < receipt.step <= target}
        self.met: list[int] = []
        self.same_identity = False

    def run(self, progress: Bar | None) -> tuple[int, ...]:
        if self.start:
            start_from(self.model, self.start, self.home, only=True)
            self._checkpoint_is_its_receipt_s()
        try:
            self.made.train(self.made.transformer(), self.home, stop=self._stop, progress=progress)
        except (ResumeRefusedError, CheckpointError, ShardError) as error:
            raise NotReproducedError(f"{self.model} cannot be executed again: {error}") from error
        self._compare()
        return tuple(self.met)

    def _checkpoint_is_its_receipt_s(self) -> None:
        recorded = next((receipt for receipt in self.model.receipts if receipt.step == self.start), None)
        checkpoint = latest_checkpoint(self.home / "checkpoints")
        if recorded is None or checkpoint is None:
            raise NotReproducedError(
                f"the checkpoint of update {self.start} of {self.model} is damaged or has no receipt"
            )
        transformer = self.made.transformer()
        load_checkpoint(checkpoint, learns={"model": transformer}, carries={})
        if (found := weights_hash(transformer)) != recorded.weights:
            raise NotReproducedError(
                f"the checkpoint of update {self.start} of {self.model} has weights {found[:16]}…, its receipt says "
                f"{recorded.weights[:16]}…: one of them was changed"
            )

    def _stop(self, step: int) -> bool:
        if not self.same_identity:
            try:
                refuse_changes(self.model.training["identity"], read_json(self.home / "run.json"))
            except ResumeRefusedError as error:
                raise NotReproducedError(f"{self.model} is not the run that its record describes: {error}") from None
            self.same_identity = True
        if step in self.expected:
            self._compare()
        return step == self.target

    def _compare(self) -> None:
        for found in read_receipts(self.home / RECEIPTS):
            if found.step not in self.expected or found.step in self.met:
                continue
            if differing := found.differences(self.expected[found.step]):
                raise NotReproducedError(self._missed(found, differing))
            self.met.append(found.step)

    def _missed(self, found: Receipt, differing: list[str]) -> str:
        recorded = self.expected[found.step]
        parts = [f"{name} {getattr(recorded, name)} recorded, {getattr(found, name)} found" for name in differing]
        causes = differences_since(self.model) or [
            "hardware, packages and code are as they were, so weights, receipts or data were changed, or the number "
            "of arithmetic threads"
        ]
        return (
            f"the first receipt that differs is that of update {found.step} ({'; '.join(parts)}), executed again from "
            f"update {self.start}. Causes to look at: {'; '.join(causes)}"
        )


def differences_since(model: LanguageModel) -> list[str]:
    """What has changed on this machine since a model was made, in words, where that may change numbers."""
    manifest = model.manifest
    then, now = manifest["environment"]["packages"], environment.packages()
    found = [
        f"{name} was {then.get(name)}, now {now.get(name)}"
        for name in ("torch", "numpy")
        if then.get(name) != now.get(name)
    ]
    before, here = manifest["hardware"], environment.hardware()
    found += [
        f"other hardware: {name} was {before.get(name)}, now {here.get(name)}"
        for name in ("processor", "cores", "accelerators")
        if before.get(name) != here.get(name)
    ]
    coded, code = manifest["code"], environment.code_version()
    found += [
        f"other code of Glasshouse: {name} was {coded.get(name)}, now {code[name]}"
        for name in code
        if coded.get(name) != code[name]
    ]
    return found


def _files_are_whole(store: Store, model: LanguageModel, inputs: list[Shards]) -> None:
    for artifact in (model, *inputs):
        if problems := store.verify(artifact.path.name):
            raise NotReproducedError(f"{artifact.path.name} is not what its manifest says: {'; '.join(problems)}")


def _last(model: LanguageModel) -> int:
    receipts = model.receipts
    if not receipts:
        raise StoreError(f"{model} has no receipts")
    return receipts[-1].step


def _start(model: LanguageModel, steps: int, last: int) -> int:
    return max((step for step in (0, *model.checkpoints) if step + steps <= last), default=0)


def _target(model: LanguageModel, start: int, steps: int, last: int) -> int:
    kept = [0, *model.checkpoints]
    if start not in kept:
        raise StoreError(
            f"{model} keeps no checkpoint of update {start}; it can start from {', '.join(map(str, kept))} "
            "(0 is the seed)"
        )
    if start >= last:
        raise StoreError(f"the run ended with update {last}; nothing comes after the checkpoint of update {start}")
    return next((r.step for r in model.receipts if r.step >= start + steps), last)


def _weights_are_the_last_receipt_s(model: LanguageModel) -> None:
    recorded, outcome = model.receipts[-1], model.training["outcome"]
    try:
        found = weights_hash(model.load().transformer)
    except ConversionError as error:
        raise NotReproducedError(f"the weights of {model} cannot be read: {error}") from error
    for name, value in (("weights", found), ("training.json", outcome["weights_hash"])):
        if value != recorded.weights:
            raise NotReproducedError(
                f"the last receipt (update {recorded.step}) is of weights {recorded.weights[:16]}…, the {name} of "
                f"{model} {'are' if name == 'weights' else 'says'} {value[:16]}…: one of them was changed"
            )


def _workplace(store: Store) -> Path:
    """Beside the artifacts, where a checkpoint certainly fits; what a kill leaves there is listed by `gc`."""
    (store.root / "work").mkdir(parents=True, exist_ok=True)
    return Path(mkdtemp(prefix="verify-", dir=store.root / "work"))
