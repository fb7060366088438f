"""A server on the loopback interface that answers as it is told, and remembers what it was asked."""

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Told:
    """One response: status, headers, body in pieces (a number among them is a pause in seconds)."""

    def __init__(self, *pieces, status=200, headers=None, length=None, chunked=False, before=0.0):
        self.pieces = pieces
        self.status = status
        self.headers = headers or {}
        self.length = length
        self.chunked = chunked
        self.before = before


def said(text, **more):
    return Told(
        json.dumps({"model": "served", "choices": [{"message": {"content": text}, "finish_reason": "stop"}], **more})
    )


def events(*texts, end=True):
    lines = [f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n" for text in texts]
    return Told(
        *lines, *(["data: [DONE]\n\n"] if end else []), headers={"Content-Type": "text/event-stream"}, length=False
    )


@contextmanager
def serving(*responses):
    """The address of a server that gives these responses in order, and the list of requests it got."""
    left = list(responses)
    requests = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append({"path": self.path, "headers": dict(self.headers), "content": content})
            told = left.pop(0)
            time.sleep(told.before)
            body = [piece.encode() if isinstance(piece, str) else piece for piece in told.pieces]
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            if told.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif told.length is not False:
                whole = sum(len(piece) for piece in body if isinstance(piece, bytes))
                self.send_header("Content-Length", str(told.length or whole))
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            for piece in body:
                if isinstance(piece, bytes):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if told.chunked else piece)
                    self.wfile.flush()
                else:
                    time.sleep(piece)

        def log_message(self, *_):
            pass

        def handle(self):
            with suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
