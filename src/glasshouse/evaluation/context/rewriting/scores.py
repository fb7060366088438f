"""BLEU of a corpus and ROUGE of its items, by the packages whose numbers are quoted everywhere.

BLEU is sacrebleu's, with its own tokenizer, on lower-cased texts and between 0 and 100; ROUGE-1, 2 and L are the mean
F1 of rouge_score (with its tokenizer, which lower-cases, and its stemmer), also times 100. The paper names neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

ROUGE = ("rouge1", "rouge2", "rougeL")


def bleu_counts(text: str, reference: str) -> dict[str, float]:
    """What BLEU counts in a text: matching and all n-grams for n = 1 to 4, and both lengths. Those of texts add up."""
    found = _bleu().sentence_score(text, [reference])
    counts = {f"matching{n}": float(count) for n, count in enumerate(found.counts, start=1)}
    counts |= {f"all{n}": float(count) for n, count in enumerate(found.totals, start=1)}
    return counts | {"length": float(found.sys_len), "reference": float(found.ref_len)}


def bleu_of(counts: Mapping[str, float]) -> float:
    """BLEU-4 of summed counts, of 100; where no n-gram matches, smoothed as sacrebleu does ("exp")."""
    orders = range(1, 5)
    found = _bleu().compute_bleu(
        correct=[int(counts[f"matching{n}"]) for n in orders],
        total=[int(counts[f"all{n}"]) for n in orders],
        sys_len=int(counts["length"]),
        ref_len=int(counts["reference"]),
        smooth_method="exp",
    )
    return float(found.score)


def corpus_bleu(texts: Sequence[str], references: Sequence[str]) -> float:
    """BLEU-4 of all texts at once, one reference each."""
    if len(texts) != len(references) or not texts:
        raise ValueError(f"BLEU needs a reference for each text, got {len(texts)} texts, {len(references)} references")
    each = [bleu_counts(text, reference) for text, reference in zip(texts, references, strict=True)]
    return bleu_of({name: sum(counts[name] for counts in each) for name in each[0]})


@cache
def _bleu() -> Any:
    try:
        from sacrebleu import BLEU
    except ImportError:
        raise ImportError("BLEU needs the package sacrebleu: pip install 'glasshouse[eval]'") from None
    return BLEU(lowercase=True, force=True, effective_order=True)  # of sentences; sums take no notice


def rouge(text: str, reference: str) -> dict[str, float]:
    """F1 by name, of 100."""
    found = _scorer().score(reference, text)
    return {name: 100 * float(found[name].fmeasure) for name in ROUGE}


@cache
def _scorer() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise ImportError("ROUGE needs the package rouge_score: pip install 'glasshouse[eval]'") from None
    return RougeScorer(list(ROUGE), use_stemmer=True)
