"""Served models: the same answers as the model in memory, faults waited out, and clear refusals."""

import pytest
from click.testing import CliRunner
from evaluation_server import served

from glasshouse.cli import cli
from glasshouse.evaluation.endpoints import EndpointScorer
from glasshouse.evaluation.requests import Generate, LogLikelihood, ScoringError
from glasshouse.evaluation.scorers import LocalScorer, answers
from glasshouse.symbolic.errors import BadRequestError, MissingKeyError, RateLimitError

PROMPTS = [Generate("the old gate", (" the",), 8), Generate("it is", (), 5), Generate("the river by", ("e", "i"), 6)]
PAIRS = [LogLikelihood("the old gate", " is green"), LogLikelihood("the river", " stands"), LogLikelihood("it ", "is")]


def test_a_served_model_answers_as_in_memory(model):
    with served(model) as server:
        scorer = EndpointScorer(server.url, "mine", at_once=2)
        found = answers(scorer, [*PROMPTS, *PAIRS])
        local = answers(LocalScorer(model), [*PROMPTS, *PAIRS])
        assert [answer.text for answer in found[:3]] == [answer.text for answer in local[:3]]
        for one, other in zip(found[3:], local[3:], strict=True):
            assert one.nats == pytest.approx(other.nats, rel=1e-4)
            assert (one.greedy, one.tokens) == (other.greedy, other.tokens)
        assert {asked["model"] for _, asked, _ in server.seen} == {"mine"}
        assert list(scorer.batches([*PROMPTS, *PAIRS], {0, 1, 2})) == [
            {2: found[2], 3: found[3]},
            {4: found[4], 5: found[5]},
        ]


def test_a_chat_gives_texts_and_no_likelihoods(model):
    with served(model) as server:
        scorer = EndpointScorer(server.url, "mine", form="chat")
        (text,) = answers(scorer, PROMPTS[:1])
        assert text.text == answers(LocalScorer(model), PROMPTS[:1])[0].text
        assert text.tokens == 8
        with pytest.raises(ScoringError, match=r"gives no log-likelihoods \(a chat has none\)"):
            answers(scorer, PAIRS)


def test_a_server_without_echo_is_refused_by_name(model):
    with served(model, echo=False) as server:
        scorer = EndpointScorer(server.url, "mine")
        with pytest.raises(ScoringError, match=r"mine at http.* no log-probabilities of the prompt.*are generated"):
            answers(scorer, PAIRS)
        server.faults = [(400, {}, {"error": {"message": "echo is not supported"}})]
        with pytest.raises(ScoringError, match="echo is not supported"):
            answers(scorer, PAIRS[:1])


def test_a_server_that_is_busy_or_broken_is_asked_again(model):
    waited = []
    with served(model) as server:
        scorer = EndpointScorer(server.url, "mine", sleep=waited.append, attempts=4)
        server.faults = [(429, {"Retry-After": "7"}, {}), (503, {}, {}), (408, {}, {})]
        (found,) = answers(scorer, PROMPTS[:1])
        assert found.text == answers(LocalScorer(model), PROMPTS[:1])[0].text
        assert waited == [7, 1, 2]
        server.faults = [(429, {"Retry-After": "9999"}, {})] * 4
        with pytest.raises(RateLimitError):
            answers(scorer, PROMPTS[:1])
        assert waited[3:] == [60, 60, 60]
        server.faults = [(404, {}, {"error": {"message": "no such model"}})]
        with pytest.raises(BadRequestError, match="no such model"):
            answers(scorer, PROMPTS[:1])
        assert len(waited) == 6


def test_the_key_comes_from_the_environment(model, monkeypatch):
    with served(model) as server:
        scorer = EndpointScorer(server.url, "mine", key_variable="A_KEY_FOR_TESTS")
        with pytest.raises(MissingKeyError, match=r"A_KEY_FOR_TESTS holds no API key .*nothing was sent"):
            answers(scorer, PROMPTS[:1])
        assert server.seen == []
        monkeypatch.setenv("A_KEY_FOR_TESTS", "sesame")
        answers(scorer, PROMPTS[:1])
        assert server.seen[0][2]["Authorization"] == "Bearer sesame"


def test_what_cannot_be_scored_is_refused(model):
    with served(model) as server:
        scorer = EndpointScorer(server.url, "mine")
        with pytest.raises(ScoringError, match="the continuation is empty"):
            answers(scorer, [LogLikelihood("the", "")])
        assert answers(scorer, [LogLikelihood("", " is")]) == answers(scorer, [LogLikelihood("\n", " is")])
    with pytest.raises(ScoringError, match="serves models by name: write http://localhost/v1#NAME"):
        EndpointScorer("http://localhost/v1", "")


def test_the_command_measures_a_served_model(model):
    with served(model) as server:
        done = CliRunner().invoke(
            cli, ["evaluate", f"{server.url}#mine", "--task", "brackets", "--limit", "6"], catch_exceptions=False
        )
        refused = CliRunner().invoke(cli, ["evaluate", f"{server.url}#mine", "--perplexity", "texts.jsonl"])
    assert done.exit_code == 0, done.output
    assert "chance 0.250" in done.output
    assert refused.exit_code == 2
    assert "a served one has tasks only" in refused.output
