"""What amortising is worth: the cost of a prompt to a quality, alone and in a set.

    cost of n prompts = n x cost of one (alone)      or the whole run's, however many it covers (amortised)

R-probability is a mean over prompts, on both sides: prompts that were optimised alone reach a quality when their mean
does. A single prompt's probability jumps up and down while it is optimised, so the first time that each one is above it
comes earlier; its mean is kept beside (`first`).
"""

from __future__ import annotations

from collections.abc import Sequence

from glasshouse.store.panels import Curves, Panel, Table
from glasshouse.vision.mesh.ledger import Account, Ledger


def mean_of(accounts: Sequence[Account]) -> Account:
    """The mean of runs of one prompt that were measured after as many pictures.

    Raises `ValueError` for runs that were measured at different times.
    """
    times = {tuple(images for images, _ in account.reached) for account in accounts}
    if len(times) != 1:
        raise ValueError("the mean of runs needs all of them measured after the same numbers of pictures")
    count = len(accounts)
    courses = zip(*(account.reached for account in accounts), strict=True)
    return Account(
        "alone, mean",
        1,
        round(sum(account.images for account in accounts) / count),
        sum(account.cpu_seconds for account in accounts) / count,
        sum(account.gpu_seconds for account in accounts) / count,
        tuple((points[0][0], sum(quality for _, quality in points) / count) for points in courses),
    )


def per_prompt(ledger: Ledger, quality: float, of: str = "images") -> tuple[float, float] | None:
    """Cost of a prompt to `quality`, alone and amortised; None where one of them never reached it.

    `of` is `images` or `cpu_seconds`.
    """
    if not ledger.single or not ledger.amortised:
        return None
    alone = _to(mean_of(ledger.single), quality, of)
    together = [_to(run, quality, of) for run in ledger.amortised]
    known = [cost / run.prompts for cost, run in zip(together, ledger.amortised, strict=True) if cost is not None]
    return None if alone is None or len(known) < len(together) else (alone, sum(known) / len(known))


def _to(account: Account, quality: float, of: str) -> float | None:
    return account.images_to(quality) if of == "images" else account.cpu_seconds_to(quality)


def costs(ledger: Ledger, quality: float) -> dict[str, float]:
    """Costs by name; what was never reached is left out."""
    found: dict[str, float] = {}
    for of in ("images", "cpu_seconds"):
        pair = per_prompt(ledger, quality, of)
        if pair is not None:
            found |= {f"{of}/per prompt": pair[0], f"{of}/amortised": pair[1], f"{of}/ratio": pair[0] / pair[1]}
    first = [account.images_to(quality) for account in ledger.single]
    reached = [images for images in first if images is not None]
    if reached and len(reached) == len(first):
        found["images/first"] = sum(reached) / len(reached)
    return found


def panels(ledger: Ledger, quality: float) -> list[Panel]:
    """The accounts, quality over cost, and the amortisation curve."""
    every = [*ledger.amortised, *ledger.single]
    shown = [*ledger.amortised, *([mean_of(ledger.single)] if ledger.single else [])]
    reached = {
        run.name: [(images / run.prompts, value) for images, value in run.reached] for run in shown if run.reached
    }
    found: list[Panel] = [table("Cost ledger", every, quality)]
    if reached:
        found.append(Curves("Quality over cost", "images a prompt", "R-probability", reached, levels={"goal": quality}))
    pair = per_prompt(ledger, quality)
    return found if pair is None else [*found, curve(pair[0], ledger.amortised, quality)]


def table(title: str, accounts: Sequence[Account], quality: float) -> Table:
    """A row for every run."""
    columns = ["run", "prompts", "images", "CPU s", "GPU s", "images a prompt", f"images a prompt to {quality:g}"]
    note = "Measuring is not counted, and neither is the teacher."
    return Table(title, columns, [_row(account, quality) for account in accounts], note=note)


def _row(run: Account, quality: float) -> list[str | float | int | None]:
    to = run.images_to(quality)
    seconds = round(run.cpu_seconds, 1), round(run.gpu_seconds, 1)
    each = round(run.images / run.prompts), None if to is None else round(to / run.prompts)
    return [run.name, run.prompts, run.images, *seconds, *each]


def curve(alone: float, runs: Sequence[Account], quality: float) -> Curves:
    """Images for n prompts, one by one and by a run that covers them all."""
    most = max(run.prompts for run in runs)
    numbers = sorted({1, *(round(most * share / 8) for share in range(1, 9))} - {0})
    total = sum(run.images_to(quality) or run.images for run in runs) / len(runs)
    series = {
        "one by one": [(float(n), n * alone) for n in numbers],
        "amortised": [(float(n), total) for n in numbers],
    }
    note = "The run over all prompts costs the same however many of them are wanted."
    return Curves("Images until the goal, by prompts wanted", "prompts", "images", series, log_y=True, note=note)
