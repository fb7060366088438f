"""The language model as an artifact: a Hugging Face folder that also knows its training data's order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers

from glasshouse.language.chat import JINJA, Chat, Message, read_chat_template
from glasshouse.language.generation import Sampling, stream, stream_text, whole_characters
from glasshouse.language.measures import measured_curves
from glasshouse.nn.huggingface import load_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.store.artifact import RECORD, Artifact
from glasshouse.store.files import StoreError
from glasshouse.store.lineage import ancestors
from glasshouse.store.panels import Curves, Numbers, Panel

if TYPE_CHECKING:
    from glasshouse.store.store import Store
    from glasshouse.training.receipts import Receipt
    from glasshouse.training.stages import Order

TRAINING = "training.json"
CHECKPOINTS = "checkpoints"
VALIDATION = "validation/"


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer, ready to be measured or to write.

    Attributes:
        end_of_sequence: id of the token between documents; it also stands before a text.
        chat: the chat form, of a model that was tuned in it.
    """

    transformer: Transformer
    tokenizer: tokenizers.Tokenizer
    end_of_sequence: int
    chat: Chat | None = None

    @property
    def context(self) -> int:
        """Longest sequence in tokens."""
        return self.transformer.config.context

    def continue_text(self, prompt: str, sampling: Sampling) -> str:
        """What the model writes after `prompt` (the prompt itself left out)."""
        return "".join(self.stream_text(prompt, sampling))

    def stream_text(self, prompt: str, sampling: Sampling) -> Iterator[str]:
        """The same in pieces, as they are written; a piece is always whole characters."""
        end = self.tokenizer.id_to_token(self.end_of_sequence)
        return stream_text(self.transformer, self.tokenizer, prompt, sampling, end=end)

    def stream_answer(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """The next answer of a conversation in pieces; only for a model with a chat form."""
        assert self.chat is not None  # noqa: S101
        answer = stream(self.transformer, self.chat.prompt(messages), sampling, end=self.end_of_sequence)
        return whole_characters(answer, self.chat.decode)

    def recent(self, messages: Sequence[Message], room: int) -> list[Message]:
        """The conversation without its oldest turns, so that `room` tokens (at most half the context) are to spare.

        System messages stay, and so does the last message whatever its length.
        """
        assert self.chat is not None  # noqa: S101
        kept, most = list(messages), self.context - min(room, self.context // 2)
        while len(self.chat.prompt(kept)) > most:
            oldest = next((number for number, item in enumerate(kept[:-1]) if item.role != "system"), None)
            if oldest is None:
                break
            answered = (
                oldest + 2 < len(kept) and kept[oldest + 1].role == "assistant"
            )  # a question goes with its answer
            del kept[oldest : oldest + 1 + answered]
        return kept

    def tail(self, text: str, room: int) -> str:
        """The end of a text that fits into the context with `room` tokens (at most half the context) to spare."""
        most = self.context - min(room, self.context // 2) - 1
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return text if len(ids) <= most else str(self.tokenizer.decode(ids[-most:])).lstrip("\N{REPLACEMENT CHARACTER}")


class LanguageModel(Artifact):
    """Weights, configuration and tokenizer as `transformers` reads them, and how they were trained."""

    def load(self, device: str = "cpu") -> LoadedModel:
        """The model in evaluation mode."""
        return self.opened(load_huggingface(self.path, device=device))

    def opened(self, transformer: Transformer) -> LoadedModel:
        """A module with this folder's tokenizer and chat form, in evaluation mode."""
        tokenizer = tokenizers.Tokenizer.from_file(str(self.file("tokenizer.json")))
        end = int(self.training["end_of_sequence"])
        chat = Chat(tokenizer, end) if read_chat_template(self.path) == JINJA else None
        return LoadedModel(transformer.eval(), tokenizer, end, chat)

    @cached_property
    def training(self) -> dict[str, Any]:
        """`training.json`: the run's identity (order key, batches, data, configuration) and its outcome."""
        found: dict[str, Any] = json.loads(self.file(TRAINING).read_text(encoding="utf-8"))
        return found

    @property
    def values(self) -> dict[str, float]:
        """Figures of the training run, for claims."""
        outcome = self.training["outcome"]
        first = next(iter(self.metrics), {"loss": float("nan")})["loss"]
        return {
            "training/first_loss": float(first),
            "training/final_loss": float(outcome["loss"]),
            "training/tokens": float(outcome["tokens"]),
            "training/parameters": float(outcome["parameters"]),
        }

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Records of the run, by step: loss, gradient norm, learning rate, validation."""
        return [json.loads(line) for line in self.file("metrics.jsonl").read_text(encoding="utf-8").splitlines()]

    @cached_property
    def receipts(self) -> list[Receipt]:
        """What the run was at each of its checkpoints. Raises `StoreError` for a model that has none."""
        from glasshouse.training.receipts import RECEIPTS, read_receipts

        try:
            return read_receipts(self.file(RECEIPTS))
        except ValueError as error:
            raise StoreError(f"{self} is damaged: {error}") from None

    @property
    def checkpoints(self) -> dict[int, Path]:
        """Update -> directory of every checkpoint that was kept, by update."""
        found = sorted((self.path / CHECKPOINTS).glob("step-*"))
        return {int(path.name.removeprefix("step-")): path for path in found}

    def load_checkpoint(self, update: int, device: str = "cpu") -> LoadedModel:
        """The model as it was after an update whose checkpoint was kept. `StoreError` naming those there are."""
        from glasshouse.training.checkpoint import Checkpoint, load_checkpoint

        if (found := self.checkpoints.get(update)) is None:
            kept = ", ".join(map(str, self.checkpoints)) or "none: pre-train with keep_checkpoints=True"
            raise StoreError(f"{self} has no checkpoint of update {update}; it has {kept}")
        loaded = self.load(device)
        load_checkpoint(Checkpoint.at(found), learns={"model": loaded.transformer}, carries={})
        return loaded

    @property
    def utilisation(self) -> float | None:
        """Model FLOPs utilisation of the whole run (0 to 1), where the peak is known or was measured.

        On a CPU the peak is a short matrix product timed when training began, so other work on the machine moves it.
        """
        path = self.path / RECORD / "timings.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        records = [json.loads(line) for line in lines]
        spent = [record["seconds"] - before["seconds"] for before, record in pairwise(records)]
        shares = [record.get("mfu") for record in records[1:]]
        if not shares or None in shares or min(spent) <= 0:  # unknown peak, or seconds that began anew after a kill
            return None
        return float(sum(share * seconds for share, seconds in zip(shares, spent, strict=True)) / sum(spent))

    def order(self) -> Order:
        """What was seen when, as pure functions of the recorded identity."""
        from glasshouse.training.identity import order_of_run

        return order_of_run(self.training["identity"])

    def panels(self) -> list[Panel]:
        """Loss and learning-rate curves with the headline figures."""
        outcome, metrics = self.training["outcome"], self.metrics
        seconds = self.manifest["measurements"].get("seconds", 0) or 1
        figures = {
            "parameters": f"{outcome['parameters']:,}",
            "tokens seen": f"{outcome['tokens']:,}",
            "updates": f"{outcome['steps']:,}",
            "training time": f"{seconds:.0f} s"
            if not self.manifest["measurements"].get("resumed_from")
            else "interrupted",
        }
        if speed := self.manifest["measurements"].get("tokens_per_second"):
            figures["tokens per second"] = f"{speed:,.0f}"
        if (spent := self.manifest["measurements"].get("measuring_seconds")) is not None:
            figures["of it for measures in the loop"] = f"{spent:.1f} s"
        if (share := self.utilisation) is not None:
            figures["of the matrix speed measured at the start (MFU)"] = f"{100 * share:.0f} %"
        measured = self.training.get("measured", {"untrained": {}, "curves": []})
        taken = [(float(r["step"]), _validated(r)) for r in metrics if any(k.startswith(VALIDATION) for k in r)]
        losses = {"training": [(r["step"], r["loss"]) for r in metrics if "loss" in r]}
        if held_out := [(r["step"], r["validation/loss"]) for r in metrics if "validation/loss" in r]:
            losses["held out"] = held_out
        rates = {"learning rate": [(r["step"], r["learning_rate"]) for r in metrics if "learning_rate" in r]}
        return [
            Numbers("Training", figures),
            Curves(
                "Loss",
                "update",
                "nats per token" if "pairs" not in self.manifest["measurements"] else "nats per pair",
                losses,
            ),
            Curves("Learning rate", "update", "learning rate", rates),
            *measured_curves(measured["curves"], [(0.0, measured["untrained"]), *taken]),
        ]


def model_of(store: Store, reference: str) -> LanguageModel:
    """The language model a reference means: itself, or the newest one behind an evaluation or a recipe's run.

    Raises `StoreError` when there is none.
    """
    found = store.open(reference)
    if not isinstance(found, LanguageModel):
        models = [store.open(name) for name in ancestors(store, found.path.name)]
        found = next((item for item in reversed(models) if isinstance(item, LanguageModel)), found)
    if not isinstance(found, LanguageModel):
        raise StoreError(f"{reference!r} is a {found.manifest['type']} with no language model behind it")
    return found


def _validated(record: Mapping[str, Any]) -> dict[str, float]:
    """The validation values of a record, by their own names."""
    return {name.removeprefix(VALIDATION): value for name, value in record.items() if name.startswith(VALIDATION)}
