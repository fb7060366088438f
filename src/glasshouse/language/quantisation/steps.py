"""The step `quantise`: a language model and calibration text give a `QuantisedModel`, which opens like any other."""

from __future__ import annotations

import json
import math
import shutil
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glasshouse.data.steps import Shards
from glasshouse.language.model import TRAINING, LanguageModel, LoadedModel
from glasshouse.language.quantisation.calibration import BATCH
from glasshouse.language.quantisation.files import TOKENIZER_FILES, write_quantised
from glasshouse.language.quantisation.model import QuantisedLayer, quantise_model
from glasshouse.language.quantisation.settings import Quantisation, QuantisationError
from glasshouse.language.token_rows import TokenRows, TokenShards
from glasshouse.nn.huggingface import load_huggingface
from glasshouse.store.configuration import canonical, named_seed
from glasshouse.store.panels import Numbers, Panel, Table
from glasshouse.store.step import Run, step

QUANTISATION = "quantisation.json"


class QuantisedModel(LanguageModel):
    """A language model whose blocks hold weights of a few bits, in GPTQ's packed layout.

    `training.json` is that of the model it was made from; `quantisation.json` says how it was made and what was lost.
    """

    def load(self, device: str = "cpu", *, packed: bool = False) -> LoadedModel:
        """The model in evaluation mode and float32; `packed` runs from the few bits, and makes matrices anew each time.

        Both give the same numbers.
        """
        return self.opened(load_huggingface(self.path, dtype=torch.float32, device=device, packed=packed))

    @cached_property
    def quantisation(self) -> dict[str, Any]:
        """Settings, and of every layer its shape and the share of its output's energy that was lost."""
        found: dict[str, Any] = json.loads(self.file(QUANTISATION).read_text(encoding="utf-8"))
        return found

    @property
    def size(self) -> int:
        """Bytes of the weight files."""
        return sum(path.stat().st_size for path in self.path.glob("*.safetensors"))

    @property
    def values(self) -> dict[str, float]:
        """Bytes, bits of a quantised weight in the file, and the errors of layers."""
        layers = self.quantisation["layers"]
        parameters = sum(math.prod(layer["shape"]) for layer in layers)
        errors = [layer["error"] for layer in layers if layer["error"] is not None]
        values = {
            "quantisation/bits": float(self.quantisation["settings"]["bits"]),
            "quantisation/bytes": float(self.size),
            "quantisation/parameters": float(parameters),
            "quantisation/bits_per_parameter": 8 * sum(layer["bytes"] for layer in layers) / parameters,
        }
        return values | ({"quantisation/mean_error": sum(errors) / len(errors)} if errors else {})

    def panels(self) -> list[Panel]:
        """Headline figures, and a table of layers."""
        settings, values = self.quantisation["settings"], self.values
        figures = {
            "method": settings["method"],
            "bits": str(settings["bits"]),
            "bits of a quantised weight in the file": f"{values['quantisation/bits_per_parameter']:.2f}",
            "bytes of the weight files": f"{self.size:,}",
        }
        rows: list[list[str | float | int | None]] = [
            [layer["name"], " x ".join(map(str, layer["shape"])), layer["bytes"], layer["error"]]
            for layer in self.quantisation["layers"]
        ]
        note = "Lost is the share of the energy of a layer's outputs on calibration text that differs from before."
        table = Table("Quantised layers", ["layer", "outputs x inputs", "bytes", "lost"], rows, note=note)
        return [Numbers("Quantisation", figures), table]


@step()
def quantise(
    run: Run,
    model: LanguageModel,
    settings: Quantisation,
    calibration: Shards | None = None,
    rows: int = 128,
    context: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> QuantisedModel:
    """Quantise a language model by round-to-nearest, or GPTQ with rows of tokens it was trained on.

    Args:
        calibration: shards in the model's tokens; their training part is read. GPTQ needs them.
        rows: most rows to calibrate on, drawn with `seed`.
        context: tokens of a row; the model's by default.
        device: part of the configuration, because other hardware gives other numbers.
    """
    loaded = model.load(device)
    batches: list[Tensor] = []
    if calibration is not None and settings.method == "gptq":
        vocabulary = loaded.transformer.config.vocabulary
        batches = calibration_rows(calibration.train, context or loaded.context, vocabulary, rows, seed)
    blocks = loaded.transformer.config.layers
    with run.bar("quantising", 7 * blocks) as bar:
        layers = quantise_model(loaded.transformer, settings, batches, advance=bar.advance)
    end = {"eos_token_id": loaded.end_of_sequence, "bos_token_id": loaded.end_of_sequence}
    files = [path for name in TOKENIZER_FILES if (path := model.path / name).is_file()]
    write_quantised(loaded.transformer, layers, settings, run.output, special=end, files=files)
    shutil.copyfile(model.file(TRAINING), run.output / TRAINING)
    document = {"settings": canonical(settings), "layers": [_described(name, item) for name, item in layers.items()]}
    (run.output / QUANTISATION).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    run.measure(calibration_tokens=sum(batch.numel() for batch in batches))
    return QuantisedModel(run.output)


def calibration_rows(shards: TokenShards, context: int, vocabulary: int, rows: int, seed: int) -> list[Tensor]:
    """Batches of rows of `context` tokens, drawn without replacement. `QuantisationError` for no rows."""
    if rows < 1:
        raise QuantisationError(f"calibration needs at least one row, got {rows}")
    source = TokenRows(shards, context, vocabulary)
    generator = np.random.default_rng(named_seed(seed, "calibration"))
    chosen = np.sort(generator.permutation(source.rows)[:rows])
    return list(torch.split(source.batch(chosen)["tokens"], BATCH))


def _described(name: str, layer: QuantisedLayer) -> dict[str, Any]:
    packed = layer.weight.pack()
    size = sum(tensor.numel() * tensor.element_size() for tensor in packed.values())
    return {"name": name, "shape": list(layer.weight.codes.shape), "error": layer.error, "bytes": size}
