"""The YAML at the head of a model card, as the Hub reads it: licence, language, data, and a model index of results."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from glasshouse.publishing.answers import ModelAnswers
from glasshouse.publishing.evaluations import Measured
from glasshouse.publishing.facts import ModelFacts

TASK = {"type": "text-generation", "name": "Text generation"}
NOT_RESULTS = ("Generations", "CuratedCorpus", "Comparison", "Of", "CarbonTable")
"""Measures that say nothing about how good the model is, or speak of other models."""
NOT_METRICS = ("low", "high", "error", "spread", "normalised", "items", "cut")
"""Values that stand beside a metric."""
MOST_RESULTS = 100
OURS = "bits_per_byte/model/"


def front_matter(facts: ModelFacts, said: ModelAnswers, name: str, family: str, tags: list[str]) -> dict[str, Any]:
    """The metadata; keys that nobody has stated are left out, as the Hub wants it."""
    found: dict[str, Any] = {
        "license": said.license,
        "license_link": said.license_link,
        "language": list(said.language),
        "library_name": "transformers" if family != "hf_olmo" else None,
        "pipeline_tag": "text-generation",
        "tags": sorted({"glasshouse", family, *tags, *said.tags}),
        "datasets": list(said.datasets),
        "base_model": said.base_model,
    }
    if results := list(_results(facts.evaluations)):
        found["metrics"] = sorted({metric["type"] for result in results for metric in result["metrics"]})
        found["model-index"] = [{"name": name, "results": results[:MOST_RESULTS]}]
    return {key: value for key, value in found.items() if value not in (None, [], "")}


def yaml_block(metadata: dict[str, Any]) -> str:
    """The metadata between its two rules."""
    import yaml

    body = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return f"---\n{body}---\n"


def _results(evaluations: list[Measured]) -> Iterator[dict[str, Any]]:
    """One result per data set of every measure, from the newest evaluation that has it."""
    seen: set[str] = set()
    for measured in reversed(evaluations):
        for outcome in measured.outcomes:
            if outcome["measure"] in NOT_RESULTS:
                continue
            for dataset, kind, value in _values(outcome):
                key = f"{dataset}/{kind}"
                if key not in seen and math.isfinite(value):
                    seen.add(key)
                    metric = {"type": kind, "value": round(float(value), 6), "verified": False}
                    about = {"name": dataset, "type": outcome["measure"].lower()}
                    yield {"task": dict(TASK), "dataset": about, "metrics": [metric]}


def _values(outcome: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """(data set, metric, value) of a measure; of bits per byte only the model's, not those of its baselines."""
    whole = {"micro": "held-out documents", "macro": "held-out documents, sources alike"}
    ordered = sorted(outcome["values"].items(), key=lambda item: item[0].removeprefix(OURS) not in whole)
    for name, value in ordered:
        if name.startswith(OURS):
            part = name.removeprefix(OURS)
            yield whole.get(part, f"held-out documents: {part}"), "bits_per_byte", value
        elif not name.startswith(("bits_per_byte/", "advantage/", "nats_per_token/")):
            dataset, _, metric = name.rpartition("/")
            if metric not in NOT_METRICS and not dataset.endswith("/baseline"):
                yield dataset.removeprefix("tasks/") or outcome["measure"], metric, value
