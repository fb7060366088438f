"""`glasshouse mesh`: words to a mesh file, a turntable or a page, with a trained text-to-mesh model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glasshouse.cli.options import READS, open_store

if TYPE_CHECKING:
    from glasshouse.vision.mesh.text_to_mesh import TextToMeshModel


def open_text_to_mesh(location: str, reference: str) -> TextToMeshModel:
    """The model in a folder, or of an artifact: itself, or the newest of the paper's kind that a run trained."""
    from glasshouse.vision.mesh.text_to_mesh import TextToMeshModel

    if Path(reference).is_dir():
        return TextToMeshModel.load(reference)
    from glasshouse.store.lineage import ancestors
    from glasshouse.store.store import StoreError
    from glasshouse.vision.mesh.steps import TrainedTextToMesh

    store = open_store(location)
    found = store.open(reference)
    if not isinstance(found, TrainedTextToMesh):
        made = [store.open(name) for name in ancestors(store, found.path.name)]
        models = [item for item in made if isinstance(item, TrainedTextToMesh) and item.kind == "triplane"]
        if not models:
            raise StoreError(f"{reference!r} is a {found.manifest['type']} with no text-to-mesh model behind it")
        found = max(models, key=lambda item: item.covers)
    return found.load()


@click.command()
@click.argument("prompt")
@click.argument("out", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option("--model", default="text_to_mesh", show_default=True,
              help="An id, a pin, a recipe that trained one, or a folder.")  # fmt: skip
@click.option("--resolution", default=32, show_default=True, help="Cells of the grid's side: finer is slower.")
@click.option("--faces", type=click.IntRange(min=4), help="Simplify to at most so many faces.")
@click.option("--texture", type=click.IntRange(16, 8192), metavar="TEXELS",
              help="Paint .glb and .obj with a picture of so many texels a side, finer than the vertices.")  # fmt: skip
@click.option("--dual", is_flag=True, help="A third of the faces and no slivers, for editing.")
@click.option("--towards", metavar="PROMPT", help="Go from the first prompt towards this one.")
@click.option("--share", default=0.5, show_default=True, type=click.FloatRange(0, 1), help="How far, with --towards.")
@READS
def mesh(
    prompt: str,
    out: tuple[str, ...],
    model: str,
    resolution: int,
    faces: int | None,
    texture: int | None,
    dual: bool,
    towards: str | None,
    share: float,
    location: str,
) -> None:
    """Make a mesh of PROMPT and write it to OUT, once for each: .glb, .obj, .ply, .stl, .gif, .mp4, .png or
    .html.

    \b
    $ glasshouse mesh "a red cone on a blue box" cone.glb turning.gif look.html

    A .glb holds the prompt, the model and the way it was trained in its extras. Words that the model was not trained
    on are refused.
    """
    from glasshouse.vision.mesh.files import TEXTURED, write_mesh

    painted = [path for path in out if Path(path).suffix.lower() in TEXTURED]
    if texture and not painted:
        raise click.UsageError(f"--texture paints {' and '.join(TEXTURED)}; none of the names ends so")
    loaded = open_text_to_mesh(location, model)
    asked: dict[str, Any] = {"prompt": prompt, "resolution": resolution}
    if towards is None:
        made = loaded.make([prompt], resolution, dual)
    else:
        asked |= {"towards": towards, "share": share}
        made = loaded.make_between(prompt, towards, [share], resolution, dual)
    (one,) = made.separate({**asked, **loaded.origin})
    for path in out:
        texels = texture if path in painted else None
        for written in write_mesh(one, path, faces=faces, texture=texels, colour=made.painter(0)):
            click.echo(written)
