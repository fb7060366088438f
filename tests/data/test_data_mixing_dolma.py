"""Dolma's mixing files: its golden outputs through the importer and the mixer, and what is dead in published files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from glasshouse.data.mixing.dolma import import_dolma
from glasshouse.data.mixing.dolma_filters import DolmaFilterError, from_jq, from_jsonpath, spans_column
from glasshouse.data.mixing.dolma_stream import DolmaImportError
from glasshouse.data.mixing.evaluating import evaluate
from glasshouse.data.mixing.expression import render
from glasshouse.data.mixing.fields import Seen, table_of_rows, usage_of_columns
from glasshouse.data.mixing.mix import mix
from glasshouse.data.mixing.mixture import MixtureError

DATA = Path(__file__).parents[3] / "shared" / "data" / "dolma"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="Dolma's test data are not here (../shared/data/dolma)")

# Names are the ids of documents; what 1.2.1's mixer keeps with each as its only include was measured with it.
VALUES: dict[str, Any] = {
    "none": ..., "empty": [], "two": [[0, 1, 0.2], [1, 2, 0.9]], "num": 5, "zero": 0, "str": "a", "true": True,
    "false": False, "nul": None, "doc": [[0, 4, 0.6]], "zs": [[0, 4, 0.0]], "obj": {}, "objf": {"b": 1},
}  # fmt: skip


def _kept(rule: str, names: list[str]) -> list[str]:
    tree = from_jq(rule) if rule.startswith((".", "(")) else from_jsonpath(rule)
    attributes = [{} if VALUES[name] is ... else {"a": VALUES[name]} for name in names]
    table = table_of_rows([{} for _ in names], attributes, usage_of_columns([tree]), Seen())
    return [name for name, keep in zip(names, evaluate(tree, table).tolist(), strict=True) if keep]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("$.attributes[?(@.a[0][2] > 0.5)]", ["doc"]),
        ("$.attributes[?(@.a[0][2] < 0.5)]", ["two", "zs"]),
        ("$.attributes[?(@.a[0][2] >= 0.5)]", ["doc"]),
        ("$.attributes[?(@.a[0][2] <= 0.5)]", ["two", "zs"]),
        ("$.attributes[?(@.a && @.a[0] && @.a[0][2] > 0.5)]", ["doc"]),
        ("$.attributes[?(@.a[0])]", ["two", "doc", "zs"]),
        ("$.attributes[?(@.a)]", ["empty", "two", "num", "zero", "str", "true", "false", "doc", "zs"]),
        ("$@.attributes[?(@.a)]", ["empty", "two", "num", "zero", "str", "true", "false", "doc", "zs"]),
        ("$.attributes.a", ["empty", "two", "num", "zero", "str", "true", "false", "doc", "zs"]),
        ("$.attributes[?(@.a == 'a')]", ["str"]),
        (".attributes?.a?[0]?[2]? > 0.5", ["doc"]),
    ],
)
def test_a_filter_keeps_what_dolma_keeps(rule: str, expected: list[str]) -> None:
    # `null` is left out: it is a value to Dolma and missing here (the next test).
    names = [name for name in VALUES if name not in ("nul", "obj", "objf")]
    assert _kept(rule, names) == expected


def test_a_value_written_as_one_span_is_its_score_here_and_never_equal_for_dolma() -> None:
    assert _kept("$.attributes[?(@.a == true)]", ["true", "false", "num", "doc", "zs"]) == ["true", "doc"]
    assert _kept("$.attributes[?(@.a > 0.5)]", ["two", "num", "zero", "doc", "zs"]) == ["num", "doc"]


def test_a_null_is_missing_here_and_there_for_dolma() -> None:
    assert _kept("$.attributes[?(@.a)]", ["nul", "none", "zero"]) == ["zero"]
    assert _kept("$.attributes[?(!@.a)]", ["nul", "none", "zero"]) == ["nul", "none"]


def test_unequal_holds_for_what_is_missing() -> None:
    assert _kept("$.attributes[?(@.a != 5)]", ["none", "num", "zero"]) == ["none", "zero"]
    assert _kept("$.attributes[?(@.a[0][2] < 0.5)]", ["none", "empty", "two", "doc"]) == ["two"]
    assert _kept("$.attributes.a[?(@.b != 5)]", ["none", "obj", "objf"]) == ["obj", "objf"]
    assert _kept("$.attributes[?(@.a.b != 5)]", ["none", "obj", "objf"]) == ["none", "obj", "objf"]


@pytest.mark.parametrize(
    ("rule", "names", "expected"),
    [
        (".attributes.a < 1", "none zero num", "none zero"),
        (".attributes.a == null", "none zero num empty doc", "none"),
        ("(.attributes.a > 1) | not", "none zero num", "none zero"),
        (".attributes?.a?[0]?[2]? < 0.5", "none empty two doc zs", "two zs"),
        (".attributes?.a?[0]?[2]? != 0.6", "none empty two doc zs", "two zs"),
        ("(.attributes?.a?[0]?[2]? > 0.5 | not)", "none empty two doc zs", "two zs"),
        ("(.attributes?.a?[0]?[2]? > 0.5) or (.attributes.a == null)", "none empty two doc zs", "doc"),
        ("(.attributes.a == null) or (.attributes?.a?[0]?[2]? > 0.5)", "none empty two doc zs", "none doc"),
        ("(.attributes?.a?[0]?[2]? > 0.5) and (.attributes.a != null)", "none empty two doc zs", "doc"),
        (".attributes?.a?.b? < 3", "none obj objf", "obj objf"),
        (".attributes?.a?.b? == null", "none obj objf", "obj"),
        (".attributes?.a?.b? != 1", "none obj objf", "obj"),
    ],
)
def test_a_jq_filter_that_yields_nothing_keeps_nothing(rule: str, names: str, expected: str) -> None:
    # Measured with 1.2.1's mixer; without `?` it gives up the file where one of these has no such place.
    assert _kept(rule, names.split()) == expected.split()
    assert _kept(rule.replace("?", ""), names.split()) == expected.split()


@pytest.mark.parametrize(
    ("rule", "expression"),
    [
        ("$.metadata[?(@.length < 500)]", "metadata.length < 500"),
        (
            "$.attributes[?(@.a.b == true || @.c[0][2] > 1 && !@.d)]",
            "a.b == true or first_score(c) > 1 and d is missing",
        ),
        ("$[?(@.source == 'x')]", 'source == "x"'),
        ("$.attributes[?(@['odd-name'][0][2] >= 1e-1)]", "first_score(`odd-name`) >= 0.1"),
        (
            "(.metadata.a == null) or (.metadata.b >= 3)",
            "metadata is present and metadata.a is missing or metadata.b >= 3",
        ),
        (
            '(.attributes.x__y__z | if type == "array" and length > 0 and .[0] != null and .[0][2] != null '
            "then .[0][2] < 0.8 else false end)",
            "first_score(x__y__z) < 0.8",
        ),
    ],
)
def test_filters_as_expressions(rule: str, expression: str) -> None:
    assert render(from_jq(rule) if rule.startswith(("(", ".")) else from_jsonpath(rule)) == expression


@pytest.mark.parametrize(
    "rule",
    ["", "attributes", "$.attributes[?(@.a[1][2] > 3)]", "$.attributes[?(@.a >)]", "$.attributes[?(@.a > 3]",
     "$.attributes[?(__import__('os'))]", "$.other[?(@.a > 3)]"],
)  # fmt: skip
def test_what_is_not_understood_is_said(rule: str) -> None:
    with pytest.raises(DolmaFilterError):
        from_jsonpath(rule)


def test_unsupported_jq_is_said() -> None:
    for rule in (
        ".attributes.a",
        ".attributes.a > 3 | length",
        "[.attributes[] | select(. > 3)]",
        ".attributes.a | length > 3",
    ):
        with pytest.raises(DolmaFilterError):
            from_jq(rule)


def test_span_selectors() -> None:
    assert spans_column("$.attributes.pii.email") == "pii.email"
    assert spans_column(".attributes?.pii?.email?") == "pii.email"
    for selector in ("$.attributes.a[0]", "$.attributes.a | first", "$.attributes.*", "$", ""):
        with pytest.raises(DolmaFilterError):
            spans_column(selector)


# --- Dolma's golden outputs ---------------------------------------------------------------------------------------


def _configuration(name: str) -> dict[str, Any]:
    """A configuration of Dolma's tests; the two that are not among the data differ in these fields only."""
    base = "email-spans" if name in ("email-spans-jq", "remove-paragraphs") else name
    found: dict[str, Any] = json.loads((DATA / "config" / f"{base}.json").read_text())
    (stream,) = found["streams"]
    if name == "email-spans-jq":
        for rule, kind in zip(stream["span_replacement"], ("email", "company_name"), strict=True):
            rule |= {"span": f".attributes?.pii?.{kind}?", "syntax": "jq", "max_score": 0.9}
    if name == "remove-paragraphs":
        rule = {"span": "$.attributes.bff_duplicate_paragraph_spans", "min_score": 0.5, "replacement": ""}
        stream |= {"attributes": ["duplicate_paragraphs"], "span_replacement": [rule]}
    return found


@needs_data
@pytest.mark.parametrize("name", ["mixer", "email-spans", "email-spans-jq", "filter-by-spans", "remove-paragraphs"])
def test_golden_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "tests" / "data").mkdir(parents=True)
    (tmp_path / "tests" / "data" / "provided").symlink_to(DATA / "provided")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.json").write_text(json.dumps(_configuration(name)))
    imported = import_dolma(tmp_path / "c.json")
    assert imported.findings == []
    summary = mix(imported.mixture, tmp_path / "out")
    got = []
    for file in summary.files:
        with gzip.open(tmp_path / "out" / file, "rt") as rows:
            got += [json.loads(row) for row in rows]
    with gzip.open(DATA / "expected" / f"{name}.json.gz", "rt") as rows:
        expected = [json.loads(row) for row in rows]
    last = 0
    for row in got:
        # Ours beside Dolma's fields: where the bytes of the document are, and a provenance that says more.
        assert set(row.pop("origin")) == {"file", "start", "end"}
        provenance = row["metadata"].pop("provenance")
        assert provenance["file"] == "000.json.gz"
        assert provenance["row"] > last
        last = provenance["row"]
        if not row["metadata"]:
            del row["metadata"]
    assert got == expected


@needs_data
@pytest.mark.parametrize("name", ["v1_5_mixing_c4", "v1_5_mixing_cc-head"])
def test_the_three_dead_rules_of_published_files_are_found_and_fixed(name: str) -> None:
    path = DATA / "published_recipes" / f"{name}.yaml"
    imported = import_dolma(path)
    misspelt = [finding for finding in imported.findings if finding.kind == "misspelt"]
    assert [finding.message.split("'")[1] for finding in misspelt] == [
        f"fraction_of_characters_in_most_common_{n}gram" for n in (2, 3, 4)
    ]
    assert all(finding.dead and not finding.fixed for finding in misspelt)
    assert any(finding.kind == "broken_path" for finding in imported.findings)
    fixed = import_dolma(path, fix=True)
    assert all(finding.fixed for finding in fixed.findings if finding.dead)
    names = [rule for rule in fixed.mixture.streams[0].filter.exclude if "most_common" in rule]
    assert names == [
        f"first_score(gopher_rules__gopher_v1__fraction_of_characters_in_most_common_{n}grams) > {x}"
        for n, x in ((2, 0.2), (3, 0.18), (4, 0.16))
    ]


@needs_data
def test_sets_that_are_tested_and_not_read() -> None:
    imported = import_dolma(DATA / "published_recipes" / "v1_5_mixing_c4.yaml")
    unread = {finding.message.split("'")[1] for finding in imported.findings if finding.kind == "set_not_read"}
    assert unread == {"gopher_rules", "pii_detection", "hatespeech_nsfw_cc_v3"}
    head = import_dolma(DATA / "published_recipes" / "v1_5_mixing_cc-head.yaml")
    assert not [finding for finding in head.findings if finding.kind == "set_not_read"]
    fixed = import_dolma(DATA / "published_recipes" / "v1_5_mixing_c4.yaml", fix=True)
    assert unread < set(fixed.mixture.streams[0].attributes)


@needs_data
def test_every_published_file_is_read_whole() -> None:
    for path in sorted((DATA / "published_recipes").glob("*.yaml")):
        imported = import_dolma(path)
        assert not [f for f in imported.findings if f.kind in ("not_understood", "ignored")], path
    wiki = import_dolma(DATA / "published_recipes" / "v1_6_mixing_wiki.yaml").mixture.streams[0]
    assert wiki.minimum_text_bytes == 1
    assert len(wiki.filter.exclude) == 2


def _file(tmp_path: Path, **stream: Any) -> Path:
    entry = {"name": "s", "documents": ["d/*.gz"], "attributes": ["x"], "output": {"max_size_in_bytes": 10}} | stream
    (tmp_path / "c.json").write_text(json.dumps({"streams": [entry]}))
    return tmp_path / "c.json"


def test_findings_of_other_kinds(tmp_path: Path) -> None:
    rules = [
        "$.attributes[?(@.x__gopher_v1__fraction_of_duplicate_lines[0][2] > 30)]",
        "$.attributes[?(@.x__gopher_v1__word_count > 50)]",
        "$.attributes[?(@.x__gopher_v1__word_count[0][2] >= 0)]",
        "$.attributes[?(what)]",
    ]
    imported = import_dolma(_file(tmp_path, filter={"exclude": rules}, colour="red"))
    assert {finding.kind: finding.dead for finding in imported.findings} == {
        "ignored": False, "unreachable": True, "span_as_number": True, "always": False, "not_understood": False,
        "whole_number": False,
    }  # fmt: skip


def test_documents_listed_twice_come_twice(tmp_path: Path) -> None:
    assert import_dolma(_file(tmp_path, documents=["a", "a", "b", "b"])).mixture.streams[0].repeat == 2
    with pytest.raises(DolmaImportError, match="split the stream"):
        import_dolma(_file(tmp_path, documents=["a", "a", "b"]))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("documents: [a]\n")
    with pytest.raises(DolmaImportError, match="no list 'streams'"):
        import_dolma(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("streams: [!!python/object/apply:os.system ['true']]\n")
    with pytest.raises(ValueError, match="not readable"):
        import_dolma(tmp_path / "c.yaml")


def test_settings_that_dolma_refuses_or_reads_otherwise(tmp_path: Path) -> None:
    for stream in (
        {"filter": {"include": [], "syntax": "sql"}},
        {"span_replacement": [{"span": "$.a", "syntax": "x"}]},
    ):
        with pytest.raises(DolmaImportError, match="there is no syntax"):
            import_dolma(_file(tmp_path, **stream))
    stream = import_dolma(
        _file(tmp_path, name="a b/c", documents=["p/documents/*"], attributes=["x", "deep/y"])
    ).mixture
    assert (stream.streams[0].name, stream.streams[0].attributes) == ("a_b_c", ("x", "p/attributes/deep/y"))
    with pytest.raises(DolmaImportError, match="2 places: split the stream"):
        import_dolma(_file(tmp_path, documents=["p/documents/*", "q/documents/*"], attributes=["deep/y"]))


def test_a_replacement_is_read_from_the_row(tmp_path: Path) -> None:
    for kind, rows in {
        "documents": [{"id": str(n), "text": "abcd", "metadata": {"tag": tag}} for n, tag in enumerate(["<{}>", "é"])],
        "attributes/x": [{"id": str(n), "attributes": {"a": [[1, 2, 1]]}} for n in range(2)],
    }.items():
        (tmp_path / kind).mkdir(parents=True)
        (tmp_path / kind / "0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents = {"documents": [f"{tmp_path}/documents/0.jsonl"], "output": {"max_size_in_bytes": 1 << 20}}
    rule = {"span": "$.attributes.a", "min_score": 0.5, "replacement": "$.metadata.tag"}
    summary = mix(import_dolma(_file(tmp_path, **documents, span_replacement=[rule])).mixture, tmp_path / "out")
    made = gzip.decompress((tmp_path / "out" / summary.files[0]).read_bytes()).splitlines()
    assert [json.loads(row)["text"] for row in made] == ["a<{}>cd", "aécd"]
    rule["replacement"] = "$.metadata.gone"
    with pytest.raises(MixtureError, match=r"0.jsonl row 1 \(id '0'\) has no text 'metadata.gone'"):
        mix(import_dolma(_file(tmp_path, **documents, span_replacement=[rule])).mixture, tmp_path / "other")
    rule["replacement"] = "$.text | ascii_upcase"
    (finding,) = import_dolma(_file(tmp_path, **documents, span_replacement=[rule])).findings
    assert finding.kind == "not_understood"


@pytest.mark.parametrize(
    "stream",
    [
        {"attributes": "quality"}, {"attributes": [5]}, {"filter": ["x"]}, {"filter": {"include": "$.a"}},
        {"output": "x"}, {"output": {"discard_fields": "added"}}, {"span_replacement": {"span": "$.a"}},
        {"span_replacement": ["x"]}, {"compression": "gz"}, {"compression": {"output": ["gz"]}}, {"documents": []},
        {"documents": [None]},
    ],
)  # fmt: skip
def test_a_part_of_the_wrong_shape_is_refused_in_one_line(tmp_path: Path, stream: dict[str, Any]) -> None:
    with pytest.raises(DolmaImportError) as told:
        import_dolma(_file(tmp_path, **stream))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "rule",
    [
        f"$.attributes[?({'(' * 5000}@.a > 1{')' * 5000})]", f"$.attributes[?({'!' * 5000}@.a)]",
        "$.attributes[?(@.a > 1e999)]", "$.attributes[?(@.a == '\\x')]", "$.attributes[?(@.a == '\\ud800')]",
        "$.attributes[?(@.['a`b'] == 1)]",
        " or ".join(f".attributes?.a{number}?[0]?[2]? > 1" for number in range(300)),
    ],
)  # fmt: skip
def test_a_filter_without_an_end_is_not_understood(rule: str) -> None:
    with pytest.raises(DolmaFilterError):
        from_jq(rule) if rule.startswith(".") else from_jsonpath(rule)
