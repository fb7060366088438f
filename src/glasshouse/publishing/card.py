"""The model card: a README in the Hub's form, made from manifests and from what a person says, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from glasshouse.data.description.datasheet_text import Paragraph, Table, plain
from glasshouse.publishing.answers import MODEL_QUESTIONS, ModelAnswers
from glasshouse.publishing.card_text import Chapter, Code, Picture, Piece, Text, card_markdown, panel_pieces
from glasshouse.publishing.facts import Manifest, ModelFacts
from glasshouse.publishing.front_matter import front_matter, yaml_block
from glasshouse.store.carbon import GRIDS, LOWER_BOUND, PUE, carbon_text, energy_text, grid_named

UNKNOWN = "Nothing is recorded: the folder did not come from a store of Glasshouse."
DATA_TABLES = (
    "Documents by source", "What each stage removed", "Personal information masked", "Licences named by the documents",
)  # fmt: skip
"""Tables of the datasheet that stand in the card too."""


@dataclass(frozen=True)
class Extras:
    """What the publication added beside the model, so that the card can point at it.

    Attributes:
        curves: title -> picture file.
        gguf: GGUF file -> its precision.
        notes: about those files, such as what llama.cpp does otherwise.
        datasheets: id of a corpus -> (folder, tables of the datasheet for the card).
        provenance: files that record the run.
    """

    curves: Mapping[str, str] = field(default_factory=dict)
    gguf: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    datasheets: Mapping[str, tuple[str, list[Table]]] = field(default_factory=dict)
    provenance: Sequence[str] = ()


def model_card(facts: ModelFacts, said: ModelAnswers, title: str, family: str, extras: Extras) -> str:
    """The whole README. The same facts and answers give the same text."""
    tags = ["gguf"] if extras.gguf else []
    chapters = [
        Chapter("What it is", list(_what(facts, said, family))),
        Chapter("How to run it", list(_running(facts, said, family, extras))),
        Chapter("Intended use", _asked("uses", said)),
        Chapter("Data", list(_data(facts, extras))),
        Chapter("Training", list(_training(facts, extras))),
        Chapter("Evaluation", list(_evaluation(facts))),
        Chapter("Energy and carbon", list(_energy(facts, said))),
        Chapter("Limits", [*_limits(facts), *_asked("limits", said)]),
        Chapter("Legal", _asked("legal", said)),
        Chapter("How to verify", list(_verification(facts, extras))),
        Chapter("Contact and citation", list(_contact(said))),
    ]
    head = yaml_block(front_matter(facts, said, title, family, tags))
    return head + "\n" + card_markdown(title, chapters)


def _what(facts: ModelFacts, said: ModelAnswers, family: str) -> Iterator[Piece]:
    config = facts.config
    if said.description:
        yield Text(plain(said.description))
    rows: list[Sequence[Any]] = [
        ["parameters", config.parameters],
        ["architecture", f"decoder-only transformer, {family}"],
        ["layers, width, feed-forward", f"{config.layers}, {config.width}, {config.feed_forward}"],
        ["query heads, key/value heads", f"{config.heads}, {config.groups}"],
        ["context", f"{config.context:,} tokens"],
        ["vocabulary", f"{config.vocabulary:,} rows, {'tied to' if config.tied else 'apart from'} the output"],
        ["norm", f"{config.norm} {config.norm_placement} attention and feed-forward"],
        ["rotary theta", f"{config.rope_theta:,.0f}"],
        ["queries, keys and values clamped to", config.clip_qkv or "no"],
        ["precision of the weights", str(facts.weights.dtype).removeprefix("torch.")],
        ["version", said.version],
        ["licence", said.license],
        ["languages", ", ".join(said.language) or None],
        ["creators", ", ".join(said.creators) or None],
        ["published", said.date_published],
        ["address", said.url],
    ]
    yield Table("", ["", ""], [[name, value if value is None else _shown(value)] for name, value in rows])


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _running(facts: ModelFacts, said: ModelAnswers, family: str, extras: Extras) -> Iterator[Piece]:
    place = said.repository or "."
    if family == "hf_olmo":
        yield Text("These are OLMo's original tensor names, which the `ai2-olmo` package and Glasshouse load.")
    else:
        yield Text("With `transformers` (in this folder, or by the name it has on the Hub):")
        yield Code(
            "python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f"model = AutoModelForCausalLM.from_pretrained({json.dumps(place)})\n"
            f"tokenizer = AutoTokenizer.from_pretrained({json.dumps(place)})\n"
            'inputs = tokenizer("The ", return_tensors="pt", return_token_type_ids=False)\n'
            "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=40)[0]))",
        )
    yield Text("With Glasshouse:")
    yield Code(
        "python",
        "from glasshouse.language.generation import Sampling, generate_text\n"
        "from glasshouse.nn.huggingface import load_huggingface\n"
        "from tokenizers import Tokenizer\n\n"
        'model, tokenizer = load_huggingface(".").eval(), Tokenizer.from_file("tokenizer.json")\n'
        'print(generate_text(model, tokenizer, ["The "], Sampling(tokens=40))[0])',
    )
    if extras.gguf:
        yield Text("With llama.cpp:")
        yield Code("console", "\n".join(f"$ llama-cli -m {file} -p 'The ' -n 40" for file in extras.gguf))
        rows = [[file, precision] for file, precision in extras.gguf.items()]
        yield Table("", ["GGUF file", "precision"], rows, " ".join(extras.notes))


def _asked(section: str, said: ModelAnswers) -> list[Piece]:
    return [Paragraph(question, said.to(section, name)) for name, question in MODEL_QUESTIONS[section].items()]


def _data(facts: ModelFacts, extras: Extras) -> Iterator[Piece]:
    if not facts.manifests:
        yield Text(UNKNOWN)
        return
    for name, (folder, tables) in extras.datasheets.items():
        yield Text(f"### Corpus {name}")
        yield Text(f"Its [datasheet]({folder}/datasheet.md), its [metadata]({folder}/croissant.json), and from them:")
        yield from (Table(table.title, table.columns, table.rows, table.note) for table in tables)
    rows = [
        [made["type"], made["id"][:12], made["step"], ", ".join(f"{k}: {v}" for k, v in _measured(made)) or None]
        for made in facts.manifests.values()
    ]
    yield Text("### Lineage")
    if facts.graph:
        yield Code("mermaid", facts.graph)
    yield Table("", ["made", "id", "step", "measured"], rows)


def _measured(manifest: Manifest) -> Iterator[tuple[str, str]]:
    for name, value in manifest["measurements"].items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"


def _training(facts: ModelFacts, extras: Extras) -> Iterator[Piece]:
    if facts.manifest is None:
        yield Text(UNKNOWN)
        return
    if facts.artifact is not None:
        for piece in panel_pieces(facts.artifact.panels()):
            # A panel that is called like the chapter needs no second heading.
            plainly = isinstance(piece, Table) and piece.title == "Training"
            yield Table("", piece.columns, piece.rows, piece.note) if plainly else piece  # type: ignore[union-attr]
    for title, file in extras.curves.items():
        yield Picture(file, title)
    rows = list(_flat(facts.manifest["identity"]["configuration"]))
    yield Table("Configuration as it was asked for", ["setting", "value"], rows)
    hardware, system, code = (facts.manifest[part] for part in ("hardware", "environment", "code"))
    used = facts.manifest["resources"]
    commit = f", commit {code['commit'][:12]}" if code["commit"] else ""
    packages = {name: system["packages"].get(name) for name in ("torch", "numpy", "tokenizers", "safetensors")}
    about = [
        ["step", f"{facts.manifest['step']}, {used['started']} to {used['finished']}"],
        ["processor", f"{hardware['processor']}, {hardware['cores']} cores"],
        ["accelerators", ", ".join(hardware["accelerators"]) or "none"],
        ["code", f"Glasshouse {code['version']}{commit}{' with local changes' if code['modified'] else ''}"],
        ["packages", ", ".join(f"{name} {version}" for name, version in packages.items() if version)],
    ]
    yield Table("Machine and code", ["", ""], about)


def _flat(value: Any, prefix: str = "") -> Iterator[list[str]]:
    """A configuration as rows of dotted names, without types, inputs (they are in the lineage) and what is not set."""
    for name, item in value.items():
        if name.startswith("__") or item in (None, {}, []):
            continue
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield [prefix + name, json.dumps(item, ensure_ascii=False) if not isinstance(item, str) else item]


def _evaluation(facts: ModelFacts) -> Iterator[Piece]:
    if not facts.evaluations:
        yield Text("No evaluation of this model is recorded.")
    for measured in reversed(facts.evaluations):
        yield Text(f"### Evaluation {measured.artifact.id[:12]}")
        yield from panel_pieces(measured.artifact.panels())
        if measured.claims:
            rows = [[c["status"], c["statement"], c["measured"], c["expected"], c["source"]] for c in measured.claims]
            note = "Decided by code on the measured values."
            yield Table("Claims", ["verdict", "statement", "measured", "expected", "source"], rows, note)


def _energy(facts: ModelFacts, said: ModelAnswers) -> Iterator[Piece]:
    account = facts.account
    if not account.steps:
        yield Text(UNKNOWN)
        return
    rows = [
        [step.step, step.made, energy_text(step.joules), "estimate" if step.estimate else "measured", step.source]
        for step in account.steps
    ]
    kind = "all of it measured" if not account.estimated_share else (
        f"{100 * account.estimated_share:.0f} % of it an estimate, good to a factor of two"
    )  # fmt: skip
    lost = f" {account.unknown_attempts} attempts were killed and are not in it." if account.unknown_attempts else ""
    note = f"Together {energy_text(account.joules)}, {kind}.{lost}"
    yield Table("Energy of every step up to the model", ["step", "made", "energy", "known by", "source"], rows, note)
    grids = [grid_named(said.grid)] if said.grid else list(GRIDS.values())
    cells = [
        [grid.name, f"{grid.intensity:g}", carbon_text(account.kilograms(PUE, grid.intensity)), grid.source]
        for grid in grids
    ]
    where = "" if said.grid else " Where it was trained is not stated, so these are what it would have been."
    note = f"Energy x {PUE:g} (power usage effectiveness, assumed) x intensity.{where} {LOWER_BOUND}"
    yield Table("Carbon", ["grid", "kg CO2e per kWh", "CO2e", "source of the intensity"], cells, note)


def _limits(facts: ModelFacts) -> Iterator[Piece]:
    outcome = facts.training.get("outcome", {})
    seen = f" It was trained on {outcome['tokens']:,} tokens." if isinstance(outcome.get("tokens"), int) else ""
    base = facts.manifest is not None and facts.manifest["step"] == "pretrain"
    kind = "It is a base model: it continues documents and was not taught to answer or to refuse. " if base else ""
    yield Text(
        f"{kind}It sees at most {facts.config.context:,} tokens at a time.{seen} What it writes can be false, "
        "private or harmful where its data was; nothing here filters it."
    )


def _verification(facts: ModelFacts, extras: Extras) -> Iterator[Piece]:
    yield Text("Every file of this folder is listed with its hash:")
    yield Code("console", "$ sha256sum -c SHA256SUMS")
    if facts.manifest is None:
        return
    rows = [
        ["artifact", facts.manifest["id"]],
        ["its content", facts.manifest["content"]],
        ["its manifest", facts.manifest.get("manifest_sha256")],
        ["weights", facts.training.get("outcome", {}).get("weights_hash")],
    ]
    yield Table("", ["", "sha256"], [row for row in rows if row[1]])
    if extras.provenance:
        files = ", ".join(f"[{name.partition('/')[2]}]({name})" for name in extras.provenance)
        yield Text(
            f"What the run recorded: {files}. With the store it came from, `glasshouse verify` checks every input "
            "again and `glasshouse trace step` names the documents of any update."
        )


def _contact(said: ModelAnswers) -> Iterator[Piece]:
    yield from _asked("contact", said)
    yield Paragraph("How should it be cited?", said.citation)
