"""Programs of programs, memories, conversations, measures and the embedder without a model."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy.spatial import distance

from glasshouse.symbolic.composition import Parallel, Sequence, Stream, Switch
from glasshouse.symbolic.conversation import Conversation
from glasshouse.symbolic.engines.function import FunctionEngine
from glasshouse.symbolic.engines.hashing import HashedNgrams
from glasshouse.symbolic.errors import EngineTimeoutError
from glasshouse.symbolic.measures import MEASURES, measured
from glasshouse.symbolic.memory import SlidingWindow, VectorMemory
from glasshouse.symbolic.program import Program
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.sym import Sym

vectors = st_numpy.arrays(np.float64, 5, elements=st.floats(-10, 10, allow_subnormal=False))


class Add(Program):
    def __init__(self, what):
        self.what = what

    def forward(self, *inputs):
        return inputs[0] + self.what


class Length(Program):
    def forward(self, *inputs):
        return inputs[0].sem.query("length")


def test_programs_one_after_another_and_side_by_side():
    both = Sequence(Add("a"), Parallel(Add("b"), Sequence(Add("c"), Add("d"))))
    assert Runtime().run(both, "x").value == ["xab", "xacd"]
    assert Sequence(Add("a"), Add("b"))("x").value == "xab"
    assert Runtime().run(Sequence(), "x").value == "x"


@given(st.text(alphabet="ab \n", max_size=200), st.integers(2, 30), st.integers(0, 10))
def test_the_pieces_of_a_stream_are_the_text_and_no_longer_than_allowed(text, characters, overlap):
    if overlap >= characters // 2:
        with pytest.raises(ValueError, match="overlap"):
            Stream(Add(""), characters, overlap)
        return
    stream = Stream(Add(""), characters, overlap)
    pieces = Runtime().run(stream, text).value
    assert all(0 < len(piece) <= characters for piece in pieces)
    cuts = stream._cuts(text)
    assert pieces == [text[max(0, a - overlap) : b] for a, b in pairwise(cuts)]
    assert "".join(text[a:b] for a, b in pairwise(cuts)) == text


def test_a_stream_cuts_at_white_space_and_asks_once_per_piece():
    engine = FunctionEngine(lambda call: str(len(call.inputs[0])))
    result = Runtime(engine).run(Stream(Length(), 12), "one two three four five")
    assert [call.inputs[0] for call in engine.calls] == ["one two ", "three four ", "five"]
    assert result.value == ["8", "11", "4"]


def test_an_engine_chooses_the_case():
    engine = FunctionEngine(
        lambda call: {"parcel": "delivery", "money": "billing"}.get(call.inputs[0], "none of these")
    )
    switch = Switch({"billing": Add(" -> b"), "delivery": Add(" -> d")}, default=Add(" -> ?"))
    runtime = Runtime(engine)
    assert [runtime.run(switch, text).value for text in ("parcel", "money", "weather")] == [
        "parcel -> d",
        "money -> b",
        "weather -> ?",
    ]
    assert "exactly one of: billing, delivery, none of these" in engine.calls[0].messages[0].content


def test_a_window_keeps_the_last_entries_within_its_characters():
    window = SlidingWindow(3, characters=6)
    for text in ("a", "bb", "ccc", "dddd"):
        window.remember(text)
    assert window.entries == ["bb", "ccc", "dddd"]
    assert window.recall() == ["dddd"]
    window.remember("ee")
    assert window.recall() == ["dddd", "ee"]
    window.remember("123456789")
    assert window.recall() == ["456789"]
    assert SlidingWindow(**json.loads(json.dumps(window.to_json()))).recall() == window.recall()
    with pytest.raises(ValueError, match="at least 1"):
        SlidingWindow(0)


def test_a_vector_memory_gives_the_nearest_and_embeds_each_text_once():
    table = {"cat": [1, 0], "tiger": [0.9, 0.1], "car": [0, 1], "kitten": [1, 0.05]}
    engine = FunctionEngine(lambda call: [float(x) for x in table[call.inputs[0]]], ("embed",))
    memory = VectorMemory(Runtime(engine), top=2)
    for text in ("car", "tiger", "cat", "cat"):
        memory.remember(text)
    assert memory.recall("kitten") == ["cat", "tiger"]
    assert len(memory.entries) == 3
    memory.recall("kitten")
    assert len(engine.calls) == 4
    assert VectorMemory(Runtime(engine), **memory.to_json()).recall("kitten") == ["cat", "tiger"]
    assert VectorMemory(Runtime()).recall("x") == []


def test_similarity_is_a_lazy_graph_of_embeddings():
    engine = HashedNgrams()
    made = Sym("the cat sat").sem.similarity("the cat sits")
    assert made.pending
    near = Runtime(engine).run(made).value
    far = Runtime(engine).run(Sym("the cat sat").sem.similarity("quantum flux")).value
    assert 0.5 < near < 1
    assert far < 0.2
    assert Runtime(engine).run(Sym("a b").sem.similarity("a b", "euclidean")).value == 0


def test_hashed_ngrams_are_the_same_everywhere():
    vector = HashedNgrams(8, (2,)).embed("ab")
    assert vector == HashedNgrams(8, (2,)).embed("AB")
    assert math.isclose(math.fsum(x * x for x in vector), 1)
    assert HashedNgrams().embed("") == [0.0] * 512
    # " a", "ab", "b " by blake2b with 8 bytes: the last bit is the sign, the bits before it the place.
    import hashlib

    counts = np.zeros(8)
    for gram in (b" a", b"ab", b"b "):
        number = int(hashlib.blake2b(gram, digest_size=8).hexdigest(), 16)
        counts[number // 2 % 8] += 1 if number % 2 else -1
    assert np.allclose(vector, counts / np.linalg.norm(counts))


@given(vectors, vectors)
def test_measures_agree_with_scipy(u, v):
    a, b = u.tolist(), v.tolist()
    assert math.isclose(measured(a, b, "euclidean"), distance.euclidean(u, v), abs_tol=1e-9)
    assert math.isclose(measured(a, b, "manhattan"), distance.cityblock(u, v), abs_tol=1e-9)
    assert math.isclose(measured(a, b, "minkowski"), distance.minkowski(u, v, 3), abs_tol=1e-9)
    assert math.isclose(measured(a, b, "gaussian"), np.exp(-distance.sqeuclidean(u, v)), abs_tol=1e-12)
    if np.linalg.norm(u) > 1e-3 and np.linalg.norm(v) > 1e-3:
        assert math.isclose(measured(a, b, "cosine"), 1 - distance.cosine(u, v), abs_tol=1e-9)
    for name in MEASURES:
        assert measured(a, b, name) == pytest.approx(measured(b, a, name), abs=1e-9)


def test_measures_have_their_values_at_a_known_place():
    u, v = [1.0, 0.0], [0.0, 1.0]
    expected = {
        "dot": 0, "cosine": 0, "angular": 0.5, "squared_distance": 2, "euclidean": math.sqrt(2), "manhattan": 2,
        "minkowski": 2 ** (1 / 3), "jaccard": 0, "gaussian": math.exp(-2), "laplacian": math.exp(-2), "polynomial": 1,
        "sigmoid": 0, "cauchy": 1 / 3, "student": 1 / 3, "inverse_multiquadric": 1 / math.sqrt(3),
    }  # fmt: skip
    assert set(expected) == set(MEASURES)
    for name, value in expected.items():
        assert measured(u, v, name) == pytest.approx(value, abs=1e-12), name
    with pytest.raises(ValueError, match=r"no measure 'speed'; measures: dot"):
        measured(u, v, "speed")
    with pytest.raises(ValueError, match="shorter"):
        measured(u, [1.0])


# Conversations


def echo(call):
    return f"{len(call.messages)}: {call.messages[-1].content}"


def test_a_conversation_shows_the_model_its_window():
    engine = FunctionEngine(echo)
    talk = Conversation(Runtime(engine), system="Be brief.", window=3)
    assert [talk.say(text) for text in ("a", "b", "c")] == ["2: a", "4: b", "4: c"]
    assert [tuple(turn) for turn in engine.calls[-1].messages] == [
        ("system", "Be brief."),
        ("user", "b"),
        ("assistant", "4: b"),
        ("user", "c"),
    ]
    assert [result.record.kind for result in talk.results] == ["text"] * 3
    assert talk.results[1].replay().value == "4: b"


def test_the_same_question_twice_is_two_questions():
    answers = iter(["one", "two"])
    talk = Conversation(Runtime(FunctionEngine(lambda call: next(answers))), window=0)
    assert [talk.say("again?"), talk.say("again?")] == ["one", "two"]


def test_a_turn_that_fails_is_not_kept_and_answers_have_types():
    def fail(call):
        raise EngineTimeoutError("late")

    talk = Conversation(Runtime(FunctionEngine(fail), sleep=lambda _: None))
    with pytest.raises(EngineTimeoutError):
        talk.say("a")
    assert talk.turns == []
    assert Conversation(Runtime(FunctionEngine(lambda call: "42"))).say("how many?", as_=int) == 42


def test_documents_are_recalled_where_they_matter(tmp_path):
    (tmp_path / "shop.txt").write_text("The shop opens at nine.\n\nBicycles are mended on Mondays.\n\n\n")
    engine = FunctionEngine(echo)
    runtime = Runtime(engine, HashedNgrams())
    talk = Conversation(runtime, memory=VectorMemory(runtime, top=1))
    talk.read(tmp_path / "shop.txt")
    talk.say("When are bicycles mended?")
    assert engine.calls[-1].messages[0].content == "From memory: shop.txt: Bicycles are mended on Mondays."
    with pytest.raises(ValueError, match="has no memory"):
        Conversation(runtime).read(tmp_path / "shop.txt")


def test_a_conversation_is_saved_and_goes_on(tmp_path):
    path = tmp_path / "talk.json"
    talk = Conversation(Runtime(FunctionEngine(echo)), system="Be brief.")
    talk.say("a")
    talk.save(path)
    later = Conversation.load(path, Runtime(FunctionEngine(echo)))
    assert later.turns == talk.turns
    assert later.say("b") == "4: b"
    path.write_text('{"form": "other"}')
    with pytest.raises(ValueError, match="is no saved conversation: the form 'other'"):
        Conversation.load(path, Runtime())
