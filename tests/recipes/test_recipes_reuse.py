"""A second run makes nothing; a changed option makes only what depends on it; two processes share the work."""

from glasshouse.store.store import Store


def test_a_second_run_makes_nothing(mine):
    before = {name: mine.store.manifest(name)["resources"] for name in mine.store.names()}
    artifact, steps = mine.run()
    assert steps.ran == []
    assert steps.found == ["read_text", "curate", "train_tokenizer", "tokenize", "pretrain", "evaluate"]
    assert {name: mine.store.manifest(name)["resources"] for name in mine.store.names()} == before
    assert artifact.path.name in before


def test_a_changed_option_makes_only_what_depends_on_it(mine):
    assert mine.run(seed=1)[1].ran == ["pretrain", "evaluate"]
    assert mine.run(depth=2)[1].ran == ["pretrain", "evaluate"]
    assert mine.run(tokens=2048)[1].ran == ["pretrain", "evaluate"]
    ran = mine.run(shortest=600)[1].ran
    assert ran[0] == "curate"
    assert ran[-1] == "evaluate"
    assert "read_text" not in ran


def test_two_processes_at_once_make_one_result(finished, tmp_path, process):
    store = tmp_path / "store"
    both = [process(store, "mini", "--corpus", finished.corpus) for _ in range(2)]
    for one in both:
        out, err = one.communicate(timeout=120)
        assert one.returncode == 0, out + err
    shared = Store(store)
    assert shared.names() == finished.store.names()
    assert not any(shared.verify(name) for name in shared.names())
    assert len({run["artifact"] for run in shared.runs()}) == 1
    assert len(shared.runs()) == 2
