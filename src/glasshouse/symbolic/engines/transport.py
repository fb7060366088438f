"""HTTP requests with one deadline for the whole exchange, and a typed error for everything that can go wrong."""

from __future__ import annotations

import email.utils
import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from glasshouse.symbolic.errors import (
    BadRequestError,
    CutReplyError,
    EngineError,
    EngineTimeoutError,
    MalformedReplyError,
    MissingKeyError,
    RateLimitError,
    ServerError,
    UnreachableError,
)

LARGEST = 64 << 20
"""Bytes of an answer beyond which it is not read on: no text of a model is that long."""


class Answer:
    """A response that is still being read; each wait is cut at the deadline."""

    def __init__(self, response: http.client.HTTPResponse, connected: socket.socket, deadline: float, url: str) -> None:
        self._response, self._socket = response, connected
        self._deadline, self._url = deadline, url

    def _chunks(self) -> Iterator[bytes]:
        size = 0
        while True:
            self._socket.settimeout(left(self._deadline))
            chunk = self._response.read1(1 << 16)
            if not chunk:
                break
            size += len(chunk)
            if size > LARGEST:
                raise MalformedReplyError(f"{self._url}: more than {LARGEST} bytes; reading was stopped")
            yield chunk
        if self._response.length:
            raise CutReplyError(f"{self._url}: the answer was cut off, {self._response.length} bytes are missing")

    def body(self) -> bytes:
        """The whole content."""
        return b"".join(self._chunks())

    def lines(self) -> Iterator[str]:
        """The lines as they come. An unfinished last one is dropped, unless it is the end mark of a stream."""
        rest = b""
        for chunk in self._chunks():
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace").rstrip("\r")
            if rest.strip() == b"data: [DONE]":
                yield "data: [DONE]"


class Transport:
    """Posts JSON to one server.

    Raises `ValueError` for an address that is not `http` or `https`.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a server; it looks like http://localhost:8000/v1")
        self._parts = parts

    @contextmanager
    def post(
        self, path: str, content: Mapping[str, Any], headers: Mapping[str, str], seconds: float | None
    ) -> Iterator[Answer]:
        """Send one request and give the answer of a good status to read; raises an `EngineError` otherwise."""
        url = self.url + path
        allowed = self._timeout if seconds is None else min(self._timeout, seconds)
        deadline = time.monotonic() + allowed
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(self._parts.hostname), self._parts.port, timeout=max(allowed, 1e-3))
        started = False
        try:
            connection.connect()
            connected: socket.socket = connection.sock
            connected.settimeout(left(deadline))
            body = json.dumps(content).encode()
            connection.request("POST", self._parts.path + path, body, {"Content-Type": "application/json", **headers})
            connected.settimeout(left(deadline))
            response = connection.getresponse()
            started = True
            answer = Answer(response, connected, deadline, url)
            if response.status != http.client.OK:
                raise _of_status(response, answer.body(), url)
            yield answer
        except TimeoutError:
            raise EngineTimeoutError(f"{url}: no whole answer within {allowed:g} s") from None
        except (http.client.HTTPException, OSError) as error:
            words = f"{type(error).__name__}: {error}"
            if started:
                raise CutReplyError(f"{url}: the connection broke during the answer ({words})") from None
            raise UnreachableError(f"{url}: no answer ({words}); is the server running?") from None
        finally:
            connection.close()


def left(deadline: float) -> float:
    """Seconds until the deadline. Raises `TimeoutError` when it has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _of_status(response: http.client.HTTPResponse, body: bytes, url: str) -> EngineError:
    said = f"{url}: status {response.status} {response.reason}: {_message(body)}"
    if response.status == http.client.TOO_MANY_REQUESTS:
        return RateLimitError(said, _retry_after(response.headers.get("Retry-After")))
    if response.status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        return MissingKeyError(f"{said}. The server wants a valid API key: give `key` or `key_variable`.")
    if response.status in (http.client.REQUEST_TIMEOUT, http.client.GATEWAY_TIMEOUT):
        return EngineTimeoutError(said)
    if response.status >= http.client.INTERNAL_SERVER_ERROR:
        return ServerError(said)
    if response.status in range(300, 400):
        return BadRequestError(f"{said} It points to {response.headers.get('Location')}, which is not followed.")
    return BadRequestError(said)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return repr(body[:200].decode("utf-8", "replace"))


def _retry_after(header: str | None) -> float | None:
    """Seconds, from a number or a date (RFC 9110, 10.2.3)."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def parsed(body: bytes, url: str) -> dict[str, Any]:
    """The JSON object of an answer. Raises `MalformedReplyError` when it is none, or says that it is an error."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed(url, f"it is not JSON ({error})", body.decode("utf-8", "replace")) from None
    if not isinstance(data, dict):
        raise malformed(url, "it is no JSON object", data)
    if data.get("error"):
        raise ServerError(f"{url}: the server reports an error in its answer: {data['error']!r:.500}")
    return data


def malformed(url: str, why: str, data: Any) -> MalformedReplyError:
    """The error for an answer that is not in the protocol's form."""
    return MalformedReplyError(f"{url}: the answer is not in the form of the OpenAI interface, {why}: {data!r:.200}")
