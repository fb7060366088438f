"""From a node of a text operation to what a language model reads: context, instruction, type, examples, operands.

The order is that of the paper's engines (static context, examples, then instruction and operands); a repair is a turn
of the model with its rejected answer and a turn that says why it was rejected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glasshouse.symbolic.answers import described
from glasshouse.symbolic.call import Message
from glasshouse.symbolic.operations import Operation
from glasshouse.symbolic.values import as_text


def messages(
    operation: Operation, inputs: Sequence[Any], params: Mapping[str, Any], context: str = ""
) -> tuple[Message, ...]:
    """The turns of a call. `context` is the runtime's own, told before the node's."""
    fields = {name: as_text(params.get(name, "")) for name in operation.params}
    parts = [context] if context else []
    if "context" in params and "context" not in operation.params:
        parts.append(as_text(params["context"]))
    parts.append(_filled(operation.instruction, fields))
    if params["answer"] != "text":
        parts.append(f"Answer with {described(params['answer'])}, and nothing else.")
    elif operation.name != "chat":
        parts.append("Give the answer and nothing else.")
    examples = params.get("examples") or operation.examples
    if examples:
        parts.append("\n".join(["Examples:", *map(as_text, examples)]))
    system = "\n\n".join(part for part in parts if part)
    asked = _filled(operation.form, fields | {str(place): as_text(value) for place, value in enumerate(inputs)})
    history = [Message(role, content) for role, content in params.get("history", ())]
    repairs = [turn for text, why in params.get("repairs", ()) for turn in repair(text, why)]
    return (*([Message("system", system)] if system else []), *history, Message("user", asked), *repairs)


def repair(text: str, why: str) -> tuple[Message, Message]:
    """The turns that ask for another answer."""
    return Message("assistant", text), Message("user", f"That answer was not accepted: {why}\nAnswer again.")


def _filled(form: str, fields: Mapping[str, str]) -> str:
    """`form` with its `{name}` replaced, in one pass: braces inside of values stay as they are."""
    pieces = form.split("{")
    made = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}")
        made.append(fields[name] + rest)
    return "".join(made)
