"""Language models and embedders behind the OpenAI HTTP interface, with the standard library alone.

Nothing is sent anywhere but to the address given; redirections are not followed, since they could carry the key to
another host. Every failure is a typed error (see `errors`); waiting and trying again is the runtime's business.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from glasshouse.symbolic.call import Call, Reply, Usage
from glasshouse.symbolic.engines.transport import Transport, malformed, parsed
from glasshouse.symbolic.errors import CutReplyError, MissingKeyError
from glasshouse.symbolic.values import as_text


class HttpEngine:
    """A served model.

    Args:
        url: up to and with the version, such as `http://localhost:8000/v1`.
        model: the name the server knows it by.
        key: the API key itself, or `key_variable`: the environment variable that holds it. With neither, none is sent.
        kinds: `text`, or `embed`; beside `text` the forms the server enforces, of which `json_schema` is sent.
        form: `chat` for `/chat/completions`, `completions` for a base model without roles.
        stream: whether `run` takes the text piece by piece, so that a stalled server is noticed early.
        timeout: seconds for a whole call; a call's own budget may be shorter.
        options: further fields of the request, such as `{"top_p": 0.9}`.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        name: str = "http",
        key: str | None = None,
        key_variable: str | None = None,
        kinds: Iterable[str] = ("text",),
        form: Literal["chat", "completions"] = "chat",
        stream: bool = False,
        timeout: float = 60.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.kinds = frozenset(kinds)
        self._transport = Transport(url, timeout)
        self._key, self._key_variable = key, key_variable
        self._form, self._stream = form, stream
        self._options = dict(options or {})

    def run(self, call: Call) -> Reply:
        """One request and its answer."""
        if call.kind == "embed":
            return self._embedding(call)
        if self._stream:
            pieces = list(self._pieces(call))
            text = "".join(piece for piece, _ in pieces)
            return Reply(text, text, model=self.model, finish=pieces[-1][1] if pieces else "")
        data = self._post(self._path, self._request(call), call)
        text, finish = self._choice(data, "message")
        return Reply(text, text, usage=_usage(data), model=_word(data.get("model")) or self.model, finish=finish)

    def stream(self, call: Call) -> Iterator[str]:
        """The text piece by piece."""
        for piece, _ in self._pieces(call):
            yield piece

    @property
    def _path(self) -> str:
        return "/chat/completions" if self._form == "chat" else "/completions"

    def _request(self, call: Call) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.model, "temperature": 0, "seed": call.seed} | self._options
        if self._form == "chat":
            request["messages"] = [{"role": role, "content": content} for role, content in call.messages]
        else:
            request["prompt"] = call.prompt
        if call.budget.tokens is not None:
            request["max_tokens"] = call.budget.tokens
        if call.constraint and call.constraint.form == "json_schema" and "json_schema" in self.kinds:
            schema = {"name": call.op, "strict": True, "schema": json.loads(call.constraint.text)}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request

    def _headers(self) -> dict[str, str]:
        key = self._key
        if key is None and self._key_variable:
            key = os.environ.get(self._key_variable)
            if not key:
                raise MissingKeyError(
                    f"{self.name}: the environment variable {self._key_variable} holds no API key for "
                    f"{self._transport.url}; nothing was sent"
                )
        key = (key or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise MissingKeyError(
                f"{self.name}: the API key holds characters that no header can carry; nothing was sent"
            )
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _post(self, path: str, request: Mapping[str, Any], call: Call) -> dict[str, Any]:
        with self._transport.post(path, request, self._headers(), call.budget.seconds) as answer:
            return parsed(answer.body(), self._transport.url + path)

    def _choice(self, data: Mapping[str, Any], part: str) -> tuple[str, str]:
        """The text and why it ended, of a whole answer (`message`) or of a piece (`delta`)."""
        try:
            choice = data["choices"][0]
            text = choice[part].get("content") if self._form == "chat" else choice["text"]
            if text is None and part == "delta":
                text = ""
            if not isinstance(text, str):
                raise TypeError(f"the content is {text!r:.80}, no text")
            return text, _word(choice.get("finish_reason"))
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise malformed(self._transport.url + self._path, f"no text in it ({error})", data) from None

    def _pieces(self, call: Call) -> Iterator[tuple[str, str]]:
        """Texts of the server-sent events, and why the text ended ("" as long as it has not)."""
        request = self._request(call) | {"stream": True}
        heard = ""
        finish = ""
        with self._transport.post(self._path, request, self._headers(), call.budget.seconds) as answer:
            for line in answer.lines():
                if not line.startswith("data:"):
                    continue
                content = line.removeprefix("data:").strip()
                if content == "[DONE]":
                    return
                data = parsed(content.encode(), self._transport.url + self._path)
                if not data.get("choices") and data.get("usage"):
                    continue
                piece, ended = self._choice(data, "delta")
                heard, finish = heard + piece, ended or finish
                yield piece, finish
        raise CutReplyError(f"{self._transport.url}: the stream ended without [DONE] after {heard!r:.200}", heard)

    def _embedding(self, call: Call) -> Reply:
        request = {"model": self.model, "input": as_text(call.inputs[0])} | self._options
        data = self._post("/embeddings", request, call)
        try:
            vector = [float(number) for number in data["data"][0]["embedding"]]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise malformed(self._transport.url + "/embeddings", f"no vector in it ({error})", data) from None
        return Reply(vector, usage=_usage(data), model=_word(data.get("model")) or self.model)


def _usage(data: Mapping[str, Any]) -> Usage:
    told = data.get("usage")
    if not isinstance(told, dict):
        return Usage()
    counts = [told.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return Usage(*(count if isinstance(count, int) and count >= 0 else 0 for count in counts))


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
