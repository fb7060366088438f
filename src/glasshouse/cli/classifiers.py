"""Commands on text classifiers: train one from labelled text, ask one about a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("train-classifier")
@click.argument("labelled", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--text", default="text", show_default=True, help="Field of a line that holds the text.")
@click.option("--label", default="label", show_default=True, help="Field of a line that holds the label.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory of the classifier.")
@click.option("--epochs", default=4.0, show_default=True, help="Passes over the examples.")
@click.option("--buckets", default=1 << 17, show_default=True, help="Size of the hashed table, a power of two.")
@click.option("--width", default=16, show_default=True, help="Width of the embedding.")
@click.option("--holdout", default=0.1, show_default=True, help="Share of the examples that measures only.")
@click.option("--balanced", is_flag=True, help="Let every label weigh the same.")
@click.option("--seed", default=0, show_default=True, help="The same examples and seed give the same classifier.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def train_classifier(
    labelled: tuple[Path, ...], text: str, label: str, out: Path, as_json: bool, **settings: Any
) -> None:
    """Train a text classifier from LABELLED lines of JSON (`.jsonl`, `.gz`, `.zst`), for toxicity or quality signals.

    A label may be text, a number or true/false; it is taken as text. Give `--families toxicity` the directory.
    """
    from dataclasses import asdict

    from glasshouse.data.signals.classifier_examples import read_labelled
    from glasshouse.language.text_classifier import ClassifierSettings, train_text_classifier

    texts, labels = read_labelled(labelled, text, label)
    report = train_text_classifier(texts, labels, out, ClassifierSettings(**settings))
    if as_json:
        click.echo(json.dumps(asdict(report) | {"classifier": str(out)}, ensure_ascii=False))
        return
    shown = ", ".join(f"{name} {number}" for name, number in report.examples.items())
    click.echo(f"trained on {shown} in {report.cpu_seconds:.1f} CPU-seconds")
    if report.precision_at_1 is not None:
        click.echo(f"held out {sum(report.held_out.values())}: right label first for {report.precision_at_1:.1%}")
        for name, found in report.per_label.items():
            click.echo(f"  {name}: precision {found['precision']:.3f}, recall {found['recall']:.3f}")
    click.echo(f"written to {out}")


@click.command("classify")
@click.argument("classifier", type=click.Path(exists=True, path_type=Path))
@click.argument("texts", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per text.")
def classify(classifier: Path, texts: tuple[str, ...], as_json: bool) -> None:
    """Print the score of every label of a CLASSIFIER for TEXTS."""
    from glasshouse.data.signals.classifier import open_classifier

    model = open_classifier(classifier)
    for text, row in zip(texts, model.score_texts(texts).tolist(), strict=True):
        scores = dict(zip(model.labels, row, strict=True))
        if as_json:
            click.echo(json.dumps({"text": text, "scores": scores}, ensure_ascii=False))
        else:
            shown = "  ".join(
                f"{name} {score:.4f}" for name, score in sorted(scores.items(), key=lambda item: -item[1])
            )
            click.echo(f"{shown}  {text[:80]}")
