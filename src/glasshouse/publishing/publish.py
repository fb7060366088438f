"""Publish a model: one folder with everything somebody else needs to load it, judge it, and check what is said of it.

README.md            the model card (`card`)
model.safetensors    or shards with an index; config.json, generation_config.json and the tokenizer beside it
NAME-f32.gguf        for llama.cpp, when asked for
curves/              pictures of the training run
datasheet-ID/        of every curated corpus behind the model
provenance/          manifest, metrics and identity of the run, and the lineage as W3C PROV
SHA256SUMS           of all of it
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glasshouse.data.description.datasheet import datasheet, write_datasheet
from glasshouse.data.description.datasheet_text import Table
from glasshouse.nn.families import family_for
from glasshouse.nn.weight_files import SHARD_BYTES
from glasshouse.publishing.answers import ModelAnswers
from glasshouse.publishing.card import DATA_TABLES, Extras, model_card
from glasshouse.publishing.facts import ModelFacts, model_facts, public_files
from glasshouse.publishing.folder import PublishError, staged
from glasshouse.publishing.gguf import Precision, write_gguf
from glasshouse.publishing.weights import copy_model
from glasshouse.store.artifact import Artifact
from glasshouse.store.drawing import curves_file
from glasshouse.store.lineage import prov
from glasshouse.store.panels import Curves
from glasshouse.store.store import Store

LAYOUTS = {"huggingface": None, "olmo": "hf_olmo"}
"""Tensor names to write: `huggingface` keeps the family the model has, `olmo` is OLMo's original one."""
PROVENANCE = "provenance"


@dataclass(frozen=True)
class Publication:
    """A folder that was published: its files, and what a person should know about them."""

    path: Path
    files: list[str]
    notes: list[str]


def publish_model(
    model: str | Path | Artifact,
    target: str | Path,
    *,
    store: Store | None = None,
    answers: ModelAnswers | None = None,
    layout: str = "huggingface",
    gguf: Sequence[Precision] = (),
    shard_bytes: int = SHARD_BYTES,
    force: bool = False,
) -> Publication:
    """Publish a model folder into the directory `target`.

    Args:
        model: an artifact, or any folder as `save_huggingface` leaves it.
        store: where the artifact's lineage is; without it the card knows the model's own manifest only, or nothing.
        answers: what only a person can say.
        layout: one of `LAYOUTS`.
        gguf: precisions in which to add a GGUF file.
        shard_bytes: most bytes of one safetensors file.
        force: replace what an earlier publication wrote there, as long as nobody has changed it.

    Raises:
        PublishError: `target` holds files that are not a publication's, or the layout is unknown.
        ConversionError: the folder is not a model, or has no place in the layout.
        GgufError: the model or its tokenizer cannot be GGUF.
    """
    if layout not in LAYOUTS:
        raise PublishError(f"there is no layout {layout!r}; there are {', '.join(LAYOUTS)}")
    if shard_bytes < 1:
        raise PublishError(f"a shard needs at least one byte, got {shard_bytes}")
    folder = model.path if isinstance(model, Artifact) else Path(model)
    facts, said = model_facts(folder, store), answers or ModelAnswers()
    family = family_for(facts.config, LAYOUTS[layout] or facts.family)
    place = Path(target)
    with staged(place, force) as home:
        copy_model(facts, home, family, shard_bytes)
        title = said.name or place.resolve().name
        files, notes = _write_ggufs(facts, said, title, home, gguf)
        extras = Extras(
            curves=_draw(facts, home),
            gguf=files,
            notes=notes,
            datasheets=_describe(facts, home),
            provenance=_record(facts, store, home),
        )
        (home / "README.md").write_text(
            model_card(facts, said, title, family, extras), encoding="utf-8", errors="replace"
        )
    made = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    return Publication(place, made, notes)


def slug(text: str) -> str:
    """A title as the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "model"


def _write_ggufs(
    facts: ModelFacts, said: ModelAnswers, title: str, home: Path, precisions: Sequence[Precision]
) -> tuple[dict[str, str], list[str]]:
    about = {"license": said.license, "description": said.description, "version": said.version, "url": said.url}
    stated = {key: value for key, value in about.items() if value}
    if facts.manifest is not None:
        stated["uuid"] = str(facts.manifest["id"])
    files: dict[str, str] = {}
    notes: dict[str, None] = {}
    for precision in dict.fromkeys(precisions):
        file = f"{slug(title)}-{precision}.gguf"
        written = write_gguf(facts.folder, home / file, precision, name=title, about=stated)
        files[file] = precision
        if written.note:
            notes[written.note] = None
    return files, list(notes)


def _draw(facts: ModelFacts, home: Path) -> dict[str, str]:
    """Curves of the run as SVG files: title -> file."""
    files = {}
    for panel in facts.artifact.panels() if facts.artifact is not None else []:
        if isinstance(panel, Curves) and any(panel.series.values()):
            file = f"curves/{slug(panel.title)}.svg"
            (home / "curves").mkdir(exist_ok=True)
            (home / file).write_text(curves_file(panel), encoding="utf-8")
            files[panel.title] = file
    return files


def _describe(facts: ModelFacts, home: Path) -> dict[str, tuple[str, list[Table]]]:
    """Datasheets of the corpora, and the tables of each that the card shows."""
    found = {}
    for corpus in facts.corpora:
        name = str(corpus.manifest["id"])[:12]
        sheet = datasheet(corpus.directory, shards=corpus.shards)
        write_datasheet(sheet, home / f"datasheet-{name}")
        blocks = [block for section in sheet.sections for block in section.blocks]
        tables = [block for block in blocks if isinstance(block, Table) and block.title in DATA_TABLES and block.rows]
        found[name] = (f"datasheet-{name}", tables)
    return found


def _record(facts: ModelFacts, store: Store | None, home: Path) -> list[str]:
    """Manifest, metrics and identity of the run, and the lineage."""
    files = []
    if facts.manifest is not None:
        (home / PROVENANCE).mkdir()
        for name in public_files(facts.folder):
            target = home / PROVENANCE / Path(name).name
            shutil.copyfile(facts.folder / name, target)
            files.append(f"{PROVENANCE}/{target.name}")
        if store is not None:
            document = json.dumps(prov(store, facts.folder.name), indent=1, ensure_ascii=False)
            (home / PROVENANCE / "lineage.prov.json").write_text(document + "\n", encoding="utf-8")
            files.append(f"{PROVENANCE}/lineage.prov.json")
    return files
