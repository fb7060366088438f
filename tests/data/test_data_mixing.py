"""Mixing: books that add up, shares, copies, provenance, misaligned inputs, and the same bytes however it runs."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.cli.mixing import mix as mix_command
from glasshouse.data.curation.configuration import Curation
from glasshouse.data.curation.curate import curate
from glasshouse.data.curation.rules import RuleSet, rule
from glasshouse.data.executor import RayTasks, Threads
from glasshouse.data.mixing import mix as mixing
from glasshouse.data.mixing.alignment import MisalignedError
from glasshouse.data.mixing.checking import UnknownColumnError, UnreachableRuleError
from glasshouse.data.mixing.mix import mix
from glasshouse.data.mixing.mixture import Mixture, MixtureError, read_mixture
from glasshouse.data.mixing.sampling import Sampling, hashes_of, sampling_of_amounts, sampling_of_repeat
from glasshouse.data.mixing.summary import MixSummary
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.signals.measuring import SignalsMismatchError, measure_signals
from glasshouse.data.sources.inputs import plan_inputs
from glasshouse.data.sources.reading import read_documents
from glasshouse.store.configuration import ConfigurationError


def documents(folder: Path, shards: int = 3, rows: int = 40, source: str = "web") -> Path:
    """Shards of documents with attributes beside them: `score` is the row, `mail` a span over the first word."""
    random = np.random.default_rng(shards * 1000 + rows)
    for shard in range(shards):
        for kind in ("documents", "attributes/set"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        texts = [" ".join(["wörd"] * int(n)) for n in random.integers(1, 60, rows)]
        with gzip.open(folder / "documents" / f"{shard:03d}.jsonl.gz", "wt") as out:
            for row, text in enumerate(texts):
                metadata = {"row": row, "provenance": "before.gz:1"} if row == 3 else {"row": row}
                line = {
                    "id": f"{source}-{shard}-{row}",
                    "text": text,
                    "source": source,
                    "metadata": metadata,
                    "extra": 1,
                }
                out.write(json.dumps(line) + "\n")
        with gzip.open(folder / "attributes" / "set" / f"{shard:03d}.jsonl.gz", "wt") as out:
            for row, text in enumerate(texts):
                found = {"set__t__score": [[0, len(text), row / rows]], "set__t__mail": [[0, 4, 1.0]]}
                out.write(json.dumps({"id": f"{source}-{shard}-{row}", "attributes": found}) + "\n")
    return folder / "documents"


def rows_of(home: Path, summary: MixSummary) -> list[dict[str, Any]]:
    """All rows of a mixture."""
    found = []
    for file in summary.files:
        if file.endswith(".parquet"):
            found += [row | {"metadata": json.loads(row["metadata"])} for row in pq.read_table(home / file).to_pylist()]
            continue
        data = (home / file).read_bytes()
        if file.endswith(".gz"):
            data = gzip.decompress(data)
        elif file.endswith(".zst"):
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        found += [orjson.loads(line) for line in data.splitlines()]
    return found


def mixture_of(place: Path, form: str = "jsonl.gz", **stream: Any) -> Mixture:
    streams = [{"name": "web", "documents": [str(place)], "attributes": ["set"]} | stream]
    return Mixture(streams=streams, form=form)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["jsonl.gz", "jsonl.zst", "jsonl", "parquet"])
def test_documents_are_filtered_masked_and_told_where_they_come_from(tmp_path: Path, form: str) -> None:
    place = documents(tmp_path)
    stream = {
        "filter": {"include": ["set__t__score >= 25%", "metadata.row == 3"], "exclude": ["metadata.row == 20"]},
        "replace": [{"spans": "set__t__mail", "replacement": "<{}>", "minimum_score": 0.5}],
        "minimum_text_bytes": 30,
    }
    summary = mix(mixture_of(place, form, **stream), tmp_path / "out")
    expected = []
    for file in sorted(place.glob("*.gz")):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        for number, line in enumerate(gzip.decompress(file.read_bytes()).splitlines(), start=1):
            row = json.loads(line)
            place_in = row["metadata"]["row"]
            text = "<" + row["text"][:4] + ">" + row["text"][4:]
            if (place_in >= 10 or place_in == 3) and place_in != 20 and len(text.encode()) >= 30:
                expected.append((row["id"], text, file.name, number, digest))
    got = rows_of(tmp_path / "out", summary)
    told = [row["metadata"]["provenance"] for row in got]
    assert [
        (row["id"], row["text"], p["file"], p["row"], p["sha256"]) for row, p in zip(got, told, strict=True)
    ] == expected
    assert {(p["mixture"], p["stream"]) for p in told} == {(summary.mixture, "web")}
    assert {p.get("before") for p in told} == {None, "before.gz:1"}
    assert {row["source"] for row in got} == {"web"}
    assert ("extra" in got[0]) == (form != "parquet")
    (one,) = summary.streams
    assert one.rows == 120
    assert one.rows == one.quarantined + one.not_included + one.excluded + one.too_short + one.not_sampled + one.kept
    assert (one.not_included, one.excluded) == (27, 3)
    assert one.replaced == {"set__t__mail": 90}
    assert [rule.matched for rule in one.rules] == [90, 3, 3]
    assert not (tmp_path / "out" / "work").exists()


def _digests(home: Path) -> dict[str, str]:
    return {
        str(file.relative_to(home)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(home.rglob("*"))
        if file.is_file()
    }


def test_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    place = documents(tmp_path, shards=6)
    mixture = mixture_of(place, repeat=1.5).but(maximum_shard_bytes=2000)
    for workers in (1, 2, 4):
        mix(mixture, tmp_path / f"out{workers}", Threads(workers))
    one = _digests(tmp_path / "out1")
    assert len(one) > 8
    assert _digests(tmp_path / "out2") == one
    assert _digests(tmp_path / "out4") == one


@pytest.mark.slow
def test_the_same_bytes_on_ray(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    del ray
    mixture = mixture_of(documents(tmp_path, shards=4), repeat=1.5).but(maximum_shard_bytes=2000)
    mix(mixture, tmp_path / "threads")
    with RayTasks(2) as cluster:
        mix(mixture, tmp_path / "ray", cluster)
    assert _digests(tmp_path / "ray") == _digests(tmp_path / "threads")


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = documents(tmp_path, shards=4)
    mixture = mixture_of(place).but(maximum_shard_bytes=500)
    mix(mixture, tmp_path / "whole")
    done: list[str] = []
    real = mixing.mix_files

    def killed(task: Any, folder: Path) -> dict[str, Any]:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(task.files[0].shard.name)
        return real(task, folder)

    monkeypatch.setattr(mixing, "mix_files", killed)
    with pytest.raises(KeyboardInterrupt):
        mix(mixture, tmp_path / "out")
    assert not (tmp_path / "out" / "summary.json").exists()
    with pytest.raises(FileExistsError, match="no unfinished run of this mixture"):
        mix(mixture.but(seed=1), tmp_path / "out")
    again: list[str] = []
    monkeypatch.setattr(mixing, "mix_files", lambda task, folder: again.append(task.key()) or real(task, folder))
    mix(mixture, tmp_path / "out")
    assert len(again) == 2
    assert _digests(tmp_path / "out") == _digests(tmp_path / "whole")
    with pytest.raises(FileExistsError, match="finished mixture"):
        mix(mixture, tmp_path / "out")


def test_shards_hold_at_most_their_bytes_and_every_document_once(tmp_path: Path) -> None:
    place = documents(tmp_path)
    summary = mix(mixture_of(place).but(maximum_shard_bytes=1000), tmp_path / "out")
    sizes = []
    for file in summary.files:
        rows = [json.loads(line) for line in gzip.decompress((tmp_path / "out" / file).read_bytes()).splitlines()]
        sizes.append(sum(len(row["text"].encode()) for row in rows))
    assert max(sizes) <= 1000
    assert sum(sizes) == summary.bytes
    assert len({row["id"] for row in rows_of(tmp_path / "out", summary)}) == 120
    # A document larger than a shard has one of its own.
    summary = mix(mixture_of(place).but(maximum_shard_bytes=1), tmp_path / "single")
    assert len(summary.files) == 120


# --- shares and copies --------------------------------------------------------------------------------------------


def test_copies_have_ids_of_their_own_and_the_same_documents_come_every_time(tmp_path: Path) -> None:
    place = documents(tmp_path)
    rows = rows_of(tmp_path / "a", mix(mixture_of(place, repeat=2.5), tmp_path / "a"))
    counts: dict[str, int] = {}
    for row in rows:
        base, _, copy = row["id"].partition("#")
        counts[base] = counts.get(base, 0) + 1
        assert row["metadata"]["provenance"].get("copy") == (int(copy) if copy else None)
    assert len({row["id"] for row in rows}) == len(rows)
    assert set(counts.values()) == {2, 3}
    assert len(counts) == 120
    assert 0.3 < sum(count == 3 for count in counts.values()) / 120 < 0.7
    # Half of the documents by hash: those that come a third time above.
    half = rows_of(tmp_path / "b", mix(mixture_of(place, repeat=0.5), tmp_path / "b"))
    assert {row["id"] for row in half} == {name for name, count in counts.items() if count == 3}
    assert mix(mixture_of(place, repeat=0), tmp_path / "c").documents == 0
    seeded = Mixture(**(mixture_of(place, repeat=0.5).model_dump() | {"seed": 1}))
    assert {row["id"] for row in rows_of(tmp_path / "d", mix(seeded, tmp_path / "d"))} != {row["id"] for row in half}


def test_shares_by_bytes_are_reached(tmp_path: Path) -> None:
    web = documents(tmp_path / "w", shards=4, rows=200)
    code = documents(tmp_path / "c", shards=2, rows=150, source="code")
    streams = [{"name": "web", "documents": [str(web)]}, {"name": "code", "documents": [str(code)]}]
    for weights, total in (({"web": 0.8, "code": 0.2}, None), ({"web": 1, "code": 3}, 150_000)):
        mixture = Mixture(streams=streams, weights=weights, total=total)  # type: ignore[arg-type]
        summary = mix(mixture, tmp_path / f"out{total}")
        wanted = weights["web"] / sum(weights.values())
        assert summary.streams[0].share == pytest.approx(wanted, abs=0.004)
        if total is None:
            assert max(stream.repeat for stream in summary.streams) == 1
        else:
            assert summary.bytes == pytest.approx(total, rel=0.01)
            assert summary.streams[1].repeat > 1
        ids = [row["id"] for row in rows_of(tmp_path / f"out{total}", summary)]
        assert len(set(ids)) == len(ids)


def test_shares_by_documents_and_by_a_column(tmp_path: Path) -> None:
    web = documents(tmp_path / "w", rows=100)
    code = documents(tmp_path / "c", rows=100, source="code")
    streams = [
        {"name": name, "documents": [str(place)], "attributes": ["set"]} for name, place in (("w", web), ("c", code))
    ]
    counted = mix(Mixture(streams=streams, weights={"w": 3, "c": 1}, weigh_by="documents"), tmp_path / "n")  # type: ignore[arg-type]
    assert [stream.documents for stream in counted.streams] == [300, 100]
    weighed = Mixture(streams=streams, weights={"w": 1, "c": 3}, weigh_by="set__t__score")  # type: ignore[arg-type]
    kept = mix(weighed, tmp_path / "s")
    sums = {"w": 0.0, "c": 0.0}
    for row in rows_of(tmp_path / "s", kept):
        sums[row["metadata"]["provenance"]["stream"]] += row["metadata"]["row"] / 100
    assert sums["c"] / sums["w"] == pytest.approx(3, rel=0.05)
    with pytest.raises(MixtureError, match="no column 'tokens' to weigh by"):
        mix(weighed.but(weigh_by="tokens"), tmp_path / "t")


def test_a_share_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    place = documents(tmp_path, shards=1, rows=4)
    other = documents(tmp_path / "o", shards=1, rows=4, source="o")
    streams = [{"name": "a", "documents": [str(place)]}, {"name": "b", "documents": [str(other)]}]
    mixture = Mixture(streams=streams, weights={"a": 1, "b": 1}, total=1)  # type: ignore[arg-type]
    kinds = {warning.kind for warning in mix(mixture, tmp_path / "out").warnings}
    assert "share_missed" in kinds
    nothing = Mixture(
        streams=[streams[0] | {"filter": {"include": ["metadata.row > 99"]}}, streams[1]],  # type: ignore[list-item]
        weights={"a": 1, "b": 1},
    )
    with pytest.raises(MixtureError, match="nothing is left"):
        mix(nothing, tmp_path / "none")


@given(
    st.lists(st.floats(0.5, 100), min_size=1, max_size=30),
    st.floats(0.01, 4),
    st.integers(0, 5),
)
def test_the_nearest_amount_is_taken(amounts: list[float], factor: float, seed: int) -> None:
    hashes = hashes_of([str(n) for n in range(len(amounts))], seed, "s")
    wanted = factor * sum(amounts)
    sampling = sampling_of_amounts(hashes, np.array(amounts), wanted)
    copies = sampling.copies(hashes)
    assert abs(np.dot(copies, amounts) - wanted) <= max(amounts) / 2 + 1e-6
    assert max(copies) - min(copies) <= 1


def test_sampling_of_a_repeat() -> None:
    assert sampling_of_repeat(1) == Sampling(1, 0)
    assert sampling_of_repeat(0.25).repeat == 0.25
    hashes = hashes_of([str(n) for n in range(20_000)], 0, "s")
    assert np.mean(sampling_of_repeat(0.25).copies(hashes)) == pytest.approx(0.25, abs=0.01)


# --- inputs that do not fit together ------------------------------------------------------------------------------


def _attributes(place: Path, change: Any) -> None:
    path = place.parent / "attributes" / "set" / "001.jsonl.gz"
    rows = gzip.decompress(path.read_bytes()).splitlines()
    path.write_bytes(gzip.compress(b"\n".join(change(rows)) + b"\n"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[:-1], "ends after row 39, .*001.jsonl.gz goes on with row 40"),
        (lambda rows: [*rows, rows[0]], "goes on with row 41"),
        (lambda rows: rows[1:] + rows[:1], "row 1 is of id 'web-1-1', .*row 1 has id 'web-1-0'"),
        (lambda rows: [*rows[:7], b"{}", *rows[8:]], "row 8: a row must be an object"),
    ],
)
def test_attributes_that_are_not_those_of_the_documents(tmp_path: Path, change: Any, words: str) -> None:
    place = documents(tmp_path)
    _attributes(place, change)
    with pytest.raises(ValueError, match=words):
        mix(mixture_of(place), tmp_path / "out")
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_missing_file_of_attributes(tmp_path: Path) -> None:
    place = documents(tmp_path)
    (tmp_path / "attributes" / "set" / "002.jsonl.gz").unlink()
    with pytest.raises(MisalignedError, match=r"002.jsonl.gz has no attributes 'set': .* does not exist"):
        mix(mixture_of(place), tmp_path / "out")


def test_bad_rows_are_quarantined_and_keep_their_place_in_the_attributes(tmp_path: Path) -> None:
    place = documents(tmp_path)
    path = place / "001.jsonl.gz"
    rows = gzip.decompress(path.read_bytes()).splitlines()
    rows[5] = b'{"id": "web-1-5"}'
    rows[6] = b'{"id": "broken'
    rows[7] = rows[8].replace(b"web-1-8", b"web-1-7").replace(b'"row": 8', b'"row": 7')
    path.write_bytes(gzip.compress(b"\n".join(rows)))
    summary = mix(mixture_of(place, filter={"exclude": ["set__t__score == 0.2"]}), tmp_path / "out")
    (one,) = summary.streams
    assert (one.rows, one.quarantined, one.excluded, one.kept) == (120, 2, 3, 115)
    assert summary.quarantine_reasons == {"invalid_json": 1, "missing_text": 1}
    put_aside = [orjson.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_bytes().splitlines()]
    assert [(row["line"], row["reason"]) for row in put_aside] == [(6, "missing_text"), (7, "invalid_json")]
    # Every other row still has its own attributes: row 8 of each shard was excluded by its score.
    assert {row["metadata"]["row"] for row in rows_of(tmp_path / "out", summary)} == set(range(40)) - {8}


def test_a_truncated_file_gives_what_is_before_the_damage(tmp_path: Path) -> None:
    place = documents(tmp_path, shards=1, rows=4000)
    path = place / "000.jsonl.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    summary = mix(mixture_of(place, attributes=[]), tmp_path / "out")
    assert summary.quarantine_reasons == {"damaged_file": 1}
    assert 0 < summary.documents < 4000


def test_an_id_that_comes_twice_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n')
    summary = mix(mixture_of(tmp_path / "a.jsonl", attributes=[]), tmp_path / "out")
    assert summary.quarantine_reasons == {"duplicate_id": 1}
    assert summary.documents == 1


def test_spans_that_are_none(tmp_path: Path) -> None:
    place = documents(tmp_path)
    _attributes(place, lambda rows: [rows[0].replace(b"[0, 4, 1.0]", b"[4, 0, 1.0]"), *rows[1:]])
    with pytest.raises(MixtureError, match=r"001.jsonl.gz row 1 \(id 'web-1-0'\): attribute 'set__t__mail'"):
        mix(mixture_of(place, replace=[{"spans": "set__t__mail"}]), tmp_path / "out")


# --- rules against what there is ----------------------------------------------------------------------------------


def test_rules_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    place = documents(tmp_path)
    with pytest.raises(UnknownColumnError, match=r"stream 'web': .*did you mean set__t__score"):
        mix(mixture_of(place, filter={"exclude": ["set__t__scores > 1"]}), tmp_path / "out")
    rules = {"exclude": ["fraction_of_duplicate_lines > 30"]}
    with pytest.raises(UnreachableRuleError, match=r"did you mean 30%"):
        mix(mixture_of(place, measure=["core"], filter=rules), tmp_path / "out")
    with pytest.raises(UnknownColumnError, match="no spans 'set__t__male' to replace"):
        mix(mixture_of(place, replace=[{"spans": "set__t__male"}]), tmp_path / "out")
    rules = {"exclude": ["set__t__score > 1", "set__t__score == 'a'"]}
    with pytest.raises(ValueError, match="used as"):
        mix(mixture_of(place, filter=rules), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rules_that_did_nothing_or_everything_are_reported(tmp_path: Path) -> None:
    place = documents(tmp_path)
    rules = {"include": ["metadata.row < 100"], "exclude": ["metadata.rows > 3", "set__t__score > 2", "source == 'a'"]}
    summary = mix(mixture_of(place, filter=rules), tmp_path / "out")
    kinds = [(warning.kind, warning.rule) for warning in summary.warnings]
    assert ("matched_all", "metadata.row < 100") in kinds
    assert ("matched_none", "set__t__score > 2") in kinds
    assert ("never_present", "metadata.rows") in kinds
    assert [w["kind"] for w in orjson.loads((tmp_path / "out" / "summary.json").read_bytes())["warnings"]] == [
        kind for kind, _ in kinds
    ]
    assert summary.documents == 120
    mistyped = mix(mixture_of(place, filter={"exclude": ["metadata.provenance > 3"]}), tmp_path / "m")
    assert "mistyped" in {warning.kind for warning in mistyped.warnings}


# --- signals and corpora ------------------------------------------------------------------------------------------


def test_signals_measured_before_and_on_the_way_decide_the_same(tmp_path: Path) -> None:
    place = documents(tmp_path)
    measure_signals(plan_inputs(str(place)), tmp_path / "signals")
    rules = {"filter": {"exclude": ["word_count < 20 words"]}, "attributes": []}
    before = mix(mixture_of(place, signals=str(tmp_path / "signals"), **rules), tmp_path / "a")
    on_the_way = mix(mixture_of(place, measure=["core"], **rules), tmp_path / "b")
    ids = [row["id"] for row in rows_of(tmp_path / "a", before)]
    assert ids == [row["id"] for row in rows_of(tmp_path / "b", on_the_way)]
    assert 0 < len(ids) < 120
    assert all(len(row["text"].split()) >= 20 for row in rows_of(tmp_path / "a", before))
    (place / "003.jsonl.gz").write_bytes((place / "002.jsonl.gz").read_bytes())
    with pytest.raises(SignalsMismatchError, match="3 files"):
        mix(mixture_of(place, signals=str(tmp_path / "signals"), **rules), tmp_path / "c")


def test_a_curated_corpus_is_filtered_by_its_signals(tmp_path: Path) -> None:
    place = documents(tmp_path)
    keep = RuleSet(name="test", rules=(rule("word_count < 10"),))
    curate(plan_inputs(str(place)), tmp_path / "corpus", Curation(keep=keep, mask=None, deduplicate=()))
    mixture = mixture_of(tmp_path / "corpus", attributes=[], filter={"include": ["word_count < 30"]})
    summary = mix(mixture, tmp_path / "out")
    rows = rows_of(tmp_path / "out", summary)
    with Quarantine() as quarantine:
        texts = [text for batch in read_documents(place, quarantine) for text in batch.column("text").to_pylist()]
    assert [row["text"] for row in rows] == [text for text in texts if 10 <= len(text.split()) < 30]
    # Where the bytes are is that of the first file, not of the corpus.
    assert {row["origin"]["file"].rsplit("/", 1)[-1] for row in rows} == {f"{n:03d}.jsonl.gz" for n in range(3)}


# --- configuration and command ------------------------------------------------------------------------------------


def test_mixtures_from_files(tmp_path: Path) -> None:
    wanted = Mixture(streams=({"name": "a", "documents": ["d"], "filter": {"exclude": ["n < 3"]}},), seed=7)  # type: ignore[arg-type]
    (tmp_path / "m.yaml").write_text("seed: 7\nstreams:\n- name: a\n  documents: [d]\n  filter: {exclude: ['n < 3']}\n")
    (tmp_path / "m.toml").write_text(
        'seed = 7\n[[streams]]\nname = "a"\ndocuments = ["d"]\nfilter.exclude = ["n < 3"]\n'
    )
    (tmp_path / "m.json").write_text(wanted.model_dump_json())
    assert {read_mixture(tmp_path / f"m.{form}").fingerprint() for form in ("yaml", "toml", "json")} == {
        wanted.fingerprint()
    }
    (tmp_path / "m.yaml").write_text("streams: [")
    with pytest.raises(MixtureError, match="not readable"):
        read_mixture(tmp_path / "m.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"streams": [{"name": "a", "documents": []}]}, "documents"),
        ({"streams": [{"name": "a/b", "documents": ["d"]}]}, "name"),
        ({"streams": [{"name": "a", "documents": ["d"]}] * 2}, "two streams"),
        ({"weights": {"b": 1}}, "weights are for"),
        ({"weights": {"a": 0}}, "above 0"),
        ({"total": 5}, "a total needs weights"),
        ({"discard": ["text"]}, "cannot be left out"),
        ({"streams": [{"name": "a", "documents": ["d"], "filter": {"exclude": ["n <"]}}]}, "expected a number"),
        ({"sede": 1}, "no field 'sede'"),
    ],
)
def test_mixtures_that_make_no_sense(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Mixture(**({"streams": [{"name": "a", "documents": ["d"]}]} | change))


def test_the_command(tmp_path: Path) -> None:
    web, code = documents(tmp_path / "w"), documents(tmp_path / "c", source="code")
    run = CliRunner()
    done = run.invoke(mix_command, [str(web), "--exclude", "word_count < 20", "--out", str(tmp_path / "a"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["streams"][0]["rules"][0]["rule"] == "word_count < 20"
    paths = [f"web={web}", f"code={code}"]
    done = run.invoke(mix_command, [*paths, "--weights", "web=80%,code=20%", "--out", str(tmp_path / "b")])
    assert done.exit_code == 0, done.output
    assert "web: 120 rows in" in done.output
    done = run.invoke(mix_command, [str(web), "--exclude", "wordcount < 20", "--check"])
    assert isinstance(done.exception, UnknownColumnError)
    assert "did you mean word_count" in str(done.exception)
    rule_text = "$.attributes[?(@.set__gopher_v1__fraction_of_characters_in_most_common_2gram[0][2] > 0.2)]"
    stream = {"name": "s", "documents": [f"{web}/*.gz"], "attributes": ["set"], "filter": {"exclude": [rule_text]}}
    (tmp_path / "d.json").write_text(json.dumps({"streams": [stream]}))
    done = run.invoke(mix_command, ["--import-dolma", str(tmp_path / "d.json"), "--check"])
    assert done.exit_code == 1
    assert "did you mean 'fraction_of_characters_in_most_common_2grams'" in done.output
    done = run.invoke(mix_command, ["--import-dolma", str(tmp_path / "d.json"), "--fix", "--check"])
    assert done.exit_code == 0
    # What would be ignored is refused.
    for wrong in (
        [str(web)],
        [str(web), "--check", "--fix"],
        [str(web), "--check", "--total", "5"],
        ["--import-dolma", str(tmp_path / "d.json"), "--check", "--exclude", "n < 3"],
    ):
        assert run.invoke(mix_command, wrong).exit_code == 2


def test_no_document_comes_without_end(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"id": "1", "text": "abc"}\n')
    streams = tuple({"name": name, "documents": (f"{tmp_path}/in",)} for name in "ab")
    with pytest.raises(ConfigurationError, match="less than or equal to 1000"):
        Mixture(streams=({**streams[0], "repeat": 1e9},))
    with pytest.raises(MixtureError, match="would come 166,667 times"):
        mix(Mixture(streams=streams, weights={"a": 1, "b": 1}, total=1e6), tmp_path / "out")
    result = CliRunner().invoke(mix_command, ["a=x", "--weights", "a=1,a=2", "--out", f"{tmp_path}/out"])
    assert "'a' has two shares" in result.output


def test_a_result_among_its_own_inputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "1", "text": "abc"}\n')
    with pytest.raises(MixtureError, match="lies in the input"):
        mix(Mixture(streams=({"name": "a", "documents": (str(tmp_path),)},)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
