"""Do our GGUF files mean the same to llama.cpp? Logits, tokens and greedy continuations, side by side.

Every family and switch that is written gets a small model with random weights (scores far apart, so that greedy choices
are not decided by rounding) and a tokenizer trained here; `--model` adds a folder of your own, such as a published
one. llama.cpp runs in this process (`pip install llama-cpp-python`), one thread, key/value cache in float32.

    python benchmarks/gguf_parity.py                      result in benchmarks/results/gguf.json
    python benchmarks/gguf_parity.py --model FOLDER       a trained model as well
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from turns import machine

from glasshouse.data.tokens.tokenizer import END_OF_TEXT, load_tokenizer, save_tokenizer, train_bpe
from glasshouse.language.generation import Sampling, generate
from glasshouse.nn.configuration import TransformerConfig, llama, llama_3, olmo, olmo_1_7, olmo_2
from glasshouse.nn.huggingface import load_huggingface, save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.publishing.gguf import Precision, write_gguf

RESULTS = Path(__file__).parent / "results"
PRECISIONS: tuple[Precision, ...] = ("f32", "f16", "q8_0")
LOGITS_BAR = 1e-3
"""Largest difference of a logit in f32."""

SMALL: dict[str, Any] = {
    "vocabulary": 640, "width": 128, "layers": 3, "heads": 4, "feed_forward": 352, "context": 256,
}  # fmt: skip
CONFIGS: dict[str, TransformerConfig] = {
    "olmo": olmo("7B").but(**SMALL),
    "olmo, tied": olmo("1B").but(**SMALL),
    "olmo, clipped": olmo_1_7().but(**SMALL | {"clip_qkv": 0.5}),
    "olmo 2": olmo_2().but(**SMALL),
    "olmo 2, grouped": olmo_2().but(**SMALL, key_value_heads=2),
    "olmo 2, tied": olmo_2().but(**SMALL, tied=True),
    "llama": llama().but(**SMALL),
    "llama 3, grouped, tied": llama_3().but(**SMALL | {"key_value_heads": 2, "tied": True}),
    "20M": olmo("20M").but(**SMALL),
}
TEXTS = (
    "The gardener writes down what was sown, when it was watered, and which leaf came first.",
    "def area(width, height):\n    # twice\n\treturn 2*width * height  \n\n\nprint(area(3, 14159))",
    "It's the house's light; they've said I'll see, she'd go. 'RE YOU 'sure'? We\u2019re…",
    "Übergrößen façade naïve Ωmega привет こんにちは 你好 مرحبا हिन्दी \U0001f331\U0001f44d\U0001f3fd",
    "  leading,   inner    and trailing spaces   ",
    "1 12 123 1234 12345 3.14 1,000,000 0x1F",
    "\n\n \n\t\t\n a\r\nb\u00a0c\u2003d",
    f"one document{END_OF_TEXT}another one",
    "!!!???...---===***",
)
PROMPTS = TEXTS[:4]


def tokenizer() -> Tokenizer:
    """A small byte-level BPE tokenizer of the house."""
    return train_bpe([text * 4 for text in TEXTS] + [Path(__file__).read_text(encoding="utf-8")], 600)


def save_model(config: TransformerConfig, folder: Path, words: Tokenizer, seed: int = 5) -> None:
    """Random weights with norms away from 1, so that a swapped pair shows, and a sharp head."""
    model = Transformer(config, seed=seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                draw = torch.Generator().manual_seed(len(name))
                parameter.copy_(torch.rand(parameter.shape, generator=draw) + 0.5)
        if config.tied:
            model.final_norm.weight.mul_(8) if model.final_norm.weight is not None else None
        else:
            model.head_weight.mul_(8)
    files = folder.parent / "tokenizer"
    save_tokenizer(words, files)
    end = words.token_to_id(END_OF_TEXT)
    save_huggingface(model, folder, end=end, begin=end, padding=1, tokenizer_files=sorted(files.iterdir()))


def compare(folder: Path, precision: Precision, greedy: int = 32) -> dict[str, Any]:
    """Write a folder as GGUF, run it in llama.cpp, and compare with our model on the same texts.

    Returns `logits` (largest difference), `kl` (largest mean divergence in nats per position of a prompt), `tokens`
    (texts with the same tokens), `texts` that decode to themselves, and `greedy` (continuations that are equal).
    """
    import llama_cpp

    model, words = load_huggingface(folder, dtype=torch.float32).eval(), load_tokenizer(folder)
    file = folder / f"model-{precision}.gguf"
    write_gguf(folder, file, precision)
    other = llama_cpp.Llama(
        str(file), n_ctx=model.config.context, n_batch=model.config.context, n_threads=1, logits_all=True,
        verbose=False, type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, flash_attn=False,
    )  # fmt: skip
    found: dict[str, Any] = {"precision": precision, "bytes": file.stat().st_size, "texts": len(TEXTS)}
    ours = [words.encode(text, add_special_tokens=False).ids for text in TEXTS]
    theirs = [other.tokenize(text.encode(), add_bos=False, special=True) for text in TEXTS]
    found["tokens_equal"] = sum(a == b for a, b in zip(ours, theirs, strict=True))
    decoded = [other.detokenize(ids, special=True).decode(errors="replace") for ids in ours]
    found["decoded_equal"] = sum(
        a == words.decode(b, skip_special_tokens=False) for a, b in zip(decoded, ours, strict=True)
    )
    worst, divergence, equal = 0.0, 0.0, 0
    for prompt in PROMPTS:
        ids = words.encode(prompt, add_special_tokens=False).ids[: model.config.context - greedy]
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0].double()
        other.reset()
        other.eval(ids)
        got = torch.from_numpy(np.array(other.scores[: len(ids)])).double()
        worst = max(worst, float((got - expected).abs().max()))
        wanted = expected.log_softmax(-1)
        divergence = max(divergence, float((wanted.exp() * (wanted - got.log_softmax(-1))).sum(-1).mean()))
        made = generate(model, [ids], Sampling(tokens=greedy))[0]
        equal += made == _greedy(other, ids, len(made))
    return found | {"prompts": len(PROMPTS), "greedy_equal": equal, "logits": worst, "kl": divergence}


def _greedy(other: Any, ids: list[int], count: int) -> list[int]:
    other.reset()
    other.eval(ids)
    made: list[int] = []
    for _ in range(count):
        made.append(int(np.argmax(other.scores[other.n_tokens - 1])))
        other.eval(made[-1:])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, action="append", default=[], help="a model folder with its tokenizer")
    parser.add_argument("--tokenizer", type=Path, action="append", default=[], help="a tokenizer.json")
    parser.add_argument("--result", type=Path, default=RESULTS / "gguf.json")
    arguments = parser.parse_args()
    import llama_cpp

    torch.set_num_threads(1)
    rows: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as home:
        words = tokenizer()
        folders = {}
        for number, (name, config) in enumerate(CONFIGS.items()):
            folders[name] = Path(home) / f"m{number}"
            save_model(config, folders[name], words)
        for place in arguments.model:
            copy = Path(home) / f"given-{place.name}"
            copy.mkdir()
            for file in place.iterdir():
                if file.suffix in (".json", ".safetensors"):
                    (copy / file.name).symlink_to(file.resolve())
            folders[f"trained: {place.name}"] = copy
        for place in arguments.tokenizer:
            given = load_tokenizer(place)
            rows_needed = 64 * (max(given.get_vocab().values()) // 64 + 1)
            tiny = CONFIGS["olmo"].but(vocabulary=rows_needed, width=64, layers=1, feed_forward=128)
            folders[f"tokenizer: {place.stem}"] = Path(home) / f"words-{place.stem}"
            save_model(tiny, folders[f"tokenizer: {place.stem}"], given)
        for name, folder in folders.items():
            rows[name] = [compare(folder, precision) for precision in PRECISIONS]
            print(name, json.dumps(rows[name]))
    exact = [row[0] for row in rows.values()]
    holds = all(
        row["logits"] <= LOGITS_BAR and row["tokens_equal"] == row["texts"] and row["greedy_equal"] == row["prompts"]
        for row in exact
    )
    document = {
        "machine": machine(),
        "versions": {"llama-cpp-python": llama_cpp.__version__}
        | {name: version(name) for name in ("gguf", "torch", "tokenizers")},
        "bar": f"f32: every logit within {LOGITS_BAR:g}, the same tokens, the same greedy continuations",
        "holds": holds,
        "models": rows,
    }
    arguments.result.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {arguments.result}; the bar {'holds' if holds else 'does not hold'}")


if __name__ == "__main__":
    main()
