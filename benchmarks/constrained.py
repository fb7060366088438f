"""Constrained decoding beside xgrammar and outlines-core: what an untrained model writes under ten JSON Schemas.

    python benchmarks/constrained.py [--samples 60] [--budget 200] [--output FILE]

The model is the adversary: untrained, temperature 1, own tokenizer, the same for all, and a budget of tokens after
which it is stopped. A text counts when jsonschema accepts it. A library that is not installed has no row.
`masks only` is llguidance with the same loop as the peers, `glasshouse` adds the close within the budget.
Microseconds are CPU time per token for the mask, the draw, the advance and, for `glasshouse`, closings; the model's own
time is not in them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import jsonschema
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from turns import machine

from glasshouse.language.generation import Sampling, choose, next_scores
from glasshouse.nn.configuration import olmo
from glasshouse.nn.transformer import KeyValueCache, Transformer
from glasshouse.symbolic.adversary import SCHEMAS
from glasshouse.symbolic.call import Constraint
from glasshouse.symbolic.closing import Closer
from glasshouse.symbolic.completion import complete
from glasshouse.symbolic.constrain import Vocabulary
from glasshouse.symbolic.errors import RefusalError

RESULTS = Path(__file__).parent / "results"
ROWS, WORDS, END = 512, 420, 0


class RefusedError(Exception):
    """The library says that it cannot do the schema."""


class Masks:
    """llguidance alone: the masks, without a budget."""

    def __init__(self, schema: dict, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        try:
            self._state = vocabulary.compile(Constraint("json_schema", json.dumps(schema))).start
        except RefusalError as error:
            raise RefusedError(str(error)) from None

    def restart(self) -> None:
        self._state.reset()

    def allowed(self) -> np.ndarray:
        return self._vocabulary.allowed(self._state)

    def advance(self, token: int) -> bool:
        self._state.consume_token(token)
        return self._state.is_stopped()


class XGrammar:
    def __init__(self, schema: dict, vocabulary: Vocabulary) -> None:
        import xgrammar

        pieces = [piece or b"<end>" for piece in vocabulary.pieces[:WORDS]]  # rows beyond are padding to it
        about = xgrammar.TokenizerInfo(pieces, xgrammar.VocabType.RAW, vocab_size=ROWS, stop_token_ids=[END])
        try:
            grammar = xgrammar.GrammarCompiler(about, max_threads=1).compile_json_schema(json.dumps(schema))
        except (RuntimeError, ValueError) as error:
            raise RefusedError(str(error)) from None
        self._matcher = xgrammar.GrammarMatcher(grammar)
        self._mask = xgrammar.allocate_token_bitmask(1, ROWS)

    def restart(self) -> None:
        self._matcher.reset()

    def allowed(self) -> np.ndarray:
        self._matcher.fill_next_token_bitmask(self._mask)
        return np.unpackbits(self._mask.numpy().view(np.uint8)[0], count=ROWS, bitorder="little").view(np.bool_)

    def advance(self, token: int) -> bool:
        self._matcher.accept_token(token)
        return self._matcher.is_terminated()


class OutlinesCore:
    def __init__(self, schema: dict, vocabulary: Vocabulary) -> None:
        import outlines_core

        known: dict[bytes, list[int]] = {}
        for token, piece in enumerate(vocabulary.pieces):
            if piece and token != END:
                known.setdefault(piece, []).append(token)
        try:
            pattern = outlines_core.json_schema.build_regex_from_schema(json.dumps(schema))
            index = outlines_core.Index(pattern, outlines_core.Vocabulary(END, known))
        except (ValueError, TypeError) as error:
            raise RefusedError(str(error)) from None
        self._guide = outlines_core.Guide(index)

    def restart(self) -> None:
        self._guide.reset()

    def allowed(self) -> np.ndarray:
        allowed = np.zeros(ROWS, np.bool_)
        allowed[self._guide.get_tokens()] = True
        return allowed

    def advance(self, token: int) -> bool:
        self._guide.advance(token)
        return False


LIBRARIES = {
    "masks only": ("llguidance", Masks),
    "xgrammar": ("xgrammar", XGrammar),
    "outlines-core": ("outlines_core", OutlinesCore),
}


def tokenizer_and_model() -> tuple[Tokenizer, Transformer]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = json.dumps(SCHEMAS) + json.dumps(SCHEMAS, indent=1)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text] * 2, trainer)
    assert tokenizer.get_vocab_size() == WORDS
    size = {"vocabulary": ROWS, "width": 32, "layers": 1, "heads": 2, "feed_forward": 64, "context": 1024}
    return tokenizer, Transformer(olmo("7B").but(**size), seed=0).eval()


class Adversary:
    """The model with a cache for one text; keeps the CPU time that is its own."""

    def __init__(self, model: Transformer, capacity: int) -> None:
        self._model, self._cache = model, KeyValueCache(model.config, 1, capacity)
        self.seconds, self.tokens = 0.0, 0

    def __call__(self, tokens: list[int]) -> torch.Tensor:
        start = time.process_time()
        found = next_scores(self._model, torch.tensor([list(tokens)]), self._cache, torch.zeros(1, dtype=torch.long))[0]
        self.seconds += time.process_time() - start
        self.tokens += 1
        return found


def plainly(library, scores: Adversary, budget: int, seed: int) -> tuple[list[int], bool]:
    """Tokens under a library's masks until it or the model ends them, and whether the budget cut them off."""
    library.restart()
    sampling, draw = Sampling(temperature=1.0), torch.Generator().manual_seed(seed)
    made, fed = list[int](), [1]
    while len(made) < budget:
        allowed = torch.from_numpy(library.allowed().copy())
        if not allowed.any():
            return made, False
        token = choose(scores(fed).masked_fill(~allowed, -torch.inf), made, sampling, draw)
        if token == END:
            return made, False
        made, fed = [*made, token], [token]
        if library.advance(token):
            return made, False
    return made, True


def judged(vocabulary: Vocabulary, tokens: list[int], cut: bool, schema: dict) -> str:
    try:
        jsonschema.validate(json.loads(vocabulary.tokens.decode_bytes(tokens).decode()), schema)
    except (ValueError, jsonschema.ValidationError) as error:
        return "cut off" if cut else f"invalid: {str(error).splitlines()[0]:.80}"
    return "valid"


def measured(name: str, schema: dict, vocabulary: Vocabulary, model: Transformer, samples: int, budget: int) -> dict:
    counts, tokens = Counter[str](), 0
    start = time.process_time()
    try:
        if name == "glasshouse":
            compiled, closer = vocabulary.compile(Constraint("json_schema", json.dumps(schema))), Closer(vocabulary)
        else:
            library = LIBRARIES[name][1](schema, vocabulary)
        ready = time.process_time() - start
        spent = 0.0
        for seed in range(samples):
            scores = Adversary(model, budget + 8)
            start = time.process_time()
            if name == "glasshouse":
                sampling = Sampling(temperature=1.0, tokens=budget, seed=seed)
                made, cut = complete(scores, [1], compiled, sampling, closer=closer).tokens, False
            else:
                made, cut = plainly(library, scores, budget, seed)
            spent += time.process_time() - start - scores.seconds
            tokens += scores.tokens
            counts[judged(vocabulary, made, cut, schema)] += 1
    except (RefusedError, RefusalError) as error:
        return {"refused": f"{error}"[:200]}
    reasons = {reason: count for reason, count in counts.most_common(4) if reason != "valid"}
    return {
        "valid": counts["valid"],
        "invalid": reasons,
        "microseconds_per_token": round(1e6 * spent / max(tokens, 1), 1),
        "compile_milliseconds": round(1e3 * ready, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--output", type=Path, default=RESULTS / "constrained.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer, model = tokenizer_and_model()
    vocabulary = Vocabulary(tokenizer, ROWS, END)
    names = ["glasshouse", *(name for name, (package, _) in LIBRARIES.items() if importlib.util.find_spec(package))]
    rows: dict[str, dict] = {name: {} for name in names}
    with torch.inference_mode():
        for title, schema in SCHEMAS.items():
            for name in names:
                rows[name][title] = measured(name, schema, vocabulary, model, options.samples, options.budget)
            said = (
                f"{name} {'refused' if 'refused' in row[title] else row[title]['valid']}" for name, row in rows.items()
            )
            print(f"{title:24s}" + "  ".join(said), flush=True)
    totals = {
        name: {
            "valid": sum(one.get("valid", 0) for one in row.values()),
            "given": sum(options.samples for one in row.values() if "valid" in one),
            "refused": [title for title, one in row.items() if "refused" in one],
        }
        for name, row in rows.items()
    }
    print(json.dumps(totals, indent=1))
    packages = {"llguidance": "llguidance", "xgrammar": "xgrammar", "outlines-core": "outlines_core"}
    found = {
        "machine": machine(),
        "versions": {name: version(package) for name, package in packages.items() if importlib.util.find_spec(package)},
        "samples": options.samples,
        "budget": options.budget,
        "totals": totals,
        "schemas": {
            title: {"schema": schema, **{name: rows[name][title] for name in names}}
            for title, schema in SCHEMAS.items()
        },
    }
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
