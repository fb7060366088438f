"""BLEU of a corpus and ROUGE of its items, by the packages whose numbers are quoted everywhere.

BLEU is sacrebleu's, with its own tokenizer, on lower-cased texts and between 0 and 100; ROUGE-1, 2 and L are the mean
F1 of rouge_score (with its tokenizer, which lower-cases, and its stemmer), also times 100. The paper names neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

ROUGE = ("rouge1", "rouge2", "rougeL")


def corpus_bleu(texts: Sequence[str], references: Sequence[str]) -> float:
    """BLEU-4 of all texts at once, one reference each."""
    try:
        import sacrebleu
    except ImportError:
        raise ImportError("BLEU needs the package sacrebleu: pip install 'glasshouse[eval]'") from None
    if len(texts) != len(references) or not texts:
        raise ValueError(f"BLEU needs a reference for each text, got {len(texts)} texts, {len(references)} references")
    return float(sacrebleu.corpus_bleu(list(texts), [list(references)], lowercase=True, force=True).score)


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
