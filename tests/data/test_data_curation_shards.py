"""Curation of many shards: the same bytes on any executor and after kills, ids and duplicates across shards."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glasshouse.data.corpus import CorpusDirectory
from glasshouse.data.curation.configuration import Curation, CurationError, CutSpans, EmptyCorpusError
from glasshouse.data.curation.curate import curate
from glasshouse.data.curation.rules import Rule, RuleSet, UnknownSignalError, UnreachableRuleError, rule
from glasshouse.data.deduplication.methods import exact, minhash
from glasshouse.data.document import strings
from glasshouse.data.executor import RayTasks, Threads
from glasshouse.data.quarantine import Quarantine
from glasshouse.data.resumption import BusyDirectoryError, OwnInputError
from glasshouse.data.signals.families import default_families, family
from glasshouse.data.signals.measuring import SignalsMismatchError, measure_signals
from glasshouse.data.signals.signal import SPANS
from glasshouse.data.signals.signal import count as count_signal
from glasshouse.data.signals.signal import spans as spans_signal
from glasshouse.data.sources.inputs import InputShard, plan_inputs
from glasshouse.store.configuration import Config

WORDS = "the of and that river window market garden letter engine village summer winter doctor teacher season".split()  # noqa: SIM905


def prose(seed, words=90):
    draw = random.Random(seed)
    lines = [
        " ".join(draw.choice(WORDS) + str(draw.randrange(50)) * draw.randrange(2) for _ in range(15))
        for _ in range(words // 15)
    ]
    return "\n".join(f"{line} to be." for line in lines)


def write_inputs(folder, files=5, rows=30):
    """Shards with planted exact duplicates, repeated ids, personal information, short rows and damage."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        lines = []
        for row in range(rows):
            text = prose(number * 1000 + row)
            if row == 3:
                text = prose(10**9)  # in every shard: all but the first are duplicates
            if row == 5:
                text += f" Write to jane{number}@example.com."
            if row == 9:
                text = "too short"
            name = "the same id" if row == 11 else f"{number}-{row}"
            lines.append(json.dumps({"id": name, "text": text, "source": "web"}))
        lines.insert(4, "{broken")
        (folder / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def digests(directory):
    files = sorted(path for path in Path(directory).rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return plan_inputs([str(write_inputs(tmp_path_factory.mktemp("in")))])


@pytest.fixture(scope="module")
def once(inputs, tmp_path_factory):
    home = tmp_path_factory.mktemp("once") / "out"
    return home, curate(inputs, home)


def test_counts_add_up_across_shards(once):
    home, summary = once
    assert summary.input == 5 * 31
    assert summary.quarantine_reasons == {"duplicate_id": 4, "invalid_json": 5}
    assert summary.stages["exact"].documents == 4
    assert summary.stages["rules"].documents == 5
    assert summary.kept.documents == 5 * 30 - 4 - 4 - 5
    corpus = CorpusDirectory(home)
    assert sum(batch.num_rows for batch in corpus.batches()) == summary.kept.documents
    assert corpus.signals(["id"]).num_rows == summary.documents.documents
    assert len(corpus.quarantined) == summary.quarantined == 9
    kept = [name for batch in corpus.batches() for name in strings(batch, "id")]
    assert kept.count("the same id") == 1
    assert "0-3" in kept
    removed = {row["id"]: row for row in corpus.removed().to_pylist()}
    assert {removed[f"{n}-3"]["duplicate_of"] for n in range(1, 5)} == {"0-3"}


@pytest.mark.parametrize("workers", [2, 4])
def test_threads_give_the_same_bytes(inputs, once, tmp_path, workers):
    curate(inputs, tmp_path / "out", executor=Threads(workers))
    assert digests(tmp_path / "out") == digests(once[0])


def test_ray_gives_the_same_bytes(inputs, once, tmp_path):
    pytest.importorskip("ray")
    with RayTasks(2) as cluster:
        curate(inputs, tmp_path / "out", executor=cluster)
        measure_signals(inputs, tmp_path / "signals", executor=cluster)
    measure_signals(inputs, tmp_path / "signals-threads", executor=Threads(2))
    assert digests(tmp_path / "out") == digests(once[0])
    assert digests(tmp_path / "signals") == digests(tmp_path / "signals-threads")


def test_errors_on_ray_are_the_functions_own():
    pytest.importorskip("ray")
    with RayTasks(2) as cluster, pytest.raises(ZeroDivisionError):
        list(cluster.map(_inverse, [1, 0]))


def _inverse(number):
    return 1 / number


PROGRAM = """
import sys, time
from pathlib import Path
from glasshouse.data.curation import judging, finishing
from glasshouse.data.curation.curate import curate
from glasshouse.data.executor import Threads
from glasshouse.data.signals.signal import SPANS
from glasshouse.data.signals.signal import count as count_signal
from glasshouse.data.signals.signal import spans as spans_signal
from glasshouse.data.resumption import BusyDirectoryError, OwnInputError
from glasshouse.data.sources.inputs import InputShard, plan_inputs
curate(plan_inputs([sys.argv[1]]), Path(sys.argv[2]), executor=Threads(2), progress=lambda size: time.sleep(0.05))
"""


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(inputs, once, tmp_path):
    folder = str(Path(inputs[0].path).parent)
    draw = random.Random(0)
    kills = 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, folder, str(tmp_path / "out")])
        deadline = time.monotonic() + 60
        started = 1 + draw.randrange(3)  # finished shards to wait for before the kill
        while time.monotonic() < deadline and process.poll() is None:
            if len(list((tmp_path / "out" / "work").glob("*/?????"))) > kills + started - 1:
                break
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        if (tmp_path / "out" / "summary.json").exists():
            break
    assert kills
    if not (tmp_path / "out" / "summary.json").exists():
        curate(inputs, tmp_path / "out", executor=Threads(2))
    assert digests(tmp_path / "out") == digests(once[0])


def test_finished_shards_are_not_judged_again(inputs, tmp_path, monkeypatch):
    from glasshouse.data.curation import curate as module

    seen = []
    true = module.judge

    def counting(batch, *rest):
        seen.append(batch.num_rows)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return true(batch, *rest)

    monkeypatch.setattr(module, "judge", counting)
    with pytest.raises(KeyboardInterrupt):
        curate(inputs, tmp_path / "out")
    curate(inputs, tmp_path / "out")
    assert len(seen) == 4 + 2


def test_a_changed_configuration_or_file_is_done_again(tmp_path):
    folder = write_inputs(tmp_path / "in", files=2)
    keep = RuleSet(name="mine", rules=(Rule(signal="word_count", operator="<", threshold=50),))
    from glasshouse.data.curation import curate as module

    stop = {"at": module._into_place}

    def killed(*arguments):
        stop["at"](*arguments)
        raise KeyboardInterrupt

    module._into_place = killed
    try:
        with pytest.raises(KeyboardInterrupt):
            curate(plan_inputs([str(folder)]), tmp_path / "out", Curation(keep=keep), shard_bytes=500)
    finally:
        module._into_place = stop["at"]
    (folder / "1.jsonl").write_text(json.dumps({"id": "new", "text": prose(99)}) + "\n")
    curate(plan_inputs([str(folder)]), tmp_path / "out", Curation(keep=None, deduplicate=()))
    curate(plan_inputs([str(folder)]), tmp_path / "fresh", Curation(keep=None, deduplicate=()))
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_measured_signals_are_used_and_checked(inputs, once, tmp_path):
    about = measure_signals(inputs, tmp_path / "signals", executor=Threads(2))
    assert about["documents"] == 5 * 30
    assert about["quarantined"] == 5
    curate(inputs, tmp_path / "out", signals=tmp_path / "signals")
    assert digests(tmp_path / "out") == digests(once[0])
    with pytest.raises(SignalsMismatchError, match="not with"):
        curate(inputs, tmp_path / "b", Curation(families=(family("core"),)), signals=tmp_path / "signals")
    with pytest.raises(SignalsMismatchError, match="other files"):
        curate(inputs[:2], tmp_path / "c", signals=tmp_path / "signals")
    with pytest.raises(FileExistsError, match="finished signals"):
        measure_signals(inputs, tmp_path / "signals")


def test_columns_carry_their_documentation(inputs, tmp_path):
    measure_signals(inputs[:1], tmp_path / "s", default_families())
    field = pq.read_schema(tmp_path / "s" / "signals-00000.parquet").field("word_count")
    assert field.metadata[b"unit"] == b"words"
    assert b"2112.11446" in field.metadata[b"citation"]


class Pieces:
    def __init__(self, counts, keys):
        self.counts, self.keys = counts, keys


class Lines(Config):
    """Cuts lines that occurred before: a method on pieces, as simple as can be."""

    name: Literal["lines"] = "lines"

    def sign(self, batch):
        texts = [text.split("\n") for text in strings(batch, "text")]
        keys = [int.from_bytes(hashlib.sha256(line.encode()).digest()[:8], "big") for lines in texts for line in lines]
        return Pieces(np.array([len(lines) for lines in texts], np.int64), np.array(keys, np.uint64))

    def repeated(self, keys, executor=None):
        seen, flags = set(), []
        for key in (int(key) for part in keys for key in part):
            flags.append(key in seen)
            seen.add(key)
        return np.array(flags, bool)

    def spans(self, batch, repeated):
        found, at = [], 0
        for text in strings(batch, "text"):
            spans, start = [], 0
            for line in text.split("\n"):
                if repeated[at]:
                    spans.append((start, start + len(line), 1.0))
                start, at = start + len(line) + 1, at + 1
            found.append(spans)
        return found


def test_repeated_pieces_are_cut_after_duplicates_are_gone(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [
        ("a", "one\ntwo"),
        ("b", "one\ntwo"),
        ("c", "two\nthree"),
        ("d", "one"),
        ("e", "four jane@example.com\none"),
    ]
    for number in range(0, 5, 2):
        lines = [json.dumps({"id": name, "text": text}) for name, text in rows[number : number + 2]]
        (folder / f"{number}.jsonl").write_text("\n".join(lines))
    curation = Curation(keep=None, deduplicate=(exact(), Lines()))
    summary = curate(plan_inputs([str(folder)]), tmp_path / "out", curation, executor=Threads(2))
    corpus = CorpusDirectory(tmp_path / "out")
    kept = {row["id"]: row["text"] for batch in corpus.batches() for row in batch.to_pylist()}
    assert kept == {"a": "one\ntwo", "c": "\nthree", "e": "four |||EMAIL_ADDRESS|||\n"}
    assert {row["id"]: row["stage"] for row in corpus.removed().to_pylist()} == {"b": "exact", "d": "lines"}
    assert (summary.cut_spans, summary.cut_bytes) == ({"lines": 3}, {"lines": 9})
    assert summary.kept.documents + summary.removed.documents == 5


def test_an_impossible_curation_is_refused():
    with pytest.raises(CurationError, match="come after"):
        Curation(deduplicate=(Lines(), exact())).check()
    with pytest.raises(CurationError, match="same name"):
        Curation(deduplicate=(minhash(), minhash(seed=1))).check()
    with pytest.raises(CurationError, match="not a method"):
        Curation(deduplicate=(family("core"),)).check()


class Shouted(Config):
    """Spans of words in capitals, scored by their length: a family of signals, as simple as can be."""

    name: Literal["shouted"] = "shouted"

    @property
    def signals(self):
        return (
            spans_signal("shouted_spans", "words in capitals", "none"),
            count_signal("letters", "characters", "n", "none"),
        )

    def compute(self, batch):
        texts = strings(batch, "text")
        found = [
            [(m.start(), m.end(), (m.end() - m.start()) / 10) for m in re.finditer(r"\b[A-Z]{2,}\b", t)] for t in texts
        ]
        rows = [[{"start": a, "end": b, "score": s} for a, b, s in spans] for spans in found]
        return [pa.array(rows, SPANS), pa.array([len(t) for t in texts], pa.int64())]


def test_spans_are_cut_out_of_what_is_kept(tmp_path):
    rows = [
        ("a", "Ännounce: HURRY NOW to jane@example.com please"),
        ("b", "LOUDEST"),
        ("c", "so ME@example.com AND"),
        ("d", "HI"),
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"id": name, "text": text}) for name, text in rows))
    curation = Curation(keep=None, families=(Shouted(),), cut=(CutSpans(signal="shouted_spans", minimum_score=0.3),))
    summary = curate(plan_inputs([str(tmp_path / "in.jsonl")]), tmp_path / "out", curation)
    corpus = CorpusDirectory(tmp_path / "out")
    kept = {row["id"]: row["text"] for batch in corpus.batches() for row in batch.to_pylist()}
    assert kept == {"a": "Ännounce:   to |||EMAIL_ADDRESS||| please", "c": "so |||EMAIL_ADDRESS||| ", "d": "HI"}
    assert [(row["id"], row["stage"], row["rule"]) for row in corpus.removed().to_pylist()] == [
        ("b", "cut", "nothing left after cut")
    ]
    assert (summary.cut_spans, summary.cut_bytes) == ({"cut": 3}, {"cut": 11})
    with pytest.raises(CurationError, match="measured are: shouted_spans"):
        Curation(keep=None, families=(Shouted(),), cut=(CutSpans(signal="letters"),)).check()


def test_one_run_at_a_time(inputs, tmp_path):
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(str(tmp_path / "out" / "work.lock")), pytest.raises(BusyDirectoryError, match="another run"):
        curate(inputs, tmp_path / "out")
    curate(inputs, tmp_path / "out")
    assert not (tmp_path / "out" / "work.lock").exists()


def test_results_do_not_go_where_inputs_are(tmp_path):
    folder = write_inputs(tmp_path / "in", files=1)
    for home in (folder, tmp_path):
        with pytest.raises(OwnInputError, match="holds the input"):
            curate(plan_inputs([str(folder)]), home)


def test_what_went_wrong_can_be_seen_when_nothing_is_left(tmp_path):
    (tmp_path / "in.jsonl").write_text('[]\n{"id": "a", "text": "write to secret.person@example.com"\n')
    with pytest.raises(EmptyCorpusError, match=r"see .*quarantine\.jsonl"):
        curate(plan_inputs([str(tmp_path / "in.jsonl")]), tmp_path / "out")
    kept = (tmp_path / "out" / "quarantine.jsonl").read_text()
    assert "|||EMAIL_ADDRESS|||" in kept
    assert "secret.person" not in kept
    (tmp_path / "short.jsonl").write_text('{"id": "a", "text": "short"}\n')
    with pytest.raises(EmptyCorpusError, match="removed-00000"):
        curate(plan_inputs([str(tmp_path / "short.jsonl")]), tmp_path / "gone")
    assert pq.read_table(tmp_path / "gone" / "removed-00000.parquet").num_rows


def test_repeated_ids_name_the_file_and_the_place(once):
    corpus = CorpusDirectory(once[0])
    records = [record for record in corpus.quarantined if record["reason"] == "duplicate_id"]
    assert [record["file"] for record in records] == [f"{number}.jsonl" for number in range(1, 5)]
    line = Path(corpus.located(records[0]["file"])).read_bytes()[records[0]["offset"] :].partition(b"\n")[0]
    assert json.loads(line)["id"] == "the same id"


def test_only_masks_in_kept_documents_count(tmp_path):
    rows = [{"id": name, "text": f"{prose(1)} jane@example.com"} for name in ("a", "b")]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    summary = curate(plan_inputs([str(tmp_path / "in.jsonl")]), tmp_path / "out")
    assert (summary.masked_spans, summary.masked_documents) == ({"EMAIL_ADDRESS": 1}, 1)
    assert summary.stages["exact"].documents == 1


@pytest.mark.parametrize(
    "text", ["symbol_to_word_ratio > 3", "word_count < 0", "word_count == -1", "has_javascript > 1"]
)
def test_a_rule_that_can_never_fire_is_refused(text):
    with pytest.raises(UnreachableRuleError, match="never remove"):
        Curation(keep=RuleSet(name="r", rules=(rule(text),))).check()


def test_a_signal_of_another_family_is_told():
    with pytest.raises(UnknownSignalError, match="measured by the family 'pii'"):
        Curation(keep=RuleSet(name="r", rules=(rule("email_count > 0"),))).check()


def test_a_saved_filter_that_changed_after_a_kill_is_asked_again(tmp_path, monkeypatch):
    from glasshouse.data.curation import curate as module
    from glasshouse.data.deduplication.bloom import BloomFilter, BloomLookup
    from glasshouse.data.deduplication.bloom_file import save
    from glasshouse.data.deduplication.methods import paragraphs

    (tmp_path / "in.jsonl").write_text(json.dumps({"id": "a", "text": f"{prose(1)}\n{prose(2)}"}))
    shards = plan_inputs([str(tmp_path / "in.jsonl")])
    known = BloomFilter(expected=100, false_positive_rate=1e-6)
    known.add(paragraphs().sign(next(shards[0].batches(Quarantine()))).keys[:3])
    save(known, tmp_path / "known.bloom")
    curation = Curation(keep=None, deduplicate=(paragraphs().but(filter=BloomLookup(file=tmp_path / "known.bloom")),))
    with monkeypatch.context() as patched:
        patched.setattr(module, "_into_place", lambda *arguments: (_ for _ in ()).throw(InterruptedError))
        with pytest.raises(InterruptedError):
            curate(shards, tmp_path / "out", curation)
    save(BloomFilter(expected=100, false_positive_rate=1e-6), tmp_path / "known.bloom")
    assert curate(shards, tmp_path / "out", curation).cut_spans == {}
    (tmp_path / "known.bloom").unlink()
    with pytest.raises(CurationError, match=r"looks up in the Bloom filter .*known\.bloom, which is no file"):
        curate(shards, tmp_path / "other", curation)


def test_a_shard_that_nobody_planned_is_measured_and_known_again(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": str(n), "text": prose(n)}) + "\n" for n in range(3)))
    shards = [InputShard(path=str(path), size=path.stat().st_size, form="jsonl")]
    about = measure_signals(shards, tmp_path / "signals", default_families())
    assert about["documents"] == 3
    summary = curate(shards, tmp_path / "out", Curation(keep=None), signals=tmp_path / "signals")
    assert summary.kept.documents == 3
