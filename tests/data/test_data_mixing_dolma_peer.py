"""Mixing files of Dolma's beside `dolma mix` 1.2.1 itself: random ones end alike, and its bugs are named one by one."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from glasshouse.data.mixing.alignment import MisalignedError
from glasshouse.data.mixing.checking import UnreachableRuleError
from glasshouse.data.mixing.dolma import import_dolma
from glasshouse.data.mixing.mix import mix

PYTHON = Path(os.environ.get("GLASSHOUSE_PEERS", "/nowhere")) / "dolma-env" / "bin" / "python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON.exists(),
        reason="no environment with dolma 1.2.1: set GLASSHOUSE_PEERS to a directory made by benchmarks/peers.py",
    ),
]
Row = dict[str, Any]


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _read(files: Iterable[Path]) -> list[Row]:
    return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def _dolma(command: str, home: Path, settings: Row) -> int:
    (home / "c.json").write_text(json.dumps(settings | {"work_dir": {"input": f"{home}/wi", "output": f"{home}/wo"}}))
    done = subprocess.run([PYTHON, "-W", "ignore", "-m", "dolma.cli", "-c", home / "c.json", command],
                          capture_output=True, check=False)  # fmt: skip
    return done.returncode


def _stream(home: Path, name: str = "s", **settings: Any) -> Row:
    output = {"path": f"{home}/theirs", "max_size_in_bytes": 1 << 20}
    return {"name": name, "documents": [f"{home}/documents/*.gz"], "attributes": ["x"], "output": output} | settings


def _theirs(home: Path, name: str) -> list[Row] | None:
    """What Dolma wrote; `None` where it gave up a file."""
    found = sorted((home / "theirs").glob(f"{name}-*"))
    return None if any(path.suffix == ".tmp" for path in found) else _read(found)


def _ours(home: Path, stream: Row) -> list[Row]:
    (home / "ours.json").write_text(json.dumps({"streams": [stream]}))
    out = home / "ours" / stream["name"]
    return _read(out / name for name in mix(import_dolma(home / "ours.json").mixture, out).files)


def _plain(rows: list[Row]) -> list[str]:
    """Rows in a fixed order, without what each mixer says of itself."""
    found = []
    for row in rows:
        metadata = {name: value for name, value in row.get("metadata", {}).items() if name != "provenance"}
        one = {**row, "id": row["id"].partition("#")[0], "metadata": metadata}
        one.pop("origin", None)
        found.append(json.dumps(one, sort_keys=True))
    return sorted(found)


class _Draw:
    """Random documents, attributes, filters and replacements.

    What is known to differ is left out: whole numbers, texts without characters, spans behind a text.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.some = self.random.choice

    def spans(self, text: str) -> list[list[Any]]:
        starts = [self.random.randrange(len(text)) for _ in range(self.random.randint(0, 4))]
        return [[at, self.random.randint(at + 1, len(text) + 2), self.some((0.05, 0.5, 0.75, -0.5))] for at in starts]

    def files(self, home: Path) -> None:
        for file in range(self.some((1, 2))):
            texts = [
                "".join(self.random.choices("ab é🎉\n\t\u00a0\u3000日{}", k=self.some((1, 3, 20)))) for _ in range(9)
            ]
            values = {"length": lambda: self.some((0, 3, 500)), "tag": lambda: self.some(("", "Tág"))}
            rows = [
                {"id": f"{file}-{n}", "text": text, "source": self.some(("s", "é"))}
                | {"metadata": {name: value() for name, value in values.items()}}
                for n, text in enumerate(texts)
            ]
            _write(home / "documents" / f"{file}.json.gz", rows)
            for name in ("x", "y"):
                known = [{"id": row["id"], "attributes": self.attributes(row["text"], name)} for row in rows]
                _write(home / "attributes" / name / f"{file}.json.gz", known)

    def attributes(self, text: str, name: str) -> Row:
        made = {
            f"{name}__t__a": lambda: [[0, len(text), self.some((0.05, 0.2, 0.5, 30.5))]] if self.some((0, 1)) else [],
            f"{name}__t__b": lambda: self.spans(text),
            "deep": lambda: self.some(({}, {"v": 0.5}, {"v": 1.5}, {"spans": self.spans(text)})),
            "plain": lambda: self.some((0.25, 0.5, 2.5)),
            "label": lambda: self.some(("", "a", "é")),
            "flag": lambda: self.some((True, False)),
        }
        return {key: value() for key, value in made.items() if self.random.random() < 0.7}

    def comparison(self, jq: bool) -> str:
        root, maybe, quote = (".attributes?.", "?", '"') if jq else ("@.", "", "'")
        order, equal = self.some(("<", "<=", ">", ">=", "==", "!=")), self.some(("==", "!="))
        key = self.some(("x__t__a", "x__t__b", "y__t__a", "deep.spans"))
        span = f"{root}{key.replace('.', maybe + '.')}{maybe}[0]{maybe}[2]{maybe} {order} {self.some((0.2, 0.5, 30.5))}"
        return self.some((
            span, span, span, f"{root}plain {order} {self.some((0.5, 2.5))}", f"{root}deep{maybe}.v{maybe} {equal} 0.5",
            f"{root}label {equal} {quote}{self.some(('', 'a', 'é'))}{quote}", f"{root}flag {equal} true",
            f".attributes.plain {equal} null" if jq else self.some(("!@.label", "@.x__t__b[0]", "@.label")),
        ))  # fmt: skip

    def condition(self, jq: bool, depth: int = 0) -> str:
        if depth > 2 or self.random.random() < 0.4:
            return self.comparison(jq)
        left, right = self.condition(jq, depth + 1), self.condition(jq, depth + 1)
        joined = f"{left} {self.some(('and', 'or') if jq else ('&&', '||'))} {right}"
        return self.some((joined, f"({joined})", f"(({joined}) | not)" if jq else f"!({joined})"))

    def filter(self) -> Row:
        jq = self.some((True, False))
        metadata = "(.metadata.length < 3)" if jq else "$.metadata[?(@.length < 3)]"
        rules = [self.condition(True) if jq else f"$.attributes[?({self.condition(False)})]" for _ in range(3)]
        cut = self.some((0, 1))
        return {"include": rules[:cut], "exclude": [*rules[cut:], metadata], "syntax": "jq" if jq else "jsonpath"}

    def replacement(self) -> Row:
        column, jq = self.some(("x__t__a", "x__t__b", "deep.spans", "gone")), self.some((True, False))
        span = f".attributes?.{column.replace('.', '?.')}?" if jq else f"$.attributes.{column}"
        text = self.some(("", "X", "[{}]", "{}{}", "$.source", "$.metadata.tag"))
        scores = self.some(({"min_score": 0.5}, {"max_score": 0.75}, {"min_score": -0.5, "max_score": 0.75}))
        return {"span": span, "syntax": "jq" if jq else "jsonpath", "replacement": text, **scores}

    def stream(self, home: Path, name: str) -> Row:
        output: Row = {"path": f"{home}/theirs", "max_size_in_bytes": self.some((1, 100000))}
        output |= self.some(({}, {"min_text_length": 3}, {"discard_fields": ["attributes", "metadata", "nothing"]}))
        paths = [f"{home}/documents/*.gz"] * self.some((1, 1, 2))
        made = _stream(home, name, documents=paths, attributes=self.some((["x", "y"], ["y", "x"])), output=output)
        made |= self.some(({"filter": self.filter()}, {}))
        return made | {"span_replacement": [self.replacement() for _ in range(self.random.randint(1, 3))]}


@pytest.mark.parametrize("seed", range(2))
def test_random_mixing_files_end_as_with_dolma(tmp_path: Path, seed: int) -> None:
    draw = _Draw(seed)
    draw.files(tmp_path)
    streams = [draw.stream(tmp_path, f"s{number}") for number in range(60)]
    assert _dolma("mix", tmp_path, {"streams": streams, "processes": 1}) == 0
    compared = 0
    for stream in streams:
        try:
            ours = _ours(tmp_path, stream)
        except UnreachableRuleError:
            continue  # a rule that contradicts itself is refused here
        theirs = _theirs(tmp_path, stream["name"])
        assert theirs is not None
        assert _plain(ours) == _plain(theirs), stream
        compared += len(theirs)
    assert compared > 200


def test_whole_numbers_written_as_decimals_are_equal_here_and_not_for_dolma(tmp_path: Path) -> None:
    """So `… >= 1.0` of the published files never takes out what Dolma's own de-duplication found."""
    _write(tmp_path / "documents" / "0.json.gz", [{"id": name, "text": "same", "source": "s"} for name in "ab"])
    bloom = {"file": f"{tmp_path}/bloom.bin", "size_in_bytes": 1024, "read_only": False,
             "estimated_doc_count": 10, "desired_false_positive_rate": 0.01}  # fmt: skip
    deduplication = {"name": "x", "documents": {"attribute_name": "bff_duplicate_docs", "key": "$.text"}}
    settings = {"documents": [f"{tmp_path}/documents/*.gz"], "dedupe": deduplication, "bloom_filter": bloom}
    assert _dolma("dedupe", tmp_path, settings | {"processes": 1}) == 0
    rule = "$@.attributes[?(@.bff_duplicate_docs && @.bff_duplicate_docs[0] && @.bff_duplicate_docs[0][2] >= 1.0)]"
    stream = _stream(tmp_path, filter={"include": [], "exclude": [rule]})
    assert _dolma("mix", tmp_path, {"streams": [stream]}) == 0
    assert [row["id"] for row in _theirs(tmp_path, "s") or []] == ["a", "b"]
    assert [row["id"] for row in _ours(tmp_path, stream)] == ["a"]


def test_spans_that_are_empty_or_behind_the_text(tmp_path: Path) -> None:
    spans = {"empty": [[1, 1, 1], [3, 4, 1]], "end": [[6, 9, 1]], "inside": [[1, 2, 1]]}
    _write(tmp_path / "documents" / "0.json.gz", [{"id": name, "text": "abcdef", "source": "s"} for name in spans])
    _write(tmp_path / "attributes" / "x" / "0.json.gz", [{"id": n, "attributes": {"a": a}} for n, a in spans.items()])
    stream = _stream(tmp_path, span_replacement=[{"span": "$.attributes.a", "min_score": 0.5, "replacement": "<{}>"}])
    assert _dolma("mix", tmp_path, {"streams": [stream]}) == 0
    theirs = {row["id"]: row["text"] for row in _theirs(tmp_path, "s") or []}
    assert theirs == {"empty": "a<>cdef<bcdef>", "end": "abcdef<abcdef>", "inside": "a<b>cdef"}
    ours = {row["id"]: row["text"] for row in _ours(tmp_path, stream)}
    assert ours == {"empty": "a<>bc<d>ef", "end": "abcdef", "inside": "a<b>cdef"}


def test_a_text_of_the_row_is_a_template_to_dolma_and_anything_else_loses_the_file(tmp_path: Path) -> None:
    _write(tmp_path / "attributes" / "x" / "0.json.gz", [{"id": "0", "attributes": {"a": [[1, 2, 1]]}}])
    rule = {"span": "$.attributes.a", "min_score": 0.5, "replacement": "$.metadata.tag"}
    for name, tag in {"template": "<{}>", "lost": 5}.items():
        _write(tmp_path / "documents" / "0.json.gz", [{"id": "0", "text": "abc", "metadata": {"tag": tag}}])
        stream = _stream(tmp_path, name, span_replacement=[rule])
        assert _dolma("mix", tmp_path, {"streams": [stream]}) == 0  # also where the file is lost
        theirs = _theirs(tmp_path, name)
        if name == "lost":
            assert theirs is None
            with pytest.raises(ValueError, match="has no text"):
                _ours(tmp_path, stream)
        else:
            assert [row["text"] for row in theirs or []] == ["a<b>c"]
            assert [row["text"] for row in _ours(tmp_path, stream)] == ["a<{}>c"]


def test_attributes_that_end_early_are_an_error_here_and_a_warning_to_dolma(tmp_path: Path) -> None:
    names = ["0", "1", "2"]
    _write(tmp_path / "documents" / "0.json.gz", [{"id": name, "text": "t", "source": "s"} for name in names])
    for attribute, known in (("short", names[:2]), ("whole", names)):
        rows = [{"id": name, "attributes": {attribute: [[0, 1, 0.5]]}} for name in known]
        _write(tmp_path / "attributes" / attribute / "0.json.gz", rows)
    rule = "$.attributes[?(@.whole)]"
    stream = _stream(tmp_path, attributes=["short", "whole"], filter={"include": [rule], "exclude": []})
    assert _dolma("mix", tmp_path, {"streams": [stream]}) == 0
    # After the first set's end Dolma reads no other set either, and the third document loses its attribute.
    assert [row["id"] for row in _theirs(tmp_path, "s") or []] == ["0", "1"]
    with pytest.raises(MisalignedError, match="ends after row 2"):
        _ours(tmp_path, stream)
