"""Text a model writes after given beginnings, as a measure: to be read, not scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from glasshouse.language.generation import Sampling
from glasshouse.nn.threads import one_thread
from glasshouse.store.configuration import named_seed
from glasshouse.store.panels import Panel, Samples
from glasshouse.store.progress import Bar

if TYPE_CHECKING:
    from glasshouse.language.model import LoadedModel


@dataclasses.dataclass(frozen=True)
class Generations:
    """The measure: one continuation per prompt, drawn with a named seed."""

    prompts: tuple[str, ...]
    sampling: Sampling

    def measure(self, model: LoadedModel, bar: Callable[[str, float | None], Bar]) -> dict[str, Any]:
        """No values; the record holds the prompts with what the model wrote."""
        written = []
        with bar("writing samples", len(self.prompts)) as shown, one_thread():
            for index, prompt in enumerate(self.prompts):
                text = model.continue_text(prompt, self.sampling.but(seed=named_seed(self.sampling.seed, index)))
                written.append([prompt, text])
                shown.advance()
        return {
            "values": {},
            "samples": written,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
        }

    @staticmethod
    def panels(outcome: Mapping[str, Any]) -> list[Panel]:
        """Prompt and continuation, the prompt as caption."""
        note = f"Temperature {outcome['temperature']:g}, top-p {outcome['top_p']:g}; the prompt stands above each text."
        return [Samples("What it writes", [(repr(p), p + t) for p, t in outcome["samples"]], note=note)]


def samples(
    *prompts: str, tokens: int = 120, temperature: float = 0.7, top_p: float = 0.95, seed: int = 0
) -> Generations:
    """Show what the model writes after each prompt."""
    return Generations(prompts, Sampling(tokens=tokens, temperature=temperature, top_p=top_p, seed=seed))
