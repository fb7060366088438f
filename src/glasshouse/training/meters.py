"""What a run costs: speed, model FLOPs, model FLOPs utilisation, CPU and wall seconds, energy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch

PEAK_FLOPS = {
    "B200": 2250e12,
    "H200": 989e12,
    "H100": 989e12,
    "GH200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "V100": 125e12,
    "T4": 65e12,
    "MI300X": 1307e12,
    "MI250X": 383e12,
}
"""Dense bf16 (fp16 before Ampere) tensor peak of the SXM form, FLOP/s, from the vendors' data sheets."""


class PowerMeter(Protocol):
    """Measures energy, e.g. `glasshouse.store.energy.EnergyMeter`."""

    def start(self) -> None: ...

    def stop(self) -> dict[str, Any]:
        """At least `joules`, `source` and `estimate`."""


@dataclass(frozen=True)
class Peak:
    """The FLOP/s that utilisation is measured against, and where the number comes from."""

    flops: float
    source: str


def transformer_flops_per_token(
    *, parameters: int, embedding_parameters: int, layers: int, width: int, context: int
) -> float:
    """Model FLOPs of one token forward and backward, as OLMo's monitor counts them (arXiv 2402.00838's code).

    Forward 2 (N - E) + 4 L d T, backward 4 N + 8 L d T: attention without the causal half, embedding in backward only.
    """
    forward = 2 * (parameters - embedding_parameters) + 4 * layers * width * context
    return float(forward + 4 * parameters + 8 * layers * width * context)


def peak_flops(device: torch.device, precision: str) -> Peak | None:
    """The device's peak: from the table for known GPUs, measured by a short matrix product on a CPU, else None."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = [model for model in PEAK_FLOPS if model in name.replace("-", " ").split()]
        known = known or [model for model in sorted(PEAK_FLOPS, key=len, reverse=True) if model in name]
        return Peak(PEAK_FLOPS[known[0]], f"data sheet of {known[0]}, dense bf16") if known else None
    if device.type != "cpu":
        return None
    return Peak(_probe(torch.bfloat16 if precision == "bf16" else torch.float32), "measured peak")


def _probe(dtype: torch.dtype, size: int = 512, seconds: float = 0.05) -> float:
    a = torch.ones(size, size, dtype=dtype)
    best, begin = 0.0, time.perf_counter()
    while best == 0.0 or time.perf_counter() - begin < seconds:
        started = time.perf_counter()
        torch.mm(a, a)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


class Meter:
    """Counts units and examples since `start`; `read` gives speeds since the previous `read`."""

    def __init__(self, unit: str, flops_per_example: float | None, peak: Peak | None, ranks: int = 1) -> None:
        self._unit, self._flops, self._peak, self._ranks = unit, flops_per_example, peak, ranks
        self._units = self._examples = 0.0
        self._begin = self._since = time.perf_counter()
        self._cpu = time.process_time()

    def count(self, units: float, examples: int) -> None:
        self._units += units
        self._examples += examples

    @property
    def seconds(self) -> float:
        """Wall seconds since the start."""
        return time.perf_counter() - self._begin

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of this process since the start, all threads."""
        return time.process_time() - self._cpu

    def read(self) -> dict[str, Any]:
        """Speeds since the last reading; `mfu` is a fraction of the named peak over all ranks."""
        now = time.perf_counter()
        elapsed = max(now - self._since, 1e-9)
        record: dict[str, Any] = {
            f"{self._unit}_per_second": self._units / elapsed,
            "examples_per_second": self._examples / elapsed,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }
        if self._flops is not None:
            record["model_flops_per_second"] = self._flops * self._examples / elapsed
            if self._peak is not None:
                record["mfu"] = record["model_flops_per_second"] / (self._peak.flops * self._ranks)
                record["mfu_peak"] = self._peak.source
        self._units = self._examples = 0.0
        self._since = now
        return record
