"""The local page for annotation: a small server on the loopback interface, for one person on this machine.

- It listens on 127.0.0.1 only. Other web pages in the same browser cannot use it: every request needs the token that
  is in the address printed at the start, and a `Host` that is this machine (against DNS rebinding).
- It answers three paths and nothing else: no file of the machine is served.
- The page has no resources from elsewhere, and its content policy forbids any. Texts are put into it as text.
- A request body has at most `MAX_BODY` bytes.
"""

from __future__ import annotations

import hmac
import json
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from glasshouse.alignment.annotation import Annotation, AnnotationError, Shown

LOOPBACK = "127.0.0.1"
MAX_BODY = 4096
SECONDS = 30


class AnnotationServer(ThreadingHTTPServer):
    """Serves one session; `address` is the page with its token. Port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, session: Annotation, port: int = 0) -> None:
        self.session, self.token = session, secrets.token_urlsafe(24)
        self.page = (files("glasshouse.alignment") / "annotation.html").read_bytes()
        super().__init__((LOOPBACK, port), _Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")}

    @property
    def address(self) -> str:
        """What to open in the browser."""
        return f"http://{LOOPBACK}:{self.server_port}/?token={self.token}"


class _Refused(Exception):  # noqa: N818 (an answer, not an error of the program)
    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: AnnotationServer
    server_version, sys_version, protocol_version = "glasshouse", "", "HTTP/1.1"
    timeout = SECONDS

    def do_GET(self) -> None:
        self._answer({"/": self._page, "/question": self._question})

    def do_POST(self) -> None:
        self._answer({"/answer": self._take})

    def _answer(self, routes: dict[str, Any]) -> None:
        try:
            self._check()
            path = urlsplit(self.path).path
            if path not in routes:
                raise _Refused(HTTPStatus.NOT_FOUND, f"there is nothing at {path[:80]!r}")
            routes[path]()
        except _Refused as refused:
            self.close_connection = True  # a body may be left unread
            self._send(refused.status, {"error": str(refused)})

    def _check(self) -> None:
        """Raise unless the request comes from the page. The page itself has its token in the address."""
        if self.headers.get("Host") not in self.server.hosts:
            raise _Refused(HTTPStatus.FORBIDDEN, "this address is not the one that was printed")
        given = parse_qs(urlsplit(self.path).query).get("token", [""])[0] if self.command == "GET" else ""
        given = self.headers.get("X-Token", given)
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            raise _Refused(HTTPStatus.FORBIDDEN, "the token is missing or wrong: open the address that was printed")

    def _page(self) -> None:
        self._send(HTTPStatus.OK, self.server.page)

    def _question(self) -> None:
        self._send(HTTPStatus.OK, self._state(self.server.session.next()))

    def _take(self) -> None:
        body = self._body()
        number, choice = body.get("number"), body.get("choice")
        if not isinstance(number, int) or not isinstance(choice, str):
            raise _Refused(HTTPStatus.BAD_REQUEST, "an answer has a number and a choice")
        try:
            shown = self.server.session.answer(number, choice)
        except AnnotationError as error:
            raise _Refused(HTTPStatus.CONFLICT, str(error)) from None
        except OSError as error:
            raise _Refused(HTTPStatus.INSUFFICIENT_STORAGE, f"the answer could not be written: {error}") from None
        self._send(HTTPStatus.OK, self._state(shown))

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or self.headers.get("Transfer-Encoding"):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "the request does not say how long it is")
        if int(length) > MAX_BODY:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAX_BODY} bytes")
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "an answer is application/json")
        try:
            found = json.loads(self.rfile.read(int(length)))
        except ValueError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"the answer is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise _Refused(HTTPStatus.BAD_REQUEST, "an answer is a JSON object")
        return found

    def _state(self, shown: Shown | None) -> dict[str, Any]:
        session = self.server.session
        total, left = len(session.questions), session.left_to_ask
        state: dict[str, Any] = {"total": total, "answered": total - left, "annotator": session.annotator}
        if shown is None:
            return state | {"ledger": str(session.ledger.path)}
        item = shown.question
        return state | {
            "number": shown.number,
            "prompt": item.prompt,
            "a": shown.a,
            "b": shown.b,
            "because": item.asked_because,
            "expected": shown.expected,
        }

    def _send(self, status: HTTPStatus, content: bytes | dict[str, Any]) -> None:
        page = isinstance(content, bytes)
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8" if page else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        )
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: Any) -> None:
        """The address holds the token, so requests are not written to the terminal."""
