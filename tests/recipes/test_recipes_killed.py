"""kill -9 at random moments, then again until it is done: the same artifact as an undisturbed run."""

import random
import time

import pytest

from glasshouse.store.store import Store


def killed_runs(finished, directory, process, kills, longest, seed):
    """Kill `kills` runs at random moments of the time a whole run takes, then let one finish."""
    draw = random.Random(seed)
    # A moment per equal share of the run, in random order, so that every phase is hit.
    moments = [(share + draw.random()) * longest / kills for share in range(kills)]
    draw.shuffle(moments)
    survived = 0
    for moment in moments:
        running = process(directory, "mini", "--corpus", finished.corpus)
        time.sleep(moment)
        running.kill()
        survived += running.communicate()[0].count("took")
        store = Store(directory)
        assert not [problem for name in store.names() for problem in store.verify(name)]
    running = process(directory, "mini", "--corpus", finished.corpus)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, out + err
    store = Store(directory)
    assert store.names() == finished.store.names()
    assert store.latest_run("mini")["artifact"] == finished.store.latest_run("mini")["artifact"]
    assert not [problem for name in store.names() for problem in store.verify(name)]
    store.gc(delete=True)
    assert list((directory / "work").iterdir()) == []
    assert sorted(path.name for path in (directory / "artifacts").iterdir()) == store.names()
    return survived


def test_killed_twice_and_finished(finished, tmp_path, process):
    killed_runs(finished, tmp_path / "store", process, kills=2, longest=6.0, seed=3)


@pytest.mark.slow
def test_killed_ten_times_and_finished(finished, tmp_path, process):
    started = time.monotonic()
    process(tmp_path / "timed", "mini", "--corpus", finished.corpus).communicate(timeout=120)
    whole = time.monotonic() - started
    killed_runs(finished, tmp_path / "store", process, kills=10, longest=whole, seed=7)


@pytest.mark.parametrize("call", ["seal", "write_json", "remove_tree"])
def test_killed_while_a_step_is_being_kept(finished, tmp_path, monkeypatch, call):
    """The same at the exact calls of the commit, where a random moment seldom falls."""
    from glasshouse.store import store as room

    class Killed(BaseException):
        pass

    calls = 0

    def dies(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Killed
        return true(*arguments, **named)

    true = getattr(room, call)
    mine = type(finished)(finished.corpus, Store(tmp_path / "store"))
    monkeypatch.setattr(room, call, dies)
    with pytest.raises(Killed):
        mine.run()
    assert not [problem for name in mine.store.names() for problem in mine.store.verify(name)]
    monkeypatch.setattr(room, call, true)
    mine.run()
    assert mine.store.names() == finished.store.names()


def test_a_half_deleted_artifact_is_made_again(mine, finished):
    """A deletion removes the manifest first; killed there, it leaves a folder in the way of its successor."""
    name = next(name for name in mine.store.names() if name.startswith("tokenizer-"))
    (mine.store.root / "artifacts" / name / "manifest.json").unlink()
    mine.run()
    assert mine.store.names() == finished.store.names()
    assert not [problem for name in mine.store.names() for problem in mine.store.verify(name)]
