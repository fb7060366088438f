"""Every published form of conversations and preferences is read, and what cannot be is counted with its reason."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glasshouse.data.quarantine import Quarantine
from glasshouse.language.chat import ChatError, Message
from glasshouse.language.conversations import (
    Conversation,
    Preference,
    prompts_of,
    read_conversations,
    read_preferences,
    write_rows,
)

REAL = Path(__file__).resolve().parents[3] / "shared/data/preferences/hh_harmless_test.jsonl.gz"
USER, ANSWER = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
OTHER = {"role": "assistant", "content": "go away"}


def lines(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(reader, path, **options):
    quarantine = Quarantine()
    found = list(reader(path, quarantine, **options))
    assert quarantine.rows_seen == quarantine.rows_kept + quarantine.rows_quarantined
    assert len(found) == quarantine.rows_kept
    return found, quarantine


def test_conversations_in_every_form(tmp_path):
    rows = [
        {"messages": [USER, ANSWER]},
        {"prompt": "hi", "completion": "hello"},
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": [USER, ANSWER, USER], "completion": [ANSWER]},
    ]
    found, _ = read(read_conversations, lines(tmp_path / "a.jsonl", rows))
    assert {item.messages for item in found[:3]} == {(Message("user", "hi"), Message("assistant", "hello"))}
    assert [item.learn_from for item in found] == [0, 1, 1, 3]
    assert found[0].name == "a.jsonl:1"


def test_preferences_in_every_form(tmp_path):
    human = "\n\nHuman: hi\n\nAssistant: "
    rows = [
        {"prompt": "hi", "chosen": "hello", "rejected": "go away"},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]},
        {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": "hi", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"chosen": f"{human}hello", "rejected": f"{human}go away"},
    ]
    found, _ = read(read_preferences, lines(tmp_path / "a.jsonl", rows))
    assert {(item.prompt, item.chosen, item.rejected) for item in found} == {
        ((Message("user", "hi"),), "hello", "go away")
    }
    assert len(found) == 5
    assert prompts_of(found) == [(Message("user", "hi"),)]


@pytest.mark.parametrize(
    ("reader", "row", "reason"),
    [
        (read_conversations, "{ not json", "invalid_json"),
        (read_conversations, "[1]", "not_an_object"),
        (read_conversations, {"text": "x"}, "unknown_form"),
        (read_conversations, {"messages": [USER]}, "no_answer"),
        (read_conversations, {"messages": [{"role": "x", "content": "y"}]}, "bad_messages"),
        (read_conversations, {"prompt": [ANSWER], "completion": [USER]}, "no_answer"),
        (read_conversations, {"messages": [USER, ANSWER], "learn_from": "many"}, "bad_messages"),
        (read_preferences, {"prompt": "hi", "chosen": "a"}, "unknown_form"),
        (read_preferences, {"prompt": "hi", "chosen": "a", "rejected": "a"}, "same_answers"),
        (read_preferences, {"chosen": [USER, ANSWER], "rejected": [ANSWER, OTHER]}, "different_prompts"),
        (read_preferences, {"chosen": [ANSWER], "rejected": [OTHER]}, "no_prompt"),
        (read_preferences, {"chosen": [ANSWER, USER], "rejected": [ANSWER, {**USER, "content": "x"}]}, "no_answer"),
        (read_preferences, {"chosen": "hello", "rejected": "go away"}, "no_transcript"),
    ],
)
def test_bad_rows_are_put_aside_with_the_reason(tmp_path, reader, row, reason):
    good = {"messages": [USER, ANSWER], "prompt": "hi", "chosen": "a", "rejected": "b"}
    found, quarantine = read(reader, lines(tmp_path / "a.jsonl", [good, row, "", good]))
    assert len(found) == 2
    assert dict(quarantine.by_reason) == {reason: 1}
    assert quarantine.records[0]["line"] == 2


def test_role_markers_are_noted_or_put_aside(tmp_path):
    path = lines(tmp_path / "a.jsonl", [{"messages": [{**USER, "content": "x\n<|assistant|>\ny"}, ANSWER]}])
    found, quarantine = read(read_conversations, path)
    assert (len(found), quarantine.noted["role marker in content"]) == (1, 1)
    found, quarantine = read(read_conversations, path, role_markers="quarantine")
    assert (len(found), dict(quarantine.by_reason)) == (0, {"role_marker": 1})


def test_parquet_and_gzip_are_read_and_damage_is_counted(tmp_path):
    rows = [{"messages": [USER, ANSWER]}] * 3
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode())[:-20])
    (tmp_path / "c.parquet").write_bytes(b"PAR1 not a table")
    found, quarantine = read(read_conversations, [tmp_path / name for name in ("a.parquet", "b.jsonl.gz", "c.parquet")])
    assert len(found) >= 3
    assert dict(quarantine.by_reason) == {"damaged_file": 1, "unreadable_file": 1}


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("hi")
    with pytest.raises(ChatError, match=r"read from JSON Lines and Parquet"):
        list(read_conversations(tmp_path / "a.txt", Quarantine()))


def test_what_is_written_is_what_is_read(tmp_path):
    records = [
        Conversation((Message("user", "a"), Message("assistant", "b")), about={"task": "t"}),
        Conversation((Message("user", "a"), Message("assistant", "b"), Message("assistant", "c")), 2),
    ]
    assert write_rows(records, tmp_path / "a.jsonl") == 2
    found, _ = read(read_conversations, tmp_path / "a.jsonl")
    assert [(item.messages, item.learn_from, item.about) for item in found] == [
        (item.messages, item.learn_from, item.about) for item in records
    ]
    pair = Preference((Message("user", "a"),), "b", "c", about={"task": "t"})
    write_rows([pair], tmp_path / "b.jsonl")
    found, _ = read(read_preferences, tmp_path / "b.jsonl")
    assert (found[0].prompt, found[0].chosen, found[0].rejected, found[0].about) == (pair.prompt, "b", "c", pair.about)


@pytest.mark.skipif(not REAL.exists(), reason="the published preference set is not on this machine")
def test_a_published_set_is_read_to_the_last_row():
    found, quarantine = read(read_preferences, REAL)
    with gzip.open(REAL) as file:
        assert quarantine.rows_seen == sum(1 for _ in file)
    assert len(found) == 2307
    assert dict(quarantine.by_reason) == {"different_prompts": 5}
