"""Where records go: JSON Lines always, TensorBoard and Weights & Biases when asked for.

A record is a flat mapping with `step` and numbers. `metrics.jsonl` holds only what the run determines (losses, norms,
rates, validation), so that it is the same file after an interruption; speeds go to `timings.jsonl`.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol


class MissingExtraError(ImportError):
    """A sink was asked for whose package is not installed."""


class Sink(Protocol):
    """Receives records in order of step."""

    def begin(self, step: int) -> None:
        """The run starts after update `step`: forget anything later."""

    def write(self, record: Mapping[str, Any]) -> None: ...

    def flush(self) -> None:
        """What was written survives a crash from here on."""

    def close(self) -> None: ...


class JsonLines:
    """One JSON object per line. Beginning at step k drops the records after k and a torn last line."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._file: IO[str] | None = None

    def begin(self, step: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step] if step > 0 else []
        temporary = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        temporary.write_text("".join(f"{line}\n" for line in kept))
        temporary.replace(self._path)
        self._file = self._path.open("a")

    def _lines(self) -> list[str]:
        if not self._path.exists():
            return []
        text = self._path.read_text(errors="replace")
        return text[: text.rfind("\n") + 1].splitlines()

    def write(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            raise RuntimeError(f"{self._path} was written to before begin()")
        self._file.write(json.dumps(record, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class TensorBoard:
    """Scalars as TensorBoard event files in `directory`; needs the extra `tensorboard`."""

    def __init__(self, directory: Path | str) -> None:
        _need("tensorboard", "tensorboard")
        self._directory = str(directory)
        self._writer: Any = None

    def begin(self, step: int) -> None:
        module = importlib.import_module("torch.utils.tensorboard")
        # Viewers hide events from this step on that an interrupted run left behind.
        self._writer = module.SummaryWriter(self._directory, purge_step=step + 1 if step else None)

    def write(self, record: Mapping[str, Any]) -> None:
        for name, value in _scalars(record).items():
            self._writer.add_scalar(name, value, global_step=record["step"])

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """Scalars to Weights & Biases; needs the extra `wandb`. `settings` go to `wandb.init` (project, id, mode, ...).

    With an `id`, an interrupted run continues in the same W&B run.
    """

    def __init__(self, **settings: Any) -> None:
        self._module = _need("wandb", "wandb")
        self._settings = settings
        self._run: Any = None

    def begin(self, step: int) -> None:
        self._run = self._module.init(resume="allow" if step else None, **self._settings)

    def write(self, record: Mapping[str, Any]) -> None:
        self._run.log(_scalars(record), step=record["step"])

    def flush(self) -> None:
        """W&B sends on its own."""

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


def _scalars(record: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in record.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _need(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(f"{package} is not installed; pip install 'glasshouse[{extra}]'") from error
