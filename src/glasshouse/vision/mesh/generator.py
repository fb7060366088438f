"""Text to mesh in one pass: a network of features and a decoder of points (AToM, arXiv 2402.00867).

    generator = MeshGenerator(GeneratorConfig(), length=7, text_width=64)
    shapes = generator.shapes(tokens)               # text is read once ...
    sdf, colour = shapes.at(points)                 # ... and asked at any points: a field for volume rendering,
    surfaces = shapes.surfaces(grid)                # or a mesh per prompt with colours at its vertices

Three feature networks stand behind one interface (`kind`): the `triplane` network of the paper, the `hypernet` it
replaces, and `free` planes of one prompt without a text network.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glasshouse.store.configuration import Config, ConfigurationError
from glasshouse.vision.mesh.batch import MeshBatch
from glasshouse.vision.mesh.decoder import Decoder, PointDecoder
from glasshouse.vision.mesh.dual import dual_surface
from glasshouse.vision.mesh.hypernet import HyperNet, HyperNetwork
from glasshouse.vision.mesh.marching import marching_tetrahedra, with_surface
from glasshouse.vision.mesh.mesh import Mesh
from glasshouse.vision.mesh.tets import TetrahedralGrid
from glasshouse.vision.mesh.texture import Colour
from glasshouse.vision.mesh.triplane import FreeTriplane, Planes, TextToTriplane

WEIGHTS, CONFIGURATION = "generator.safetensors", "generator.json"
OFFSET = 0.45
"""How far a grid point may move, in cells: below a half, so that no tetrahedron turns over."""


class GeneratorConfig(Config):
    """What a generator is made of.

    Attributes:
        kind: the feature network.
        planes: of `triplane` and `free`.
        hypernet: of `hypernet`.
        decoder: behind it.
    """

    kind: Literal["triplane", "hypernet", "free"] = "triplane"
    planes: Planes = Planes()
    hypernet: HyperNetwork = HyperNetwork()
    decoder: Decoder = Decoder()

    @classmethod
    def large(cls) -> GeneratorConfig:
        """For a GPU (AToM-L)."""
        return cls(planes=Planes.large(), hypernet=HyperNetwork.large(), decoder=Decoder.large())


@dataclasses.dataclass(frozen=True)
class Surfaces:
    """A mesh for every shape: vertices in [-1, 1]^3, faces counter-clockwise from outside, and what goes with them.

    Attributes:
        meshes: one after another.
        colours: RGB in [0, 1] of every vertex.
        offset: how far every point of the grid was moved, as a share of how far it may, by shape.
        shapes: what they are surfaces of.
    """

    meshes: MeshBatch
    colours: Float[Tensor, "v 3"]
    offset: Float[Tensor, "shapes points 3"]
    shapes: Shapes

    def __len__(self) -> int:
        return len(self.meshes)

    def separate(self, about: Mapping[str, Any]) -> list[Mesh]:
        """Every mesh by itself, with where it came from."""
        pairs = zip(range(len(self)), self.meshes.split(self.colours), strict=True)
        return [Mesh(*self.meshes[number], colours, dict(about)) for number, colours in pairs]

    def painter(self, number: int) -> Colour:
        """The colour head of a mesh at any points, which a texture can hold more of than vertices do."""
        shape = self.shapes.one(number)
        device = shape.read.device
        return lambda points: shape.heads(points[None].to(device), "colour")[0][0]


class MeshGenerator(nn.Module):
    """A feature network and the decoder behind it, for texts of one length."""

    def __init__(self, config: GeneratorConfig, length: int, text_width: int) -> None:
        super().__init__()
        self.config, self.length, self.text_width = config, length, text_width
        self.network: TextToTriplane | HyperNet | FreeTriplane
        if config.kind == "hypernet":
            self.network = HyperNet(config.hypernet, length, text_width)
        else:
            network = TextToTriplane if config.kind == "triplane" else FreeTriplane
            self.network = network(config.planes, length, text_width)
        self.decoder = PointDecoder(config.decoder, self.network.width)

    @classmethod
    def seeded(cls, config: GeneratorConfig, length: int, text_width: int, seed: int) -> MeshGenerator:
        """With weights drawn from a seed, and nothing else of torch's random state touched."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(config, length, text_width)

    def forward(self, tokens: Float[Tensor, "prompts length text"]) -> Tensor:
        """What the feature network makes of texts: planes, or weights."""
        found: Tensor = self.network(tokens)
        return found

    def shapes(self, tokens: Float[Tensor, "prompts length text"]) -> Shapes:
        """The shapes of texts, to be asked at points."""
        return Shapes(self, self(tokens))

    def save(self, folder: Path) -> None:
        """Weights and what is needed to build the module again."""
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, folder / WEIGHTS)
        built = {"config": self.config.model_dump(mode="json"), "length": self.length, "text_width": self.text_width}
        (folder / CONFIGURATION).write_text(json.dumps(built, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> MeshGenerator:
        """What `save` wrote.

        Raises `ConfigurationError` for a folder without these files, or with weights that are not finite.
        """
        for name in (WEIGHTS, CONFIGURATION):
            if not (folder / name).is_file():
                raise ConfigurationError(f"{folder} holds no generator: {name} is missing; train one first")
        built: dict[str, Any] = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))
        generator = cls(GeneratorConfig(**built["config"]), built["length"], built["text_width"])
        generator.load_state_dict(finite_weights(folder / WEIGHTS))
        return generator.eval()


def finite_weights(path: Path) -> dict[str, Tensor]:
    """Weights from a file. Raises `ConfigurationError` for numbers that are not finite."""
    weights = load_file(path)
    bad = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
    if bad:
        raise ConfigurationError(f"{path}: {bad[0]} has numbers that are not finite; train it again")
    return weights


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Texts that were read, one shape each."""

    generator: MeshGenerator
    read: Tensor

    def __len__(self) -> int:
        return len(self.read)

    def one(self, number: int) -> Shapes:
        """A single shape."""
        return Shapes(self.generator, self.read[number : number + 1])

    def heads(self, points: Float[Tensor, "prompts points 3"], *names: str) -> tuple[Tensor, ...]:
        """The heads of the decoder at points of every shape (`glasshouse.vision.mesh.decoder`)."""
        features = self.generator.network.features(self.read, points)
        found: tuple[Tensor, ...] = self.generator.decoder(features, points, *names)
        return found

    def at(self, points: Float[Tensor, "prompts points 3"]) -> tuple[Tensor, Tensor]:
        """Signed distance [prompts, points] and colour [prompts, points, 3]: a field, as volume rendering takes it."""
        sdf, colour = self.heads(points, "sdf", "colour")
        return sdf, colour

    def surfaces(self, grid: TetrahedralGrid, dual: bool = False) -> Surfaces:
        """A mesh per shape: marching tetrahedra over a grid whose points the offset head moves by up to half a cell.

        A shape that is empty is lowered until it has a surface, so that training can go on from there. `dual` extracts
        for export: a third of the faces, and no slivers (`dual.dual_surface`).
        """
        points = grid.vertices.expand(len(self), -1, -1)
        sdf, offset = self.heads(points, "sdf", "offset")
        extract = dual_surface if dual else marching_tetrahedra
        meshes = extract(grid, with_surface(grid, sdf), OFFSET * grid.cell * offset)
        return Surfaces(meshes, self.colours(meshes), offset, self)

    def colours(self, meshes: MeshBatch) -> Float[Tensor, "v 3"]:
        """The colour head at the vertices of a mesh per shape."""
        split = enumerate(meshes.split(meshes.vertices))
        return torch.cat([self.one(i).heads(vertices.unsqueeze(0), "colour")[0][0] for i, vertices in split])
