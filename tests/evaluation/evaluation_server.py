"""A server of the OpenAI interface on this machine, with a model of the house behind it and faults on demand."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from glasshouse.language.generation import Sampling, generate


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.seen.append((self.path, asked, dict(self.headers)))
        fault = server.faults.pop(0) if server.faults else None
        if fault is not None:
            status, headers, body = fault
        else:
            status, headers, body = 200, {}, server.answer(self.path, asked)
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def served(model, *, echo=True):
    """Yields a server with `url`, `seen` requests, and `faults`: (status, headers, body) to be given first."""

    def answer(path, asked):
        if "messages" in asked:
            text = _text(model, asked["messages"][-1]["content"], asked["max_tokens"])
            return {"choices": [{"message": {"content": text}}], "usage": {"completion_tokens": asked["max_tokens"]}}
        prompt = asked["prompt"]
        if asked.get("echo") and echo:
            return {"choices": [_echo(model, prompt)]}
        return {"choices": [{"text": _text(model, prompt, asked["max_tokens"])}]}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.seen, server.faults = answer, [], []
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _text(model, prompt, tokens):
    ids = model.tokenizer.encode(prompt, add_special_tokens=False).ids
    (made,) = generate(model.transformer, [ids], Sampling(tokens=tokens), end=model.end_of_sequence)
    return model.tokenizer.decode(made)


@torch.no_grad()
def _echo(model, prompt):
    """Every token of the prompt and one more, each with its log-probability and that of the likeliest one."""
    found = model.tokenizer.encode(prompt, add_special_tokens=False)
    scores = model.transformer(torch.tensor([found.ids])).logits[0].double().log_softmax(-1)
    likeliest = [None, *scores.argmax(-1).tolist()]
    ids = [*found.ids, likeliest[-1]]
    nats = [None, *(float(scores[place, token]) for place, token in enumerate(ids[1:]))]
    tops = [None, *({str(best): float(scores[place, best])} for place, best in enumerate(likeliest[1:]))]
    offsets = [start for start, _ in found.offsets]
    return {
        "text": prompt,
        "logprobs": {
            "tokens": [str(token) for token in ids],
            "token_logprobs": nats,
            "top_logprobs": tops,
            "text_offset": [*offsets, len(prompt)],
        },
    }
