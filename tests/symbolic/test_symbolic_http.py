"""The HTTP engine against a server on the loopback interface: every failure is a typed error that says what to do."""

import email.utils
import socket
import time

import pytest
from pydantic import BaseModel
from symbolic_server import Told, events, said, serving

from glasshouse.symbolic.call import Budget, Call, Engine, Message, StreamingEngine, Usage
from glasshouse.symbolic.engines.function import FunctionEngine
from glasshouse.symbolic.engines.http import HttpEngine
from glasshouse.symbolic.errors import (
    BadRequestError,
    CutReplyError,
    EngineTimeoutError,
    MalformedReplyError,
    MissingKeyError,
    RateLimitError,
    ServerError,
    UnreachableError,
)
from glasshouse.symbolic.runtime import Runtime
from glasshouse.symbolic.sym import Sym

CALL = Call("text", "query", ("x",), {}, (Message("system", "be brief"), Message("user", "hello")), seed=3)


def error_body(message):
    return f'{{"error": {{"message": "{message}"}}}}'


def test_the_request_is_that_of_the_openai_interface():
    answer = said("hi", usage={"prompt_tokens": 5, "completion_tokens": 1})
    with serving(answer) as (url, requests):
        engine = HttpEngine(url, "small", key="secret", options={"top_p": 0.5})
        reply = engine.run(CALL.but(budget=Budget(tokens=7)))
    assert (reply.value, reply.usage, reply.model, reply.finish) == ("hi", Usage(5, 1), "served", "stop")
    assert requests[0]["path"] == "/v1/chat/completions"
    assert requests[0]["headers"]["Authorization"] == "Bearer secret"
    assert requests[0]["content"] == {
        "model": "small",
        "temperature": 0,
        "seed": 3,
        "top_p": 0.5,
        "max_tokens": 7,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
    }
    assert isinstance(engine, Engine)
    assert isinstance(engine, StreamingEngine)


def test_no_key_is_needed_and_none_is_sent():
    with serving(said("hi")) as (url, requests):
        HttpEngine(url, "small").run(CALL)
    assert "Authorization" not in requests[0]["headers"]


def test_streams_come_piece_by_piece():
    with serving(events("a", "b", "c"), events("d", "é")) as (url, requests):
        assert list(HttpEngine(url, "small").stream(CALL)) == ["a", "b", "c"]
        assert HttpEngine(url, "small", stream=True).run(CALL).value == "dé"
    assert requests[0]["content"]["stream"] is True
    pieces = ['data: {"choices": [{"del', 'ta": {"role": "assistant"}}]}\n', ": comment\n\ndata: [DO", "NE]"]
    with serving(Told(*pieces, chunked=True)) as (url, _):
        assert HttpEngine(url, "small", stream=True).run(CALL).value == ""


def test_base_models_and_embedders():
    vector = '{"model": "e", "data": [{"embedding": [1, 0.5]}], "usage": {"prompt_tokens": 2}}'
    with serving(Told('{"choices": [{"text": "hi"}]}'), Told(vector)) as (url, requests):
        assert HttpEngine(url, "base", form="completions").run(CALL).value == "hi"
        reply = HttpEngine(url, "e", kinds=["embed"]).run(Call("embed", "embed", ("x",)))
    assert requests[0]["content"]["prompt"] == "be brief\n\nhello"
    assert (requests[1]["path"], requests[1]["content"]["input"]) == ("/v1/embeddings", "x")
    assert (reply.value, reply.usage) == ([1.0, 0.5], Usage(2, 0))


class Rule(BaseModel):
    subject: str


def test_a_schema_is_sent_to_servers_that_enforce_it():
    with serving(said('{"subject": "cat"}'), said('{"subject": "cat"}')) as (url, requests):
        for kinds in (["text", "json_schema"], ["text"]):
            runtime = Runtime(HttpEngine(url, "small", kinds=kinds))
            assert runtime.run(Sym("x").sem.query("what?", as_=Rule)).value == {"subject": "cat"}
    sent = requests[0]["content"]["response_format"]["json_schema"]
    assert (sent["strict"], sent["schema"]["required"]) == (True, ["subject"])
    assert "response_format" not in requests[1]["content"]


LATE = email.utils.formatdate(time.time() + 3600, usegmt=True)
CUT = '{"choices": [{"message": {"content": "hel'
FAILURES = [
    ("429 with seconds", Told(error_body("slow"), status=429, headers={"Retry-After": "7"}), RateLimitError, "slow"),
    ("429 with a date", Told("", status=429, headers={"Retry-After": LATE}), RateLimitError, "status 429"),
    ("429 without", Told("later", status=429), RateLimitError, "'later'"),
    ("401", Told(error_body("who?"), status=401), MissingKeyError, "who.*give `key` or `key_variable`"),
    ("403", Told("", status=403), MissingKeyError, "status 403"),
    ("400", Told(error_body("context too long"), status=400), BadRequestError, "context too long"),
    ("404", Told(error_body("no model 'small'"), status=404), BadRequestError, "no model 'small'"),
    ("500", Told("<html>", status=500), ServerError, "status 500.*<html>"),
    ("503", Told("", status=503), ServerError, "status 503"),
    ("504", Told("", status=504), EngineTimeoutError, "status 504"),
    (
        "302",
        Told("", status=302, headers={"Location": "http://other/"}),
        BadRequestError,
        "http://other/.*not followed",
    ),
    ("no answer", Told("", before=1.5), EngineTimeoutError, "no whole answer within 0.5 s"),
    ("stalled body", Told('{"choices"', 1.5, length=900), EngineTimeoutError, "no whole answer within 0.5 s"),
    ("dribbling body", Told(*[" ", 0.2] * 20), EngineTimeoutError, "no whole answer within 0.5 s"),
    ("cut body", Told(CUT, length=900), CutReplyError, "was cut off, .* bytes are missing"),
    ("cut chunks", Told(CUT, chunked=True), CutReplyError, "broke during the answer"),
    ("malformed JSON", Told(CUT), MalformedReplyError, "not JSON"),
    ("deep JSON", Told("[" * 100_000), MalformedReplyError, "not JSON"),
    ("a page", Told("<html>hello</html>"), MalformedReplyError, "not JSON.*hello"),
    ("a list", Told("[1]"), MalformedReplyError, "no JSON object"),
    ("no choices", Told('{"choices": []}'), MalformedReplyError, "no text in it"),
    ("no text", Told('{"choices": [{"message": {"content": null}}]}'), MalformedReplyError, "content is None"),
    ("error inside", Told(error_body("out of memory")), ServerError, "out of memory"),
]
STREAMED = [
    ("cut stream", events("hel", "lo", end=False), CutReplyError, r"ended without \[DONE\] after 'hello'"),
    ("malformed event", Told("data: {oops\n\n", length=False), MalformedReplyError, "not JSON"),
    ("stalled stream", Told('data: {"choices": []}\n', 1.5, length=False), MalformedReplyError, "no text in it"),
    ("silent stream", Told(": wait\n", 1.5, length=False), EngineTimeoutError, "within 0.5 s"),
    ("error in stream", Told("data: " + error_body("gone") + "\n", length=False), ServerError, "gone"),
    ("429 for a stream", Told("", status=429, headers={"Retry-After": "2"}), RateLimitError, "429"),
]


@pytest.mark.parametrize(("name", "told", "kind", "words"), FAILURES, ids=[case[0] for case in FAILURES])
def test_failures_are_typed(name, told, kind, words):
    with serving(told) as (url, _):
        engine = HttpEngine(url, "small", timeout=0.5 if kind is EngineTimeoutError and told.status == 200 else 20)
        start = time.monotonic()
        with pytest.raises(kind, match=words) as caught:
            engine.run(CALL)
        assert type(caught.value) is kind
        if engine._transport._timeout == 0.5:
            assert time.monotonic() - start < 1.5
    if name == "429 with seconds":
        assert caught.value.retry_after == 7
    if name == "429 with a date":
        assert 2400 < caught.value.retry_after <= 3601
    if name == "429 without":
        assert caught.value.retry_after is None


@pytest.mark.parametrize(("name", "told", "kind", "words"), STREAMED, ids=[case[0] for case in STREAMED])
def test_failures_of_streams_are_typed(name, told, kind, words):
    with serving(told) as (url, _):
        engine = HttpEngine(url, "small", stream=True, timeout=0.5 if kind is EngineTimeoutError else 20)
        with pytest.raises(kind, match=words) as caught:
            engine.run(CALL)
    if kind is CutReplyError:
        assert caught.value.text == "hello"


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnreachableError, match="is the server running"):
        HttpEngine(f"http://127.0.0.1:{port}/v1", "small").run(CALL)


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("SYMBOLIC_TEST_KEY", raising=False)
    with serving(said("hi")) as (url, requests):
        with pytest.raises(MissingKeyError, match=r"SYMBOLIC_TEST_KEY holds no API key .* nothing was sent"):
            HttpEngine(url, "small", key_variable="SYMBOLIC_TEST_KEY").run(CALL)
        assert requests == []
        monkeypatch.setenv("SYMBOLIC_TEST_KEY", "secret\n")
        HttpEngine(url, "small", key_variable="SYMBOLIC_TEST_KEY").run(CALL)
        with pytest.raises(MissingKeyError, match="no header can carry") as caught:
            HttpEngine(url, "small", key="sec\nret").run(CALL)
        assert "ret" not in str(caught.value).replace("carry", "")
        assert requests[0]["headers"]["Authorization"] == "Bearer secret"


def test_a_calls_own_time_limit_is_kept():
    with serving(Told("", before=1.5)) as (url, _), pytest.raises(EngineTimeoutError, match=r"within 0\.3 s"):
        HttpEngine(url, "small").run(CALL.but(budget=Budget(seconds=0.3)))


def test_a_runtime_waits_as_the_server_asks_and_then_succeeds():
    slept = []
    busy = Told("", status=429, headers={"Retry-After": "7"})
    with serving(busy, Told("", status=503), said("fine")) as (url, requests):
        runtime = Runtime(HttpEngine(url, "small"), sleep=slept.append)
        result = runtime.run(Sym("x").sem.summarize())
    assert result.value == "fine"
    assert len(requests) == 3
    assert slept[0] == 7
    assert [attempt.split(":")[1].strip() for attempt in result.record.attempts] == ["RateLimitError", "ServerError"]


def test_a_runtime_gives_a_text_piece_by_piece_and_then_knows_it():
    with serving(said("cat"), events("a ", "small ", "cat"), events("half", end=False)) as (url, requests):
        runtime = Runtime(HttpEngine(url, "small"))
        made = Sym("x").sem.clean().sem.query("more?")
        assert list(runtime.stream(made)) == ["a ", "small ", "cat"]
        result = runtime.run(made)
        assert (result.value, result.cost.calls, len(requests)) == ("a small cat", 0, 2)
        assert list(runtime.stream(made)) == ["a small cat"]
        with pytest.raises(CutReplyError):
            list(runtime.stream(Sym("y").sem.clean()))
        assert len(requests) == 3
    with pytest.raises(TypeError, match="not answered by a language model"):
        runtime.stream(made + "!")
    assert list(Runtime(FunctionEngine(lambda call: "whole")).stream(Sym("x").sem.clean())) == ["whole"]


@pytest.mark.parametrize("url", ["localhost:8000", "file:///etc/passwd", "http://", ""])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="is no address of a server"):
        HttpEngine(url, "small")
