"""Energy of a piece of work: read from the hardware where it can be read, a labelled estimate where it cannot.

Carbon accounting follows OLMo (arXiv 2402.00838, section 5): energy x power usage effectiveness x grid intensity.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from types import TracebackType
from typing import Any

POWERCAP = Path("/sys/class/powercap")
WATTS_PER_BUSY_CORE = 10.0
"""Used only when no counter can be read: server and laptop parts draw about 4-15 W per busy core, memory included."""


class EnergyMeter:
    """Measures joules between `start` and `stop` (or inside a `with` block).

    Sources, best first: Intel/AMD RAPL package counters under `/sys/class/powercap` (the whole package, other
    processes included), NVIDIA's energy counters through NVML, else CPU seconds x `WATTS_PER_BUSY_CORE`.
    The result names the source, and an estimate is called one.
    """

    def __init__(self) -> None:
        self._domains = _rapl_domains()
        self._devices = _nvml_devices()
        self.start()

    def start(self) -> None:
        """Begin, or begin again."""
        self._cpu = time.process_time()
        self._rapl = {domain: _read(domain / "energy_uj") for domain in self._domains}
        self._nvml = [_nvml_millijoules(device) for device in self._devices]

    def stop(self) -> dict[str, Any]:
        """`{"joules", "source", "estimate": bool, "note"}` since the start."""
        gpu = sum(_nvml_millijoules(d) - before for d, before in zip(self._devices, self._nvml, strict=True)) / 1e3
        if self._rapl:
            joules = sum(_rapl_joules(domain, before) for domain, before in self._rapl.items())
            note = "processor packages" + (" and GPUs" if self._devices else "") + ", other processes included"
            return {"joules": round(joules + gpu, 3), "source": "rapl", "estimate": False, "note": note}
        busy = time.process_time() - self._cpu
        note = f"{busy:.1f} CPU-seconds x {WATTS_PER_BUSY_CORE:g} W; the true figure may differ by a factor of two"
        source = "nvml + cpu estimate" if self._devices else "cpu estimate"
        return {"joules": round(busy * WATTS_PER_BUSY_CORE + gpu, 3), "source": source, "estimate": True, "note": note}

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


def _nvml_devices() -> list[Any]:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        for device in devices:
            nvml.nvmlDeviceGetTotalEnergyConsumption(device)
    except Exception:  # the library, the driver or the counter is absent: there is nothing to read
        return []
    return devices


def _nvml_millijoules(device: Any) -> int:
    return int(importlib.import_module("pynvml").nvmlDeviceGetTotalEnergyConsumption(device))
