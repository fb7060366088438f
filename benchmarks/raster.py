"""What finding visible triangles costs on one CPU thread: ours in PyTorch or as a Warp kernel, and Warp's ray caster.

The task is a training step's: four meshes that have just been extracted (some 5 or 14 thousand triangles each), four
cameras each, pictures of 32 to 256 pixels a side. The peer builds a bounding volume hierarchy of every mesh, since they
are new in every step, and casts a ray through each pixel (`warp.mesh_query_ray`). Everyone is asked for the triangle
of each pixel, in turns, in one process; CPU time. Coverage must agree on 99.9 % of all pixels.

    python benchmarks/raster.py            needs the package warp-lang; result in benchmarks/results/raster.json
    python benchmarks/raster.py --small    one size and few rounds, to try the script
"""

import argparse
import json
import time
from pathlib import Path

import torch
from turns import machine, ratio_of, spread

from glasshouse.vision.mesh.batch import MeshBatch
from glasshouse.vision.mesh.cameras import CameraRules, Cameras, sample_cameras
from glasshouse.vision.mesh.marching import marching_tetrahedra
from glasshouse.vision.mesh.raster import rasterise, render
from glasshouse.vision.mesh.tets import TetrahedralGrid, tetrahedral_grid
from glasshouse.vision.mesh.visibility import backend

try:
    import warp as wp
except ImportError:
    raise SystemExit("this benchmark measures beside Warp: pip install warp-lang") from None

RESULTS = Path(__file__).parent / "results"
SHAPES, VIEWS = 4, 4


def cast(
    mesh: wp.uint64,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    hit: wp.array(dtype=wp.int32),
):
    i = wp.tid()
    found = wp.mesh_query_ray(mesh, origins[i], directions[i], 1.0e6)
    hit[i] = -1
    if found.result:
        hit[i] = found.face


cast_kernel = wp.kernel(cast)


def scene(resolution: int) -> tuple[TetrahedralGrid, torch.Tensor, Cameras]:
    """Balls, each with a dent of its own."""
    grid = tetrahedral_grid(resolution)
    ball = grid.vertices.norm(dim=-1) - 0.75
    dents = torch.tensor([[0.7, 0.0, 0.0], [0.0, 0.7, 0.0], [0.0, 0.0, 0.7], [0.4, 0.4, 0.4]])
    dents = 0.4 - (grid.vertices[None] - dents[:, None]).norm(dim=-1)
    rules = CameraRules(distance=(3.5, 4.0), field_of_view=(35, 45))
    return (
        grid,
        torch.maximum(ball[None], dents),
        sample_cameras(SHAPES * VIEWS, torch.Generator().manual_seed(0), rules),
    )


def ray_cast(batch: MeshBatch, cameras: Cameras, size: int) -> torch.Tensor:
    """The peer: for every pixel the face of its mesh, -1 for none."""
    found = []
    origins, directions = (part.reshape(SHAPES, -1, 3).contiguous() for part in cameras.rays(size))
    for number in range(SHAPES):
        vertices, faces = batch[number]
        mesh = wp.Mesh(
            points=wp.from_torch(vertices.detach().contiguous(), dtype=wp.vec3),
            indices=wp.from_torch(faces.to(torch.int32).flatten()),
        )
        hit = wp.empty(len(origins[number]), dtype=wp.int32)
        rays = [wp.from_torch(part[number], dtype=wp.vec3) for part in (origins, directions)]
        wp.launch(cast_kernel, dim=len(origins[number]), inputs=[mesh.id, *rays, hit])
        found.append(wp.to_torch(hit).clone())
    return torch.cat(found)


def measure(resolution: int, size: int, rounds: int) -> dict:
    """CPU seconds of each, round by round, and of a whole step: extraction, pictures, gradients."""
    grid, sdf, cameras = scene(resolution)
    batch = marching_tetrahedra(grid, sdf)
    view = rasterise(batch, cameras, size).view
    sdf.requires_grad_()

    def step() -> None:
        surfaces = marching_tetrahedra(grid, sdf)
        render(surfaces, surfaces.vertices, cameras, size).image.square().mean().backward()

    runs = {
        "ours, PyTorch": lambda: backend("torch")(view),
        "ours, Warp kernel": lambda: backend("warp")(view),
        "Warp ray caster": lambda: ray_cast(batch, cameras, size),
        "whole step, PyTorch": step,
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            started = time.process_time()
            run()
            if turn:  # the first is for caches
                times[name].append(time.process_time() - started)
    ours, peer = backend("torch")(view)[0] >= 0, ray_cast(batch, cameras, size) >= 0
    return {
        "triangles": len(batch.faces) * VIEWS,
        "pixels": SHAPES * VIEWS * size * size,
        "coverage_agrees": (ours == peer).double().mean().item(),
        "cpu_seconds": times,
        "spread": {name: spread(values) for name, values in times.items()},
        "ray_caster_over_ours": ratio_of(times["Warp ray caster"], times["ours, PyTorch"]),
        "ray_caster_over_kernel": ratio_of(times["Warp ray caster"], times["ours, Warp kernel"]),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS / "raster.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [(12, 32)] if options.small else [(20, 32), (32, 64), (32, 256)]
    rows = {
        f"R={resolution}, {size} px": measure(resolution, size, 3 if options.small else 15)
        for resolution, size in sizes
    }
    bar = all(row["coverage_agrees"] >= 0.999 for row in rows.values())
    found = {
        "machine": machine("torch", "warp-lang", "glasshouse"),
        "rows": rows,
        "bars": {"coverage agrees on 99.9 % of pixels": bar},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=2) + "\n")
    for name, row in rows.items():
        medians = ", ".join(f"{run} {1000 * values['median']:.1f} ms" for run, values in row["spread"].items())
        print(f"{name}: {row['triangles']:,} triangles; {medians}; coverage agrees {row['coverage_agrees']:.5f}")


if __name__ == "__main__":
    main()
