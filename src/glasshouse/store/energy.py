"""Energy of a piece of work: read from the hardware where it can be read, a labelled estimate where it cannot.

What it means in carbon is in `carbon`.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from glasshouse.store.power import nvml_watts, samplers

POWERCAP = Path("/sys/class/powercap")
WATTS_PER_BUSY_CORE = 10.0
"""Used only when no counter can be read: server and laptop parts draw about 4-15 W per busy core, memory included."""


class EnergyMeter:
    """Measures joules between `start` and `stop` (or inside a `with` block).

    The processor: Intel/AMD RAPL package counters under `/sys/class/powercap` (the whole package, other processes
    included), else CPU seconds x `WATTS_PER_BUSY_CORE`. Accelerators: NVIDIA's energy counters through NVML, and for
    devices that count nothing (older NVIDIA ones, AMD's) their power, read every 25 ms. The result names its sources,
    and an estimate is called one.
    """

    def __init__(self) -> None:
        self._domains = _rapl_domains()
        devices = _nvml_devices()
        self._devices = [device for device in devices if _nvml_millijoules(device) is not None]
        self._samplers = samplers([device for device in devices if _nvml_millijoules(device) is None])
        self.start()

    def start(self) -> None:
        """Begin, or begin again."""
        self._cpu = time.process_time()
        self._rapl = {domain: _read(domain / "energy_uj") for domain in self._domains}
        self._nvml = [_nvml_millijoules(device) for device in self._devices]
        for sampler in self._samplers:
            sampler.start()

    def stop(self) -> dict[str, Any]:
        """`{"joules", "source", "estimate": bool, "note"}` since the start."""
        gpu, sources, notes = self._accelerators()
        if self._rapl:
            joules = sum(_rapl_joules(domain, before) for domain, before in self._rapl.items())
            notes = [" and ".join(["processor packages", *notes]) + ", other processes included"]
            return _result(joules + gpu, ["rapl", *sources], False, notes)
        busy = time.process_time() - self._cpu
        notes.append(
            f"{busy:.1f} CPU-seconds x {WATTS_PER_BUSY_CORE:g} W; the true figure may differ by a factor of two"
        )
        return _result(busy * WATTS_PER_BUSY_CORE + gpu, [*sources, "cpu estimate"], True, notes)

    def _accelerators(self) -> tuple[float, list[str], list[str]]:
        """Joules of the accelerators, their sources, and what to say about them."""
        joules, sources, notes = 0.0, [], []
        if self._devices:
            spent = [(_nvml_millijoules(d) or 0) - (b or 0) for d, b in zip(self._devices, self._nvml, strict=True)]
            joules += sum(spent) / 1e3
            sources.append("nvml")
            notes.append("GPUs")
        if self._samplers:
            joules += sum(sampler.stop() for sampler in self._samplers)
            missed = sum(sampler.missed for sampler in self._samplers)
            sources.append("sampled power")
            lost = f", {missed} readings failed" if missed else ""
            notes.append(f"GPUs by their power every {1000 * self._samplers[0].every:.0f} ms{lost}")
        return joules, sources, notes

    def __enter__(self) -> EnergyMeter:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.result = self.stop()


def _rapl_domains() -> list[Path]:
    # Only whole packages ("intel-rapl:0"): their sub-domains ("intel-rapl:0:0") are already counted in them.
    domains = [path for path in POWERCAP.glob("*-rapl:*") if path.name.count(":") == 1]
    return [path for path in sorted(domains) if _read(path / "energy_uj") is not None]


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _rapl_joules(domain: Path, before: int | None) -> float:
    after = _read(domain / "energy_uj")
    if before is None or after is None:
        return 0.0
    wrap = _read(domain / "max_energy_range_uj") or 0
    return (after - before if after >= before else after - before + wrap) / 1e6


def _result(joules: float, sources: list[str], estimate: bool, notes: list[str]) -> dict[str, Any]:
    return {"joules": round(joules, 3), "source": " + ".join(sources), "estimate": estimate, "note": "; ".join(notes)}


def _nvml_devices() -> list[Any]:
    """NVIDIA devices that tell their energy or at least their power."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except Exception:  # the library or the driver is absent: there is nothing to read
        return []
    return [device for device in devices if _nvml_millijoules(device) is not None or _tells_power(device)]


def _nvml_millijoules(device: Any) -> int | None:
    try:
        return int(importlib.import_module("pynvml").nvmlDeviceGetTotalEnergyConsumption(device))
    except Exception:  # devices before Volta count no energy
        return None


def _tells_power(device: Any) -> bool:
    try:
        return nvml_watts(device) >= 0
    except Exception:  # nor do some virtual ones tell their power
        return False
