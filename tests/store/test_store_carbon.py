"""Carbon against the published table; energy of a lineage with failed and killed attempts; sampled power."""

import json
import threading
import time

import pytest
from click.testing import CliRunner

from glasshouse.cli import cli
from glasshouse.store import energy, power
from glasshouse.store.artifact import Artifact
from glasshouse.store.carbon import (
    GRIDS,
    CarbonError,
    account,
    account_of,
    carbon_text,
    energy_text,
    grid_named,
    kilograms,
)
from glasshouse.store.energy import EnergyMeter
from glasshouse.store.execution import execute
from glasshouse.store.power import PowerSampler, integrate
from glasshouse.store.step import Run, step
from glasshouse.store.store import Store

TABLE_8 = [  # arXiv 2402.00838, table 8: MWh, PUE, kg/kWh, t CO2e; the row of LUMI once more with hydroelectric power
    ("Gopher-280B", 1066, 1.08, 0.330, 380),
    ("BLOOM-176B", 433, 1.2, 0.057, 30),
    ("OPT-175B", 324, 1.1, 0.231, 82),
    ("T5-11B", 77, 1.12, 0.545, 47),
    ("LLaMA-7B", 33, 1.1, 0.385, 14),
    ("LLaMA2-7B", 74, 1.1, 0.385, 31),
    ("OLMo-7B, MI250X", 135, 1.1, 0.0, 0),
    ("OLMo-7B, A100", 104, 1.1, 0.610, 69.78),
    ("OLMo-7B, MI250X, hydroelectric", 135, 1.1, 0.024, 3.54),
]


@pytest.mark.parametrize("row", TABLE_8, ids=lambda row: row[0])
def test_the_published_table(row):
    _, megawatt_hours, pue, intensity, tonnes = row
    assert kilograms(1000 * megawatt_hours, pue, intensity) / 1000 == pytest.approx(tonnes, abs=0.5)


def test_grids_have_sources_and_wrong_figures_are_refused():
    assert grid_named("Australia").intensity == 0.610
    assert grid_named("united-states").intensity == 0.385
    assert all("arXiv" in grid.source for grid in GRIDS.values())
    with pytest.raises(CarbonError, match="'atlantis'; known are australia"):
        grid_named("atlantis")
    with pytest.raises(CarbonError, match="PUE is at least 1"):
        kilograms(1, 0.9, 0.1)
    with pytest.raises(CarbonError, match="negative"):
        kilograms(1, 1.1, -0.1)


def test_units_fit():
    assert [energy_text(j) for j in (1, 36, 7200, 7.2e6, 7.2e9)] == ["1 J", "0.01 Wh", "2 Wh", "2 kWh", "2 MWh"]
    assert [carbon_text(m) for m in (0, 2e-6, 0.0123, 3, 69_784)] == ["0", "2 mg", "12.3 g", "3 kg", "69.8 t"]


def manifest(joules, estimate=True, **more):
    spent = {"joules": joules, "estimate": estimate, "source": "rapl" if not estimate else "cpu estimate"}
    return {"step": "s", "type": "T", "id": "0" * 64, "resources": {"energy": spent, **more}}


def test_all_known_attempts_count_and_unknown_ones_are_told():
    earlier = [{"energy": {"joules": 5.0, "estimate": True, "source": "cpu estimate"}}]
    found = account_of([manifest(10.0, estimate=False), manifest(20.0, False, attempts=3, earlier=earlier)])
    assert found.joules == 35.0
    assert found.unknown_attempts == 1  # of three attempts the last and one other are known
    assert found.estimated_share == pytest.approx(25 / 35)
    assert found.steps[1].source == "cpu estimate, rapl"
    assert found.kilograms(1.2, 0.5) == pytest.approx(35 / 3.6e6 * 1.2 * 0.5)
    assert account_of([]).estimated_share == 0.0


class Made(Artifact):
    pass


FAIL = threading.Event()


@step()
def work(run: Run, number: int) -> Made:
    """Fails as long as it is told to."""
    if FAIL.is_set():
        raise RuntimeError("not today")
    (run.output / "number").write_text(str(number))
    return Made(run.output)


def test_a_failed_attempt_is_remembered_with_what_it_cost(tmp_path):
    store = Store(tmp_path / "store")
    FAIL.set()
    with pytest.raises(RuntimeError, match="not today"):
        execute(work(1), store)
    FAIL.clear()
    made = execute(work(1), store)
    used = made.manifest["resources"]
    assert used["attempts"] == 2
    assert len(used["earlier"]) == 1
    assert used["earlier"][0]["energy"]["joules"] >= 0
    assert account(store, made.path.name).unknown_attempts == 0
    assert "earlier" not in execute(work(2), store).manifest["resources"]
    assert store.verify(made.path.name) == []


def test_the_command_shows_every_step_and_several_grids(tmp_path):
    store = Store(tmp_path / "store")
    made = execute(work(3), store)
    place = ["--store", str(store.root)]
    text = CliRunner().invoke(cli, ["carbon", made.path.name, *place]).output
    assert "work" in text
    assert all(grid in text for grid in GRIDS)
    assert "lower bound" in text
    asked = ["--grid", "france", "--intensity", "0.231", "--pue", "1.1", "--pue", "1.58", "--json"]
    document = json.loads(CliRunner().invoke(cli, ["carbon", made.path.name, *asked, *place]).output)
    assert [(c["pue"], c["grid"]["intensity"]) for c in document["carbon"]] == [
        (1.1, 0.057), (1.1, 0.231), (1.58, 0.057), (1.58, 0.231),
    ]  # fmt: skip
    for cell in document["carbon"]:
        expected = document["joules"] / 3.6e6 * cell["pue"] * cell["grid"]["intensity"]
        assert cell["kg_co2e"] == pytest.approx(expected)
    assert isinstance(
        CliRunner().invoke(cli, ["carbon", made.path.name, "--grid", "mars", *place]).exception, CarbonError
    )


# Sampled power


def test_trapezoids_are_exact_for_a_ramp_whatever_the_spacing():
    times = [0.0, 0.1, 0.15, 0.9, 2.0]
    assert integrate([(t, 100 * t) for t in times]) == pytest.approx(100 * 2.0**2 / 2)
    assert integrate([(1.0, 50.0)]) == 0.0


def test_a_sampler_integrates_a_fake_source():
    seconds = iter(range(10_000))
    sampler = PowerSampler(lambda: 7.0, every=0.001, clock=lambda: float(next(seconds)))
    sampler.start()
    time.sleep(0.05)
    joules = sampler.stop()
    readings = next(seconds)
    assert readings > 3
    assert joules == 7.0 * (readings - 1)  # a second between readings, by the fake clock


def test_a_sampler_follows_the_real_clock_and_bridges_gaps():
    answers = iter([100.0, OSError("busy"), OSError("busy")])

    def read() -> float:
        answer = next(answers, 100.0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    sampler = PowerSampler(read, every=0.005)
    before = time.perf_counter()
    sampler.start()
    time.sleep(0.1)
    joules = sampler.stop()
    assert joules == pytest.approx(100 * (time.perf_counter() - before), rel=0.2)
    assert sampler.missed == 2


def test_a_sampler_that_is_dropped_leaves_no_thread():
    sampler = PowerSampler(lambda: 1.0, every=0.001)
    sampler.start()
    thread = sampler._thread
    del sampler
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_a_device_without_a_counter_is_sampled(tmp_path, monkeypatch):
    for number, name in enumerate(["nvme", "amdgpu"]):
        home = tmp_path / "hwmon" / f"hwmon{number}"
        home.mkdir(parents=True)
        (home / "name").write_text(name + "\n")
        (home / "power1_average").write_text("200000000\n")  # 200 W
    monkeypatch.setattr(power, "HWMON", tmp_path / "hwmon")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    monkeypatch.setattr(energy, "_nvml_devices", list)
    meter = EnergyMeter()
    before = time.perf_counter()
    time.sleep(0.2)
    found = meter.stop()
    spent = 200 * (time.perf_counter() - before)
    assert spent * 0.8 <= found["joules"] <= spent * 1.2 + 5  # and the processor's estimate
    assert found["source"] == "sampled power + cpu estimate"
    assert found["estimate"] is True
    assert "every 25 ms" in found["note"]


def test_old_devices_are_sampled_and_new_ones_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(power, "HWMON", tmp_path / "none")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path / "none")
    monkeypatch.setattr(energy, "_nvml_devices", lambda: ["old", "new"])
    counts = iter([0, 0, 1000, 5000])
    monkeypatch.setattr(energy, "_nvml_millijoules", lambda device: None if device == "old" else next(counts))
    monkeypatch.setattr(power, "nvml_watts", lambda device: 0.0)
    found = EnergyMeter().stop()
    assert found["source"] == "nvml + sampled power + cpu estimate"
    assert 4.0 <= found["joules"] < 9.0  # 4 J counted, and the processor's estimate


def test_counted_processor_packages_are_no_estimate(tmp_path, monkeypatch):
    domain = tmp_path / "intel-rapl:0"
    domain.mkdir()
    (domain / "energy_uj").write_text("1000000")
    (domain / "max_energy_range_uj").write_text("9000000")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_nvml_devices", list)
    monkeypatch.setattr(power, "HWMON", tmp_path / "none")
    meter = EnergyMeter()
    (domain / "energy_uj").write_text("500000")  # it wrapped around
    found = meter.stop()
    assert (found["joules"], found["source"], found["estimate"]) == (8.5, "rapl", False)
