"""The step `unlearn_images`: a completion model, images and a split give a model that has forgotten."""

from __future__ import annotations

import copy

from glasshouse.store.step import Run, step
from glasshouse.vision.completion.cost import training_flops
from glasshouse.vision.completion.steps import CompletionModel, finished
from glasshouse.vision.image_steps import ImageSet
from glasshouse.vision.unlearning.methods import Unlearning, unlearn
from glasshouse.vision.unlearning.pairs import PairedImages
from glasshouse.vision.unlearning.split import Split, parts_of


@step()
def unlearn_images(
    run: Run, model: CompletionModel, images: ImageSet, split: Split, settings: Unlearning, device: str = "cpu"
) -> CompletionModel:
    """Make a model forget some images, by the paper's method or by a baseline. A killed run goes on."""
    found = images.load()
    parts = parts_of(found, split)
    before = model.load(device)
    with run.bar(f"unlearning: {settings.method}", settings.steps) as bar:
        made = unlearn(before, found, parts, settings, run.scratch / "run", progress=bar)
    pair = settings.objective(copy.deepcopy(before), copy.deepcopy(before))
    pixels = found.images.to(device)
    batch = {name: pixels[places[: settings.batch_size]] for name, places in
             (("retain", parts.retain), ("forget", parts.forget))}  # fmt: skip
    about = {
        "title": f"Unlearned: {settings.method}",
        "images": PairedImages(found.images, parts.retain, parts.forget).rows,
        "flops": training_flops(pair, batch, settings.steps),
        "settings": settings.model_dump(mode="json"),
        "split": split.model_dump(mode="json"),
        "hashes": made.hashes,
        "decoder unchanged": made.decoder_unchanged,
    }
    return finished(run, made.model, [made.result], about)
