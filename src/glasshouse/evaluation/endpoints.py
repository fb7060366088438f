"""Served models behind the OpenAI HTTP interface, as scorers.

Texts come from `/completions` or `/chat/completions`, at temperature 0. Log-likelihoods need a server that echoes a
prompt with the log-probabilities of its tokens (`echo` and `logprobs` of `/completions`, as vLLM and llama.cpp offer);
another one is refused by name. Tokens are told apart by where their text begins: the continuation's are those that
begin where it does or later, and the last one where a merge leaves none. An empty context is a line break, since the
first token of a prompt gets no probability and the server's end-of-sequence token is not known.

A server that asks to wait, fails, or does not answer in time is asked again after growing pauses. The weights cannot be
seen from here: the identity is that of the address, the name and the form.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from glasshouse.evaluation.requests import Answer, Generate, Likelihood, LogLikelihood, Request, ScoringError, Written
from glasshouse.store.configuration import fingerprint
from glasshouse.symbolic.engines.transport import Transport, malformed, parsed
from glasshouse.symbolic.errors import BadRequestError, EngineError, MissingKeyError, RateLimitError

STOPS = 4
"""Most stop texts that the interface takes; answers are cut at all of them here."""
LONGEST_WAIT = 60.0
EMPTY = "\n"


class EndpointScorer:
    """A model behind an address.

    Args:
        url: up to and with the version, such as `http://localhost:8000/v1`.
        model: the name the server knows it by.
        key_variable: environment variable that holds the API key.
        form: `completions`, or `chat` for a model that is only served as a conversation.
        at_once: requests on their way at a time; also those that are kept together.
        attempts: how often a request is sent before its error is raised.
        timeout: seconds for one answer.
        sleep: how to wait.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str | None = None,
        form: Literal["completions", "chat"] = "completions",
        at_once: int = 8,
        attempts: int = 6,
        timeout: float = 120.0,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if not model:
            raise ScoringError(f"{url} serves models by name: write {url}#NAME")
        self.url, self.model, self.form = url.rstrip("/"), model, form
        self._transport = Transport(url, timeout)
        self._key_variable, self._at_once, self._attempts, self._sleep = key_variable, at_once, attempts, sleep

    @property
    def identity(self) -> str:
        """A hash of the address, the name and the form."""
        return fingerprint([self.url, self.model, self.form])

    @property
    def setting(self) -> str:
        """The form, and how many requests are on their way at a time."""
        return f"{self.form}, {self._at_once} at a time"

    def batches(self, requests: Sequence[Request], known: Container[int] = ()) -> Iterator[Mapping[int, Answer]]:
        """Answers, `at_once` at a time. Raises `ScoringError`, or the `EngineError` of the last attempt."""
        with ThreadPoolExecutor(self._at_once) as pool:
            for first in range(0, len(requests), self._at_once):
                numbers = range(first, min(first + self._at_once, len(requests)))
                if all(number in known for number in numbers):
                    continue
                yield dict(zip(numbers, pool.map(self._answer, [requests[number] for number in numbers]), strict=True))

    def _answer(self, request: Request) -> Answer:
        return self._written(request) if isinstance(request, Generate) else self._likelihood(request)

    def _written(self, request: Generate) -> Written:
        asked: dict[str, Any] = {"max_tokens": request.tokens, "temperature": 0}
        if stops := [stop for stop in request.stop if stop][:STOPS]:
            asked["stop"] = stops
        if self.form == "chat":
            path, asked["messages"] = "/chat/completions", [{"role": "user", "content": request.prompt}]
        else:
            path, asked["prompt"] = "/completions", request.prompt
        found = self._post(path, asked)
        try:
            choice = found["choices"][0]
            text = choice["message"]["content"] if self.form == "chat" else choice["text"]
            for stop in filter(None, request.stop):
                text = text.split(stop, 1)[0]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise malformed(self.url + path, f"no text in it ({error!r})", found) from None
        told = (found.get("usage") or {}).get("completion_tokens")
        return Written(text, told if isinstance(told, int) else 0)

    def _likelihood(self, request: LogLikelihood) -> Likelihood:
        if not request.continuation:
            raise ScoringError(f"there is nothing to score after {request.context[-80:]!r}: the continuation is empty")
        if self.form == "chat":
            raise self._refusal("a chat has none")
        context = request.context or EMPTY
        whole = context + request.continuation
        asked = {"prompt": whole, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        try:
            found = self._post("/completions", asked)
        except BadRequestError as error:
            raise self._refusal(str(error)) from None
        try:
            told = found["choices"][0]["logprobs"]
            rows = list(zip(told["text_offset"], told["token_logprobs"], told["top_logprobs"], strict=True))
        except (KeyError, IndexError, TypeError, ValueError):
            raise self._refusal("its answer holds no log-probabilities of the prompt") from None
        inside = [row for row in rows if row[0] < len(whole)]
        if not inside or inside[0][0] != 0:
            raise self._refusal("it does not echo the prompt")
        border = len(context.rstrip()) or len(context)
        scored = [row for row in inside if row[0] >= border] or inside[-1:]
        if not all(isinstance(nats, int | float) and math.isfinite(nats) for _, nats, _ in scored):
            raise ScoringError(f"{self.url} gives a token of {request.continuation[:80]!r} no probability: {scored}")
        greedy = all(nats >= max((top or {}).values(), default=nats) for _, nats, top in scored)
        return Likelihood(float(sum(nats for _, nats, _ in scored)), greedy, len(scored))

    def _refusal(self, why: str) -> ScoringError:
        return ScoringError(
            f"{self.model} at {self.url} gives no log-likelihoods ({why}): they need `echo` and `logprobs` of "
            "/completions; take tasks whose answers are generated, or another server"
        )

    def _post(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        asked = {"model": self.model, **content}
        for attempt in range(self._attempts):
            try:
                with self._transport.post(path, asked, self._headers(), None) as answer:
                    return parsed(answer.body(), self.url + path)
            except EngineError as error:
                if not error.retryable or attempt == self._attempts - 1:
                    raise
                wanted = error.retry_after if isinstance(error, RateLimitError) else None
                self._sleep(min(LONGEST_WAIT, 0.5 * 2**attempt if wanted is None else wanted))
        raise AssertionError  # the last attempt returned or raised

    def _headers(self) -> dict[str, str]:
        if self._key_variable is None:
            return {}
        key = os.environ.get(self._key_variable, "").strip()
        if not key or not (key.isascii() and key.isprintable()):
            raise MissingKeyError(
                f"the environment variable {self._key_variable} holds no API key for {self.url}; nothing was sent"
            )
        return {"Authorization": f"Bearer {key}"}
