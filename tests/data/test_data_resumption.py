"""Work that survives a kill: whole folders or none, receipts that name the work."""

from pathlib import Path

import pytest

from glasshouse.data.executor import Threads
from glasshouse.data.resumption import receipt, run_resumable, work_key


def square(task: int, folder: Path) -> dict[str, int]:
    if task == 13:
        raise RuntimeError("thirteen")
    with (folder / "calls").open("a") as file:
        file.write("x")
    return {"square": task * task}


def run(home, tasks, key="k"):
    return list(run_resumable(square, [(f"{key}{task}", task) for task in tasks], home, Threads(2)))


def test_done_work_is_not_done_again(tmp_path):
    assert run(tmp_path, [1, 2, 3]) == [{"square": 1}, {"square": 4}, {"square": 9}]
    assert run(tmp_path, [1, 2, 3]) == [{"square": 1}, {"square": 4}, {"square": 9}]
    assert (tmp_path / "00001" / "calls").read_text() == "x"


def test_other_work_replaces_what_is_there(tmp_path):
    run(tmp_path, [1, 2])
    assert run(tmp_path, [5, 2]) == [{"square": 25}, {"square": 4}]
    assert receipt(tmp_path / "00000")["says"] == {"square": 25}
    assert (tmp_path / "00001" / "calls").read_text() == "x"


def test_what_failed_leaves_nothing_that_looks_done(tmp_path):
    with pytest.raises(RuntimeError, match="thirteen"):
        run(tmp_path, [1, 13])
    assert receipt(tmp_path / "00001") is None
    assert not (tmp_path / "00001").exists()


def test_a_partial_folder_of_a_kill_is_begun_anew(tmp_path):
    (tmp_path / "00000.partial").mkdir()
    (tmp_path / "00000.partial" / "calls").write_text("torn")
    (tmp_path / "00000").mkdir()  # a folder without a receipt is not done
    run(tmp_path, [4])
    assert (tmp_path / "00000" / "calls").read_text() == "x"
    assert not (tmp_path / "00000.partial").exists()


@pytest.mark.parametrize("torn", ["", '{"key": "k'])
def test_a_torn_receipt_is_none(tmp_path, torn):
    run(tmp_path, [4])
    (tmp_path / "00000" / "receipt.json").write_text(torn)
    run(tmp_path, [4])
    assert (tmp_path / "00000" / "calls").read_text() == "x"
    assert receipt(tmp_path / "00000")["says"] == {"square": 16}


def test_keys_depend_on_every_part():
    assert len({work_key("a", 1), work_key("a", 2), work_key("b", 1), work_key(["a", 1])}) == 4
