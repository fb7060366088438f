"""How alike two shapes are: overlap of what they enclose (IoU), Chamfer and Hausdorff distance of their surfaces."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glasshouse.vision.mesh.mesh import Mesh, MeshError, face_normals


def occupancy(mesh: Mesh, resolution: int = 48, extent: float = 1.0) -> Bool[Tensor, "n n n"]:
    """Which centres of `resolution`^3 cells of the cube [-extent, extent]^3 lie inside `mesh`, axes x, y, z.

    Winding numbers along lines parallel to each axis, by signed crossings; the three axes vote. A line that goes in
    more often than out (through a hole) has no vote. Raises `MeshError` for an open mesh of
    which nothing is inside.
    """
    votes = torch.zeros((resolution,) * 3, dtype=torch.int64)
    for axis in range(3):
        order = [(axis + 1) % 3, (axis + 2) % 3, axis]
        steps = _crossings(mesh.vertices[:, order].double(), mesh.faces, resolution, extent)
        winding = steps.flip(2).cumsum(2).flip(2)  # the first is that of a place before all
        vote = torch.where(winding[..., 1:] != 0, 1, -1) * (winding[..., :1] == 0)
        votes += vote.permute(*(order.index(name) for name in range(3)))
    inside = votes > 0
    if not mesh.is_watertight and not bool(inside.any()):
        raise MeshError("the mesh is open and encloses nothing, so it has no inside to compare")
    return inside


def _crossings(
    vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"], resolution: int, extent: float
) -> Int[Tensor, "n n n+1"]:
    """Along the third axis, for each line through cells' centres: at place k, faces that look up minus those down,
    of those with exactly k centres below them."""
    cell = 2 * extent / resolution
    # Cell i has its centre at i + 0.5. A step aside keeps lines off the edges of meshes that are aligned with the grid.
    places = (vertices + extent) / cell - vertices.new_tensor([1.37e-4, 2.11e-4, 0.0])
    corners = places[faces]  # [f, 3, 3]
    low = (corners[..., :2].amin(1) - 0.5).ceil().clamp(min=0).long()
    high = (corners[..., :2].amax(1) - 0.5).floor().clamp(max=resolution - 1).long()
    extents = (high - low + 1).clamp(min=0)
    amounts = extents.prod(1)
    owner = torch.arange(len(faces)).repeat_interleave(amounts)
    place = torch.arange(len(owner)) - (amounts.cumsum(0) - amounts)[owner]
    first = low[owner, 0] + place % extents[owner, 0]
    second = low[owner, 1] + place // extents[owner, 0]
    x = corners[owner, :, 0] - (first + 0.5)[:, None]
    y = corners[owner, :, 1] - (second + 0.5)[:, None]
    weights = x.roll(-1, 1) * y.roll(-2, 1) - x.roll(-2, 1) * y.roll(-1, 1)
    area = weights.sum(1)
    hit = (((weights >= 0).all(1) | (weights <= 0).all(1)) & (area != 0)).nonzero().flatten()
    height = (weights[hit] * corners[owner[hit], :, 2]).sum(1) / area[hit]
    below = (height - 0.5).ceil().clamp(0, resolution).long()  # cells whose centre lies below the crossing
    steps = torch.zeros(resolution, resolution, resolution + 1, dtype=torch.int64)
    steps.index_put_((first[hit], second[hit], below), area[hit].sign().long(), accumulate=True)
    return steps


def cell_centres(resolution: int = 48, extent: float = 1.0) -> Float[Tensor, "n n n 3"]:
    """The points that `occupancy` asks about."""
    steps = ((torch.arange(resolution) + 0.5) / resolution * 2 - 1) * extent
    return torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1)


def intersection_over_union(one: Bool[Tensor, "*n"], other: Bool[Tensor, "*n"]) -> float:
    """Shared volume over joint volume; 0 when both are empty, since then nothing is shared."""
    if one.shape != other.shape:
        raise ValueError(f"both must be asked at the same points, got {tuple(one.shape)} and {tuple(other.shape)}")
    return int((one & other).sum()) / max(1, int((one | other).sum()))


def sample_surface(mesh: Mesh, count: int, generator: torch.Generator) -> Float[Tensor, "count 3"]:
    """Points spread evenly over the surface."""
    areas = face_normals(mesh.vertices, mesh.faces).norm(dim=-1).double()
    if not float(areas.sum()) > 0:
        raise MeshError("all faces have area 0, so no point can be drawn from the surface")
    # Stratified: one point in each of `count` equal parts of the area.
    at = (
        torch.arange(count, dtype=torch.float64) + torch.rand(count, generator=generator, dtype=torch.float64)
    ) / count
    face = torch.searchsorted(areas.cumsum(0), at * areas.sum()).clamp(max=len(areas) - 1)
    a, b = torch.rand(2, count, 1, generator=generator)
    root = a.sqrt()
    corners = mesh.vertices[mesh.faces[face]]
    points: Tensor = corners[:, 0] * (1 - root) + corners[:, 1] * (root * (1 - b)) + corners[:, 2] * (root * b)
    return points


def nearest(points: Float[Tensor, "p 3"], among: Float[Tensor, "q 3"]) -> tuple[Float[Tensor, " p"], Int[Tensor, " p"]]:
    """Distance to, and number of, the nearest of `among` for each point."""
    try:
        from scipy.spatial import cKDTree
    except ImportError:
        raise ImportError("distances between surfaces need scipy: pip install 'glasshouse[vision]'") from None
    distance, number = cKDTree(among.numpy()).query(points.numpy())
    return torch.from_numpy(distance).float(), torch.from_numpy(number).long()


def surface_distances(one: Mesh, other: Mesh, count: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """(Chamfer, Hausdorff): the mean over both directions of the mean, and the largest, nearest distance.

    Between `count` points of each surface; in scene units, not squared. Points that lie as densely as here are about
    sqrt(area / count) apart, which is the smallest distance that can be told from none.
    """
    generator = torch.Generator().manual_seed(seed)
    a, b = sample_surface(one, count, generator), sample_surface(other, count, generator)
    there, back = nearest(a, b)[0], nearest(b, a)[0]
    return float(there.mean() + back.mean()) / 2, float(torch.maximum(there.max(), back.max()))
