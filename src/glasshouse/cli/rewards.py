"""`glasshouse frontier`: what utilities of rewards reach at the same KL, from samples that have scores already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from glasshouse.alignment.algebra import Expression
    from glasshouse.alignment.frontier import Frontier, Preview


@click.command()
@click.argument("samples", nargs=-1, required=True, type=click.Path(dir_okay=False))
@click.option("--utility", "utilities", multiple=True, required=True, metavar="[NAME=]TEXT",
              help="A utility; may be given again. Gains are over the first.")  # fmt: skip
@click.option("--judge", "judges", multiple=True, metavar="SCORE=COLUMN",
              help="Judge by the rewards in COLUMN (a larger model's) instead of the score itself.")  # fmt: skip
@click.option("--accuracy", "accuracies", multiple=True, metavar="SCORE=SHARE",
              help="Share of held-out comparisons that a reward model calls right, shown beside.")  # fmt: skip
@click.option("--kl", metavar="NATS,…", help="Where to look.  [default: 0.25 to 5]")
@click.option("--best-of", metavar="K,…", help="Best of how many, beside the optimum.  [default: 2,4,…,64]")
@click.option("--missing", type=click.Choice(["raise", "drop"]), default="raise", show_default=True,
              help="What is done with samples that lack a score: they never count as good.")  # fmt: skip
@click.option("--prompt", default="prompt", show_default=True, help="Column that says which samples belong together.")
@click.option("--seed", default=0, show_default=True, help="Of the bands.")
@click.option("--out", type=click.Path(file_okay=False), help="Write frontier.html and frontier.json into it.")
@click.option("--json", "as_json", is_flag=True, help="Print the frontier as JSON.")
def frontier(
    samples: tuple[str, ...],
    utilities: tuple[str, ...],
    judges: tuple[str, ...],
    accuracies: tuple[str, ...],
    missing: Any,
    prompt: str,
    out: str | None,
    as_json: bool,
    **looked: Any,
) -> None:
    """Preview what rewards would do to a policy: win rates against KL, before anything is trained.

    SAMPLES are files of JSON Lines or Parquet with a row for every sample of the base policy: its prompt and a column
    for every score. Utilities are written from the names of scores:

    \b
      helpful & harmless               both beat the 85th percentile of their prompt
      good(harmless, refusal)          ... or the value in a column, such as a canned refusal's reward
      raw(helpful) + raw(harmless)     the sum of scores as they are
      ~toxic   a | b   0.5 * a + b   worst(a, b)   sigmoid(a)   z_score(a)   clip(a, -1, 2)   after_sum(a, b)

    The policies are exact over the samples: the KL-regularised optimum, and best of k.
    """
    from glasshouse.alignment.scored_samples import preview_samples

    named = expressions(utilities)
    found = preview_samples(
        samples, named, pairs_of(judges, "--judge"), preview_of(looked),
        accuracy={name: _share(text) for name, text in pairs_of(accuracies, "--accuracy").items()},
        missing=missing, prompt=prompt,
    )  # fmt: skip
    if out is not None:
        write(found, Path(out))
    if as_json:
        click.echo(json.dumps(found.as_json()))
    else:
        tell(found)


def expressions(texts: tuple[str, ...]) -> dict[str, Expression]:
    """Utilities by name; the text names one that has no other name."""
    from glasshouse.alignment.utility_text import parse_utility

    found: dict[str, Expression] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        name, written = (name.strip(), rest) if equals else (text.strip(), text)
        if name in found:
            raise click.UsageError(f"two utilities are called {name!r}: name them with NAME=TEXT")
        found[name] = parse_utility(written)
    return found


def pairs_of(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """NAME=VALUE options by name."""
    found = dict(text.split("=", 1) for text in texts if "=" in text)
    if len(found) < len(texts):
        raise click.BadParameter(f"{' '.join(texts)!r} is not NAME=VALUE with each name once", param_hint=option)
    return found


def preview_of(looked: dict[str, Any]) -> Preview:
    """Where to look."""
    from glasshouse.alignment.frontier import Preview

    given: dict[str, Any] = {"seed": looked["seed"]}
    for name, kind in (("kl", float), ("best_of", int)):
        if looked[name] is not None:
            try:
                given[name] = tuple(kind(part) for part in looked[name].split(",") if part.strip())
            except ValueError:
                hint = f"--{name.replace('_', '-')}"
                raise click.BadParameter(f"{looked[name]!r} is no list of numbers", param_hint=hint) from None
    return Preview(**given)


def _share(text: str) -> float:
    try:
        share = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise click.BadParameter(f"{text!r} is no share between 0 and 1", param_hint="--accuracy")
    return share


def tell(found: Frontier) -> None:
    """The frontier as lines of text."""
    click.echo(f"{found.prompts} prompts, up to {found.samples} samples each")
    if found.own_judge:
        click.echo(f"judged by the very scores that are optimised, an optimist's picture: {', '.join(found.own_judge)}")
    click.echo(f"they carry policies up to KL {found.trusted_kl:.2f}")
    for name, share in found.accuracy.items():
        click.echo(f"reward model {name}: right on {share:.1%} of pairs")
    for point in found.points:
        shown = [
            f"{measure} {value:.3f} [{low:.3f}, {high:.3f}]" for measure, (value, low, high) in headline(point.measures)
        ]
        click.echo(f"{point.utility}  {point.policy}  KL {point.kl:.2f}  {'  '.join(shown)}")
        gains = [
            f"{measure} {value:+.3f} [{low:+.3f}, {high:+.3f}]" for measure, (value, low, high) in headline(point.gains)
        ]
        if gains:
            click.echo(f"    gain  {'  '.join(gains)}")
    for text in found.left_out:
        click.echo(f"not shown: {text}")


def headline(measures: Any) -> list[tuple[str, tuple[float, float, float]]]:
    """Win rates, and whether everything is good at once."""
    return [(name, value) for name, value in measures.items() if name.startswith("win/") or name == "joint"]


def write(found: Frontier, out: Path) -> None:
    """The page and the numbers."""
    from glasshouse.alignment.frontier_panels import panels
    from glasshouse.store.report import write_panels

    out.mkdir(parents=True, exist_ok=True)
    (out / "frontier.json").write_text(json.dumps(found.as_json(), indent=1) + "\n", encoding="utf-8")
    summary = "Win rates against KL, before anything is trained."
    page = write_panels(out / "frontier.html", "Frontier", summary, "glasshouse frontier", panels([found]))
    click.echo(f"wrote {page}", err=True)
