"""The chat form of OLMo and open-instruct: how a conversation becomes tokens, and which of them are learnt.

    {end}<|system|>\\n…\\n<|user|>\\n…\\n<|assistant|>\\n…{end}\\n<|user|>\\n…

The end-of-sequence token opens the sequence, as it opens a document in pre-training, and closes every answer. Learnt
are the tokens of an answer and its end token, not the line break after it (Open-Instruct, arXiv 2306.04751; OLMo, arXiv
2402.00838, which is adapted with it). `JINJA` is the same form for `tokenizer_config.json`: `apply_chat_template` gives
the same ids and, with `return_assistant_tokens_mask`, the same tokens to learn.

Text between two end tokens is encoded in one piece, as `transformers` does it. A token that reaches over the border of
an answer, such as one of two line breaks, counts as part of the answer. Deviation from open-instruct: content is kept
as it is, where their code strips white space around it.

The role markers are plain text in this form, so content with a line `<|user|>` gives the tokens of a real turn: see
`holds_role_marker`. Special tokens are another matter: here the text `<|endoftext|>` in content is always encoded as
plain characters and can never end an answer. `transformers` makes the special token of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from glasshouse.data.tokens.encoder import with_special_as_text

ROLES = ("system", "user", "assistant")
MARKERS = {role: f"<|{role}|>" for role in ROLES}
JINJA = (
    "{{ eos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|assistant|>\\n' }}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}{{ '\\n' }}"
    "{% elif message['role'] in ['system', 'user'] %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}"
    "{% else %}{{ raise_exception('a role is system, user or assistant, not ' + message['role']) }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


class ChatError(ValueError):
    """A conversation, or a tokenizer, that the chat form has no place for."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


class Encoded(NamedTuple):
    """A conversation as tokens; `learnt` says which of them are an answer's."""

    tokens: NDArray[np.int64]
    learnt: NDArray[np.bool_]


class Chat:
    """The chat form over a tokenizer whose token `end` closes documents and answers."""

    def __init__(self, tokenizer: Tokenizer, end: int) -> None:
        token = tokenizer.get_added_tokens_decoder().get(end)
        if token is None or not token.special or token.lstrip or token.rstrip:
            raise ChatError(
                f"token {end} ({tokenizer.id_to_token(end)!r}) is not a special token that leaves the white space "
                "around it alone: answers need one to end with"
            )
        self.end = end
        self.tokenizer = with_special_as_text(tokenizer)

    def encode(self, messages: Sequence[Message], *, learn_from: int = 0) -> Encoded:
        """Tokens of a conversation; answers before message `learn_from` are context and not learnt.

        Raises `ChatError` for a role that is not system, user or assistant.
        """
        return self._encode(messages, learn_from, "")

    def _encode(self, messages: Sequence[Message], learn_from: int, opening: str) -> Encoded:
        tokens, learnt = [self.end], [False]
        text, answers = "", list[tuple[int, int]]()
        for number, (role, content) in enumerate(messages):
            if role not in ROLES:
                raise ChatError(f"message {number} has the role {role!r}: it should be {', '.join(ROLES)}")
            text += MARKERS[role] + "\n"
            if role != "assistant":
                text += content + "\n"
                continue
            learns = number >= learn_from
            answers += [(len(text), len(text) + len(content))] if learns else []
            self._extend(tokens, learnt, text + content, answers)
            tokens.append(self.end)
            learnt.append(learns)
            text, answers = "\n", []
        self._extend(tokens, learnt, text + opening, answers)
        return Encoded(np.array(tokens, np.int64), np.array(learnt, np.bool_))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of a conversation up to where the model's next answer begins."""
        found: list[int] = self._encode(messages, len(messages), MARKERS["assistant"] + "\n").tokens.tolist()
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without special tokens."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _extend(self, tokens: list[int], learnt: list[bool], text: str, answers: list[tuple[int, int]]) -> None:
        found = self.tokenizer.encode(text, add_special_tokens=False)
        tokens += found.ids
        learnt += [any(begin < last and first < end for first, last in answers) for begin, end in found.offsets]


def holds_role_marker(content: str) -> bool:
    """Whether a line of the content is a role marker, which the model cannot tell from a real turn."""
    return any(line in MARKERS.values() for line in content.splitlines())


def parse_messages(value: Any) -> tuple[Message, ...]:
    """Messages from the Hugging Face form `[{"role", "content"}]`. Raises `ChatError` saying what is wrong where."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        raise ChatError(f"messages are a list of {{role, content}}, got {_shown(value)}")
    return tuple(_message(item, number) for number, item in enumerate(value))


def _message(item: Any, number: int) -> Message:
    if not isinstance(item, Mapping):
        raise ChatError(f"message {number} is not {{role, content}}: {_shown(item)}")
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise ChatError(f"message {number} has the role {_shown(role)}: it should be {', '.join(ROLES)}")
    if item.get("tool_calls"):
        raise ChatError(f"message {number} calls tools, which this form has no place for")
    if not isinstance(content, str):
        raise ChatError(f"message {number} ({role}) has content that is not text: {_shown(content)}")
    try:
        content.encode()
    except UnicodeEncodeError:
        raise ChatError(f"message {number} ({role}) holds half of a surrogate pair, which has no UTF-8 form") from None
    return Message(role, content)


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}" if value is not None and not isinstance(value, str) else repr(value)[:40]


def write_chat_template(folder: str | Path) -> None:
    """Put the chat form into a folder's `tokenizer_config.json`, for `apply_chat_template`."""
    path = Path(folder) / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(settings | {"chat_template": JINJA}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_chat_template(folder: str | Path) -> str | None:
    """The chat template of a model folder, in `tokenizer_config.json` or `chat_template.jinja`."""
    home = Path(folder)
    if (file := home / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8")
    if not (file := home / "tokenizer_config.json").is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8")).get("chat_template")
    return found if isinstance(found, str) else None
