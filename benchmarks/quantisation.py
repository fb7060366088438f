"""What GPTQ costs and what it saves, side by side with the reference implementation, and with HQQ where it is given.

One layer of 1024 x 1024 at 3 bits in groups of 128, whose 4096 inputs lie near a subspace of 256; everybody gets the
same weight and the same hessian (HQQ uses no inputs). Processes take turns, a layer at a time (see `turns.py`). CPU
time of the process. The output error is that of the layer on its inputs, as a share of its energy; ours is also told
with act-order, in the reference's way of taking grids (`stale_groups`), and for round-to-nearest.

    python benchmarks/quantisation.py --gptq ../gptq            result in benchmarks/results/quantisation.json
    python benchmarks/quantisation.py --gptq ../gptq --small    a small layer and few rounds, to try the script

`--gptq` is a checkout of IST-DASLab/gptq, of which `gptq.py` and `quant.py` are imported (its wait for a GPU is left
out) and nothing is kept here; `--hqq` a directory with the package hqq (`pip install --no-deps --target DIRECTORY hqq
termcolor einops`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from turns import Competitor, Turn, machine, ratio_of, spread

from glasshouse.language.quantisation.gptq import gptq, output_error
from glasshouse.language.quantisation.grid import round_to_nearest
from glasshouse.language.quantisation.settings import Quantisation

RESULTS = Path(__file__).parent / "results"
SIZES = {"small": 128, "full": 1024}
SETTINGS = Quantisation(bits=3, group_size=128, half_scales=False)
BAR = 1.0
"""The reference's time over ours."""


def layer(size: int) -> tuple[Tensor, Tensor]:
    """The weight and the hessian of its inputs."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(size, size, generator=draw) / size**0.5
    inputs = torch.randn(4 * size, size // 4, generator=draw) @ torch.randn(size // 4, size, generator=draw)
    inputs += 0.3 * (size // 4) ** 0.5 * torch.randn(4 * size, size, generator=draw)
    return weight, 2 / len(inputs) * inputs.T @ inputs


def ours(turn: Turn, weight: Tensor, hessian: Tensor) -> Tensor:
    """`glasshouse.language.quantisation.gptq`."""
    done = turn.begin()
    found = weight
    while not done:
        found = gptq(weight, hessian, SETTINGS).dequantise()
        done = turn()
    return found


def reference(turn: Turn, weight: Tensor, hessian: Tensor, home: Path) -> Tensor:
    """IST-DASLab/gptq: the object of a layer, which forgets its hessian every time."""
    sys.path.insert(0, str(home))
    with contextlib.redirect_stdout(sys.stderr):
        from gptq import GPTQ
        from quant import Quantizer
    torch.cuda.synchronize = lambda *_: None  # type: ignore[assignment]
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    done = turn.begin()
    while not done:
        linear.weight.data = weight.clone()
        theirs = GPTQ(linear)
        theirs.H, theirs.quantizer = hessian.clone(), Quantizer()
        theirs.quantizer.configure(SETTINGS.bits, perchannel=True, sym=False, mse=False)
        theirs.fasterquant(percdamp=SETTINGS.damp, groupsize=SETTINGS.group_size)
        done = turn()
    return linear.weight.data


def hqq(turn: Turn, weight: Tensor, home: Path) -> Tensor:
    """HQQ's own optimiser, which needs no inputs."""
    sys.path.insert(0, str(home))
    from hqq.core.quantize import Quantizer

    done = turn.begin()
    found = weight
    while not done:
        packed, about = Quantizer.quantize(
            weight, nbits=SETTINGS.bits, channel_wise=True, group_size=SETTINGS.group_size, optimize=True, axis=1,
            device="cpu", compute_dtype=torch.float32,
        )  # fmt: skip
        done = turn()
        found = Quantizer.dequantize(packed, about)
    return found


def row(name: str, size: int, arguments: argparse.Namespace) -> None:
    """One competitor's process."""
    turn = Turn()
    weight, hessian = layer(size)
    with torch.no_grad():
        match name:
            case "glasshouse":
                found = ours(turn, weight, hessian)
            case "IST-DASLab/gptq":
                found = reference(turn, weight, hessian, arguments.gptq)
            case _:
                found = hqq(turn, weight, arguments.hqq)
    turn.end(lost=lost(weight, found, hessian))


def lost(weight: Tensor, found: Tensor, hessian: Tensor) -> float:
    """The share of the output's energy that is lost, in float64."""
    weight, hessian = weight.double(), hessian.double()
    return output_error(weight, found.double(), hessian) / output_error(weight, torch.zeros_like(weight), hessian)


def measure(names: list[str], size: int, rounds: int, arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """CPU seconds of `rounds` layers of everybody, taken in turn after one each."""
    given = [f"--{name}={path}" for name in ("gptq", "hqq") if (path := getattr(arguments, name)) is not None]
    small = ["--small"] if arguments.small else []
    competitors: list[Competitor] = []
    rows: dict[str, dict[str, Any]] = {}
    try:
        for name in names:
            competitors.append(Competitor(name, [__file__, "--row", name, *given, *small]))
            competitors[-1].take(1)
            rows[name] = {"cpu_seconds": [], "wall_seconds": []}
        for _ in range(rounds):
            for competitor in competitors:
                taken = competitor.take(1)
                rows[competitor.name]["cpu_seconds"] += taken["cpu"]
                rows[competitor.name]["wall_seconds"] += taken["wall"]
        for competitor in competitors:
            rows[competitor.name] |= competitor.end()
    finally:
        for competitor in competitors:
            competitor.kill()
    for found in rows.values():
        found["layer"] = spread(found["cpu_seconds"])
    return rows


def variants(size: int) -> dict[str, float]:
    """Output errors of our other settings."""
    weight, hessian = layer(size)
    group = min(32, size)
    made = {
        "act-order": gptq(weight, hessian, SETTINGS.but(act_order=True)),
        "round-to-nearest": round_to_nearest(weight, SETTINGS.but(method="rtn")),
        f"groups of {group}": gptq(weight, hessian, SETTINGS.but(group_size=group)),
        f"groups of {group}, stale grids": gptq(weight, hessian, SETTINGS.but(group_size=group, stale_groups=True)),
    }
    return {name: lost(weight, found.dequantise(), hessian) for name, found in made.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gptq", type=Path, help="checkout of IST-DASLab/gptq")
    parser.add_argument("--hqq", type=Path, help="directory with the package hqq")
    parser.add_argument("--rounds", type=int, default=12, help="measured layers of everybody")
    parser.add_argument("--small", action="store_true", help="a layer of 128 x 128, three rounds")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=None, help="JSON (default: benchmarks/results/quantisation.json)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size = SIZES["small" if arguments.small else "full"]
    if arguments.row:
        return row(arguments.row, size, arguments)
    names = ["glasshouse", *(["IST-DASLab/gptq"] if arguments.gptq else []), *(["hqq"] if arguments.hqq else [])]
    rows = measure(names, size, 3 if arguments.small else arguments.rounds, arguments)
    document: dict[str, Any] = {"machine": machine("torch", "glasshouse"), "size": size, "rows": rows}
    document |= {"settings": SETTINGS.model_dump(), "lost": variants(size), "bars": []}
    for name, found in rows.items():
        print(f"{name:<34} {found['layer']['median']:.3f} CPU s a layer, {found['lost']:.4%} of the output lost")
    for name, share in document["lost"].items():
        print(f"{'glasshouse, ' + name:<34} {'':>19} {share:.4%} of the output lost")
    if arguments.gptq:
        ratio = ratio_of(rows["IST-DASLab/gptq"]["cpu_seconds"], rows["glasshouse"]["cpu_seconds"])
        what, holds = "speed of glasshouse / IST-DASLab/gptq", ratio["median"] >= BAR
        document["bars"].append({"what": what, "bar": f">= {BAR}", "ratio": ratio, "holds": holds})
        print(f"{'holds' if holds else 'FAILS'}  {what}: {ratio['median']:.2f} (bar >= {BAR})")
    out = arguments.out or (None if arguments.small else RESULTS / "quantisation.json")
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()
