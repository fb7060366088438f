"""A differentiable rasteriser in plain PyTorch: visibility, perspective-correct interpolation, antialiased pictures.

Laine et al., "Modular Primitives for High-Performance Differentiable Rendering" (arXiv 2011.03277): which triangle a
pixel sees is found without gradients; the barycentric coordinates within it are functions of the corners' clip
coordinates; and antialiasing (see `antialias`) carries the gradient of visibility at silhouettes.

Deviations: no texture primitives; triangles are not clipped, so a mesh that reaches behind a camera is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glasshouse.vision.mesh.antialias import antialias, silhouettes
from glasshouse.vision.mesh.batch import MeshBatch
from glasshouse.vision.mesh.cameras import NEAR, Cameras
from glasshouse.vision.mesh.visibility import View, Visibility, fragment_list


@dataclass(frozen=True)
class Fragments:
    """The pixels that see a mesh: of all pictures, in order, with the place on the mesh that each sees."""

    view: View
    triangle: Int[Tensor, " pixels"]  # of every pixel, -1 where none
    depth: Float[Tensor, " pixels"]  # of every pixel, infinity where none
    pixel: Int[Tensor, " p"]  # numbers of the covered pixels, (picture * height + row) * width + column
    corners: Int[Tensor, "p 3"]  # the batch's vertices around each covered pixel
    weights: Float[Tensor, "p 3"]  # perspective-correct, with gradients to the vertices
    mesh: Int[Tensor, " p"]

    def interpolate(self, values: Float[Tensor, "v c"]) -> Float[Tensor, "p c"]:
        """Values of vertices at the covered pixels."""
        return (values[self.corners] * self.weights[..., None]).sum(1)

    def picture(self, values: Float[Tensor, "p c"], background: float = 0.0) -> Float[Tensor, "n h w c"]:
        """Values of the covered pixels as pictures, without antialiasing."""
        view = self.view
        blank = values.new_full((view.count * view.height * view.width, values.shape[1]), background)
        flat = blank.index_put((self.pixel,), values)
        return flat.reshape(view.count, view.height, view.width, values.shape[1])


@dataclass(frozen=True)
class Rendering:
    """`image` is composed over the background; `coverage` in 0..1 is how much of a pixel the mesh fills."""

    image: Float[Tensor, "n h w c"]
    coverage: Float[Tensor, "n h w 1"]
    fragments: Fragments


def rasterise(
    batch: MeshBatch,
    cameras: Cameras,
    size: int | tuple[int, int],
    visibility: Visibility = fragment_list,
) -> Fragments:
    """What `cameras` see of a batch of meshes; with m meshes and n cameras, mesh i is seen by cameras i n/m onwards.

    Raises `ValueError` for a mesh without faces, vertices that are not finite, n that is no multiple of m, a size below
    1, and a mesh that reaches behind a camera.
    """
    height, width = (size, size) if isinstance(size, int) else size
    each = _check(batch, cameras, height, width)
    clip = _clip(batch, cameras, each)  # [v * each, 4], views of one vertex side by side
    if bool((clip[:, 3] < NEAR).any()):
        raise ValueError(
            f"a mesh reaches to less than {NEAR} in front of a camera (camera distances "
            f"{cameras.distance.min():g} to {cameras.distance.max():g}): move the cameras away or scale the mesh down"
        )
    numbers = torch.arange(each, device=clip.device)
    faces = (batch.faces[:, None] * each + numbers[:, None]).flatten(0, 1)
    picture = (batch.mesh_of_face()[:, None] * each + numbers).flatten()
    screen = torch.stack([clip[:, 0] / clip[:, 3] + 1, 1 - clip[:, 1] / clip[:, 3]], 1)
    screen = screen * screen.new_tensor([width / 2, height / 2])
    view = View(clip, screen, faces, picture, len(cameras), height, width)
    triangle, depth = visibility(view)
    pixel = (triangle >= 0).nonzero().flatten()
    seen = triangle[pixel]
    weights = _weights(clip[faces[seen]], pixel, height, width)
    corners = batch.faces[seen // each]
    return Fragments(view, triangle, depth, pixel, corners, weights, pixel // (height * width * each))


def render(
    batch: MeshBatch,
    attributes: Float[Tensor, "v c"],
    cameras: Cameras,
    size: int | tuple[int, int],
    background: float | Float[Tensor, "#n #h #w c"] = 0.0,
    visibility: Visibility = fragment_list,
) -> Rendering:
    """Antialiased pictures of vertex attributes (colours, normals, ...); cameras and errors as in `rasterise`."""
    fragments = rasterise(batch, cameras, size, visibility)
    return compose(batch, fragments, fragments.interpolate(attributes), background)


def compose(
    batch: MeshBatch,
    fragments: Fragments,
    values: Float[Tensor, "p c"],
    background: float | Float[Tensor, "#n #h #w c"] = 0.0,
) -> Rendering:
    """Antialiased pictures from values at the covered pixels, for colours that are computed there."""
    flat = fragments.picture(torch.cat([values, torch.ones_like(values[:, :1])], dim=1))
    smooth = antialias(flat, fragments.depth, silhouettes(batch, fragments.view), fragments.view)
    image, coverage = smooth[..., :-1], smooth[..., -1:]
    return Rendering(image + (1 - coverage) * background, coverage, fragments)


def _check(batch: MeshBatch, cameras: Cameras, height: int, width: int) -> int:
    if height < 1 or width < 1:
        raise ValueError(f"a picture has at least 1 x 1 pixels, got {height} x {width}")
    if not len(cameras) or len(cameras) % len(batch):
        raise ValueError(f"{len(cameras)} cameras for {len(batch)} meshes: give each mesh as many, at least one")
    if 0 in batch.face_counts:
        raise ValueError(
            f"mesh {batch.face_counts.index(0)} of {len(batch)} has no faces, so there is nothing to render"
        )
    if not bool(torch.isfinite(batch.vertices).all()):
        raise ValueError("vertices hold NaN or infinity; the network or the file that they come from is broken")
    return len(cameras) // len(batch)


def _clip(batch: MeshBatch, cameras: Cameras, each: int) -> Float[Tensor, "_ 4"]:
    matrix = cameras.matrix.to(batch.vertices).reshape(len(batch), each, 4, 4)
    parts = []
    for points, transforms in zip(batch.split(batch.vertices), matrix, strict=True):
        columns = transforms.transpose(1, 2).permute(1, 0, 2).reshape(4, each * 4)  # [4, each * 4]
        parts.append(points @ columns[:3] + columns[3])
    return torch.cat(parts).reshape(-1, 4)


def _weights(clip: Float[Tensor, "p 3 4"], pixel: Int[Tensor, " p"], height: int, width: int) -> Float[Tensor, "p 3"]:
    """Barycentric coordinates on the triangle in space, from homogeneous coordinates (no division by w)."""
    x = (pixel % width + 0.5) * (2 / width) - 1
    y = 1 - (pixel // width % height + 0.5) * (2 / height)
    u = clip[..., 0] - x[:, None] * clip[..., 3]
    v = clip[..., 1] - y[:, None] * clip[..., 3]
    area = u.roll(-1, 1) * v.roll(-2, 1) - u.roll(-2, 1) * v.roll(-1, 1)
    return area / area.sum(1, keepdim=True)
