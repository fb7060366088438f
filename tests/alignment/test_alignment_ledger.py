"""The ledger keeps every query, heals a torn end, refuses damage, and gives preferences and Arrow tables."""

import dataclasses
import resource

import orjson
import pyarrow.parquet as pq
import pytest

from glasshouse.alignment.ledger import Ledger, LedgerError, Query
from glasshouse.language.conversations import Preference


def query(number: int, answer: float | None = 1.0, **changes) -> Query:
    known = Query(f"p{number}", f"yes {number}", "no", "double_ts", 7, {"variance": 0.25}, "simulator", answer, "why?")
    return dataclasses.replace(known, **changes)


def test_queries_come_back_as_they_were(tmp_path):
    asked = [query(0), query(1, 0.0), query(2, None), query(3, prompt="größer?\n\u2028")]
    Ledger(tmp_path / "a" / "queries.jsonl").append(asked[:2])
    ledger = Ledger(tmp_path / "a" / "queries.jsonl")
    ledger.append(asked[2:])
    assert list(ledger) == asked
    assert len(ledger) == len(Ledger(ledger.path)) == 4
    assert list(ledger.since(3)) == asked[3:]


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_torn_last_line_is_cut_off_and_told(tmp_path, cut):
    ledger = Ledger(tmp_path / "queries.jsonl")
    ledger.append([query(0), query(1)])
    content = ledger.path.read_bytes()
    ledger.path.write_bytes(content[:-cut])
    healed = Ledger(ledger.path)
    assert list(healed) == [query(0)]
    assert healed.healed == len(content) // 2 - cut
    healed.append([query(1)])
    assert ledger.path.read_bytes() == content


def test_what_could_not_be_written_whole_leaves_nothing(tmp_path):
    ledger = Ledger(tmp_path / "queries.jsonl")
    ledger.append([query(0)])
    content = ledger.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) + 40, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            ledger.append([query(1)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ledger.path.read_bytes() == content
    ledger.append([query(1)])
    assert list(ledger) == [query(0), query(1)]


def test_other_damage_is_refused_with_its_line(tmp_path):
    path = tmp_path / "queries.jsonl"
    Ledger(path).append([query(0), query(1)])
    lines = path.read_bytes().split(b"\n")
    for damaged in (b"{", b'{"prompt_id": "p"}', orjson.dumps(dataclasses.asdict(query(0)) | {"answer": 3})):
        path.write_bytes(b"\n".join([lines[0], damaged, lines[1], b""]))
        with pytest.raises(LedgerError, match=r"line 2 of the ledger .* is damaged"):
            list(Ledger(path))


def test_recording_again_appends_only_what_is_missing(tmp_path):
    ledger = Ledger(tmp_path / "queries.jsonl")
    ledger.record(0, [query(0), query(1)])
    before = ledger.path.read_bytes()
    ledger.record(1, [query(1), query(2)])
    ledger.record(0, [query(0)])
    assert list(ledger) == [query(0), query(1), query(2)]
    assert ledger.path.read_bytes().startswith(before)
    with pytest.raises(LedgerError, match=r"query 1 .* is not the one asked now"):
        ledger.record(1, [query(1, 0.0)])
    with pytest.raises(LedgerError, match="holds 3 queries, so number 5 cannot be next"):
        ledger.record(5, [query(5)])


def test_preferences_leave_out_what_prefers_nothing(tmp_path):
    ledger = Ledger(tmp_path / "queries.jsonl")
    ledger.append([query(0), query(1, 0.2), query(2, None), query(3, 0.5), query(4, first="no")])
    found = list(ledger.preferences())
    assert [(item.chosen, item.rejected) for item in found] == [("yes 0", "no"), ("no", "yes 1")]
    assert [Preference.of_row(row, row["about"]["prompt_id"]) for row in ledger.rows()] == found
    assert next(ledger.rows())["chosen"] == [{"role": "assistant", "content": "yes 0"}]


def test_a_parquet_file_has_every_column(tmp_path):
    ledger = Ledger(tmp_path / "queries.jsonl")
    ledger.append([query(0), query(1, None)])
    ledger.write_parquet(tmp_path / "queries.parquet")
    rows = pq.read_table(tmp_path / "queries.parquet").to_pylist()
    assert [Query(**row | {"why": dict(row["why"])}) for row in rows] == [query(0), query(1, None)]


def test_an_answer_out_of_range_is_no_query():
    with pytest.raises(LedgerError, match="prompt 'p0' has to lie in"):
        query(0, 1.5)
