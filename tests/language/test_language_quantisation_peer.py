"""Packed files open in GPTQModel, the package that `transformers` reads GPTQ with, and mean the same there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from torch import Tensor

from glasshouse.language.quantisation.files import write_quantised
from glasshouse.language.quantisation.model import quantise_model
from glasshouse.language.quantisation.settings import Quantisation
from glasshouse.nn.configuration import llama
from glasshouse.nn.huggingface import load_huggingface
from glasshouse.nn.quantised import Layout
from glasshouse.nn.transformer import Transformer

PEERS = Path(os.environ.get("GLASSHOUSE_PEERS", "/nowhere"))
FOLDER = PEERS / "gptqmodel"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FOLDER / "gptqmodel").is_dir(),
        reason="no package gptqmodel: set GLASSHOUSE_PEERS to a directory with a folder gptqmodel, made by "
        "pip install --no-deps --target gptqmodel gptqmodel==7.6.0 device-smi pypcre tokenicer logbar defuser",
    ),
]
OPEN = """
import sys
import torch
from safetensors.torch import load_file, save_file
from gptqmodel import BACKEND, GPTQModel
tokens = load_file(sys.argv[1])["tokens"]
logits = {}
for folder in sys.argv[3:]:
    opened = GPTQModel.load(folder, device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16)
    assert "Torch" in type(opened.model.model.layers[0].mlp.up_proj).__name__
    with torch.no_grad():
        logits[folder] = opened.model(tokens).logits.float().contiguous()
save_file(logits, sys.argv[2])
"""


def folder(home: Path, tokens: Tensor, name: str, settings: Quantisation, layout: Layout) -> Path:
    """A small Llama quantised by us, with a tokenizer."""
    shape = {"vocabulary": 96, "width": 128, "layers": 2, "heads": 2, "feed_forward": 256, "context": 64}
    model = Transformer(llama().but(**shape))
    with torch.no_grad():
        model.get_submodule("blocks.0.feed_forward.up").weight[:3].abs_()  # whole rows above zero: mirrored grids
    layers = quantise_model(model, settings, [tokens])
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(96)}, unk_token="w1"))
    words.save(str(home / "tokenizer.json"))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "w0", "pad_token": "w0", "bos_token": "w0"}
    (home / "tokenizer_config.json").write_text(json.dumps(about))
    files = [home / "tokenizer.json", home / "tokenizer_config.json"]
    special = {"eos_token_id": 0, "bos_token_id": 0, "pad_token_id": 0}
    write_quantised(model, layers, settings, home / name, special=special, files=files, layout=layout)
    return home / name


def test_gptqmodel_opens_our_files_and_finds_our_numbers(tmp_path: Path) -> None:
    tokens = torch.randint(0, 96, (6, 48), generator=torch.Generator().manual_seed(0))
    save_file({"tokens": tokens}, tmp_path / "tokens.safetensors")
    folders = []
    for bits in (2, 3, 4, 8):
        settings = Quantisation(bits=bits, group_size=32, act_order=bits != 4)
        folders.append(folder(tmp_path, tokens, f"first-{bits}", settings.but(symmetric=True), "gptq"))
        folders.append(folder(tmp_path, tokens, f"second-{bits}", settings, "gptq_v2"))
    found = tmp_path / "logits.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", OPEN, tmp_path / "tokens.safetensors", found, *folders],
        capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "PYTHONPATH": str(FOLDER), "GPTQMODEL_CPU_WORKERS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for name, theirs in load_file(found).items():
        mine = load_huggingface(name, dtype=torch.float32)(tokens).logits
        assert (theirs - mine).abs().max() < 5e-3 * mine.abs().max(), name  # theirs computes in float16
