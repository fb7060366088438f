"""A text classifier in the manner of fastText (Joulin et al., arXiv 1607.01759): reading and scoring.

    p(class | text) = softmax( W mean_f E[f] + b ),   f over hashed words and pairs of words

A model is a directory: `classifier.json` (format, labels, number of buckets, settings) and `classifier.safetensors`
(`embedding` [buckets, width], `output` [classes, width], `bias` [classes]). Nothing is ever unpickled. Training is in
`glasshouse.language.text_classifier`. Deviation from fastText: no subwords, no end-of-sentence token, and one table of
buckets for words and pairs (fastText keeps a vocabulary for the words).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

FORMAT, VERSION = "glasshouse-text-classifier", 1
ABOUT, WEIGHTS = "classifier.json", "classifier.safetensors"
FEATURES = "hashed-words-and-pairs-1"
LARGEST_BUCKETS = 1 << 24


class ClassifierError(ValueError):
    """A directory is no text classifier, or a damaged or incompatible one; or a label it does not have."""


class TextClassifier:
    """Scores texts.

    Args:
        labels: names of the classes.
        embedding: `[buckets, width]`; buckets is a power of two.
        output: `[classes, width]`.
        bias: `[classes]`.
        lower: whether ASCII capitals count as small letters.
    """

    def __init__(
        self,
        labels: Sequence[str],
        embedding: npt.NDArray[np.float32],
        output: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32],
        *,
        lower: bool = True,
    ) -> None:
        self.labels = tuple(labels)
        self.embedding, self.output, self.bias, self.lower = embedding, output, bias, lower
        _check_shapes(self)
        # In float64, rounded once: the same table wherever it is made.
        votes = embedding.astype(np.float64) @ output.astype(np.float64).T
        self._votes = np.ascontiguousarray(votes.astype(np.float32))
        self._bias = bias.astype(np.float64)

    @property
    def buckets(self) -> int:
        return int(self.embedding.shape[0])

    def column(self, label: str) -> int:
        """The place of a label. Raises `ClassifierError` naming those there are."""
        if label not in self.labels:
            raise ClassifierError(f"the classifier has no label {label!r}; it has {', '.join(self.labels)}")
        return self.labels.index(label)

    def score_ranges(
        self, data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Scores `[ranges, classes]` of ranges `[start, end)` of UTF-8 bytes."""
        from glasshouse.data.signals import classifier_kernel as kernel

        found = np.empty((len(starts), len(self.labels)))
        table = kernel.LOWERED if self.lower else kernel.AS_IS
        mask = np.uint64(self.buckets - 1)
        kernel.scores(data, starts, ends, kernel.KINDS, table, mask, self._votes, self._bias, found)
        return found

    def score_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Scores `[texts, classes]`."""
        data, bounds = packed(texts)
        return self.score_ranges(data, bounds[:-1], bounds[1:])

    def save(self, directory: str | Path, about: dict[str, Any] | None = None) -> Path:
        """Writes the model; `about` (training settings, measured quality) is kept beside it. Equal models, equal bytes.

        Raises `FileExistsError` when there is one already.
        """
        from safetensors.numpy import save

        home = Path(directory)
        if (home / ABOUT).exists():
            raise FileExistsError(f"{home} holds a classifier already: choose a new directory")
        home.mkdir(parents=True, exist_ok=True)
        tensors = {"embedding": self.embedding, "output": self.output, "bias": self.bias}
        partial = home / (WEIGHTS + ".partial")
        partial.write_bytes(save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}))
        partial.rename(home / WEIGHTS)
        head = {
            "format": FORMAT,
            "version": VERSION,
            "features": FEATURES,
            "labels": list(self.labels),
            "buckets": self.buckets,
            "lower": self.lower,
            "sha256": hashlib.sha256((home / WEIGHTS).read_bytes()).hexdigest(),
            "about": about or {},
        }
        # Written last: what has it is whole.
        partial = home / (ABOUT + ".partial")
        partial.write_bytes(orjson.dumps(head, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
        partial.rename(home / ABOUT)
        return home


def packed(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The UTF-8 bytes of texts one after the other, and their bounds `[texts + 1]`."""
    encoded = [text.encode() for text in texts]
    bounds = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(part) for part in encoded], out=bounds[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), bounds


def open_classifier(directory: str | Path) -> TextClassifier:
    """Opens a model and checks it.

    Raises:
        ClassifierError: naming the file and what is wrong with it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    home = Path(directory)
    head = _head(home)
    path = home / WEIGHTS
    if not path.is_file():
        raise ClassifierError(f"{path} is missing: copy the whole directory of the classifier, or train it again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != head["sha256"]:
        raise ClassifierError(f"{path} is damaged: its sha256 is not the one in {home / ABOUT}; copy or train it again")
    try:
        tensors = load_file(path)
        parts = tensors["embedding"], tensors["output"], tensors["bias"]
    except (SafetensorError, KeyError) as error:
        raise ClassifierError(f"{path} is damaged ({error}): copy or train the classifier again") from None
    try:
        made = TextClassifier(head["labels"], *parts, lower=head["lower"])
    except ClassifierError as error:
        raise ClassifierError(f"{home}: {error}") from None
    if made.buckets != head["buckets"]:
        raise ClassifierError(f"{home / ABOUT} says {head['buckets']} buckets, {path} has {made.buckets}")
    return made


def classifier_hash(directory: str | Path) -> str:
    """sha256 (hex) of the weights, as the model states it. Raises `ClassifierError`."""
    return str(_head(Path(directory))["sha256"])


@functools.lru_cache(maxsize=8)
def cached_classifier(directory: str, weights: str) -> TextClassifier:
    """`open_classifier`, once per process, refused when the weights are not those with the hash `weights`."""
    if classifier_hash(directory) != weights:
        raise ClassifierError(f"{directory} holds another classifier than the one configured (sha256 {weights})")
    return open_classifier(directory)


_FIELDS: dict[str, type] = {"labels": list, "buckets": int, "lower": bool, "sha256": str}


def _head(home: Path) -> dict[str, Any]:
    path = home / ABOUT
    if not path.is_file():
        raise ClassifierError(f"{home} holds no {ABOUT}: make one with `glasshouse train-classifier`")
    try:
        head = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ClassifierError(f"{path} is not JSON ({error}): copy or train the classifier again") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ClassifierError(f"{path} does not describe a {FORMAT}")
    if head.get("version") != VERSION or head.get("features") != FEATURES:
        got = f"version {head.get('version')!r}, features {head.get('features')!r}"
        raise ClassifierError(f"{path} has {got}; this program reads version {VERSION}, {FEATURES!r}: train it again")
    for name, kind in _FIELDS.items():
        if not isinstance(head.get(name), kind):
            raise ClassifierError(f"{path}: {name!r} must be a {kind.__name__}, got {head.get(name)!r}")
    if not all(isinstance(label, str) for label in head["labels"]):
        raise ClassifierError(f"{path}: labels must be strings, got {head['labels']!r}")
    return head


def _check_shapes(model: TextClassifier) -> None:
    buckets = model.embedding.shape[0] if model.embedding.ndim == 2 else 0
    if not 1 <= buckets <= LARGEST_BUCKETS or buckets & (buckets - 1):
        raise ClassifierError(f"embedding must be [a power of two up to 2^24, width], got {model.embedding.shape}")
    classes, width = len(model.labels), model.embedding.shape[1]
    if classes < 2 or len(set(model.labels)) != classes:
        raise ClassifierError(f"a classifier needs two or more different labels, got {list(model.labels)}")
    if model.output.shape != (classes, width) or model.bias.shape != (classes,):
        got = f"output {model.output.shape}, bias {model.bias.shape}"
        raise ClassifierError(f"for {classes} labels of width {width}, output and bias do not fit: {got}")
    for name in ("embedding", "output", "bias"):
        if not np.isfinite(getattr(model, name)).all():
            raise ClassifierError(f"{name} holds values that are not finite")
