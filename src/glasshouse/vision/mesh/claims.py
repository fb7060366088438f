"""What the recipe `text_to_mesh` claims, from measured values. Thresholds were set before the run, by prototypes."""

from __future__ import annotations

from glasshouse.store.claims import Measures, Verdict, above, below, claim

PAPER = "2402.00867"


def worst(measures: Measures, run: str, value: str) -> float:
    """The lowest value over the seeds of a run."""
    found = [measures[name] for name in measures if name.startswith(f"{run}, seed ") and name.endswith(f"/{value}")]
    if not found:
        raise KeyError(f"{run}, seed 0/{value}")
    return min(found)


def mean(measures: Measures, run: str, value: str) -> float:
    """The mean over the seeds of a run."""
    found = [measures[name] for name in measures if name.startswith(f"{run}, seed ") and name.endswith(f"/{value}")]
    if not found:
        raise KeyError(f"{run}, seed 0/{value}")
    return sum(found) / len(found)


@claim(
    "One generator, trained on 56 prompts at once by score distillation from a diffusion model, makes meshes that an "
    "independent judge knows among 576 prompts: R-probability at least 0.75, in every seed.",
    f"{PAPER}, abstract",
)
def one_generator_makes_many_meshes(measures: Measures) -> Verdict:
    return above(worst(measures, "64 prompts", "seen/r_probability"), 0.75)


@claim(
    "It makes meshes of the 8 prompts on the diagonal that it was never trained on: R-probability at least 0.70, in "
    "every seed.",
    f"{PAPER}, Pig64",
)
def unseen_prompts_work(measures: Measures) -> Verdict:
    return above(worst(measures, "64 prompts", "unseen/r_probability"), 0.70)


@claim("Before training its meshes tell the judge nothing: R-probability below 0.01.", "house (AToM)")
def nothing_comes_from_nothing(measures: Measures) -> Verdict:
    return below(worst(measures, "64 prompts", "untrained/r_probability"), 0.01)


@claim(
    "To a mean R-probability of 0.8, prompts optimised alone need at least 4 times the pictures of those in a set of "
    "56.",
    f"{PAPER}, abstract (10 times less training)",
)
def amortised_is_cheaper(measures: Measures) -> Verdict:
    verdict = above(measures["costs/images/ratio"], 4, " times")
    first = measures["costs/images/first"] / measures["costs/images/amortised"]
    return Verdict(
        verdict.holds, f"{verdict.measured} ({first:.4g} by the first time each is above it)", verdict.expected
    )


@claim(
    "Over the 576 prompts that it makes at R-probability 0.8 or more, seen or not, a prompt takes at most a tenth of "
    "the pictures that one optimised alone takes to get there.",
    f"{PAPER}, abstract (10 times less training)",
)
def the_larger_the_set_the_cheaper(measures: Measures) -> Verdict:
    reached = min(worst(measures, "576 prompts", f"{half}/r_probability") for half in ("seen", "unseen"))
    times = measures["costs/images/per prompt"] / (worst(measures, "576 prompts", "images") / 576)
    return Verdict(times >= 10 and reached >= 0.8, f"{times:.4g} times at {reached:.3f}", "≥ 10 times at ≥ 0.8")


@claim(
    "Trained on 72 of 576 prompts, it knows the others: R@1 at least 0.65 on unseen prompts, in every seed.",
    f"{PAPER}, Animal2400",
)
def an_eighth_of_the_prompts_is_enough(measures: Measures) -> Verdict:
    return above(worst(measures, "576 prompts", "unseen/r_at_1"), 0.65)


@claim(
    "With triplanes, unseen prompts are right at least 1.4 times as often as with a hyper-network after as many "
    "pictures (R@1, means over seeds).",
    f"{PAPER}, ablation",
)
def triplanes_generalise(measures: Measures) -> Verdict:
    return above(over_hypernet(measures, "576 prompts, hypernet"), 1.4, " times")


@claim(
    "The same at equal CPU time: those of the triplanes are at most 1.1 times as many seconds.", f"{PAPER}, ablation"
)
def triplanes_generalise_at_equal_cost(measures: Measures) -> Verdict:
    times = over_hypernet(measures, "576 prompts, hypernet")
    seconds = [measures[f"costs/CPU seconds/576 prompts{kind}, seed 0"] for kind in ("", ", hypernet")]
    holds = times >= 1.4 and seconds[0] <= 1.1 * seconds[1]
    return Verdict(
        holds, f"{times:.4g} times in {seconds[0]:.0f} and {seconds[1]:.0f} s", "≥ 1.4 times, ≤ 1.1 × the time"
    )


@claim("The same when the hyper-network is trained with twice the pictures.", "house (AToM)")
def triplanes_generalise_better_than_longer_training(measures: Measures) -> Verdict:
    return above(over_hypernet(measures, "576 prompts, hypernet longer"), 1.4, " times")


def over_hypernet(measures: Measures, run: str) -> float:
    """R@1 of unseen prompts over that of a hyper-network."""
    other = mean(measures, run, "unseen/r_at_1")
    return mean(measures, "576 prompts", "unseen/r_at_1") / max(other, 1e-9)


@claim(
    "Two stages, volume then mesh, are better than the mesh stage alone with as many pictures (R-probability of seen "
    "prompts, by 0.02).",
    f"{PAPER}, ablation",
)
def two_stages_are_better(measures: Measures) -> Verdict:
    gain = mean(measures, "64 prompts", "seen/r_probability") - mean(
        measures, "64 prompts, one stage", "seen/r_probability"
    )
    return above(gain, 0.02)


@claim(
    "A prompt becomes a GLB file in less than a second (CPU time on one core, 32 cells a side).", f"{PAPER}, abstract"
)
def a_mesh_takes_less_than_a_second(measures: Measures) -> Verdict:
    return below(measures["latency/prompt to GLB, CPU s"], 1.0, " s")


@claim("Reading the text and making its planes takes at most 50 ms of it.", "house (AToM)")
def planes_take_no_time(measures: Measures) -> Verdict:
    return below(measures["latency/text and planes, CPU s"], 0.05, " s")


@claim("Every mesh is watertight.", "house (AToM)")
def meshes_are_closed(measures: Measures) -> Verdict:
    share = measures["latency/watertight"]
    return Verdict(share == 1, f"{share:.0%} of prompts", "100 % of prompts")


@claim(
    "The teacher's pictures at guidance 4 are what the judge was told in at least 90 % of cases, 8 points more than at "
    "guidance 1.",
    "house (AToM)",
)
def the_teacher_follows_its_text(measures: Measures) -> Verdict:
    strong, plain = measures["teacher/guidance 4/r_at_1"], measures["teacher/guidance 1/r_at_1"]
    holds = strong >= 0.9 and strong - plain >= 0.08
    return Verdict(holds, f"{strong:.1%} and {plain:.1%}", "≥ 90 % and 8 points")


@claim(
    "Twenty updates on one unseen prompt alone, from what the generator makes of it, raise its R-probability (mean "
    "over prompts).",
    "house (AToM)",
)
def refining_helps(measures: Measures) -> Verdict:
    return above(measures["refined/seen/r_probability"] - measures["refined/untrained/r_probability"], 0)


@claim("The judge knows true pictures: R@1 at least 0.98 among 576 prompts, from one view.", "house (AToM)")
def the_judge_can_judge(measures: Measures) -> Verdict:
    return above(measures["judge/r_at_1"], 0.98)


@claim("The judge knows the meshes of most captions: R@1 at least 0.8.", "house (AToM)")
def own_world_is_recognised(measures: Measures) -> Verdict:
    return above(measures["model/seen/r_at_1"], 0.8)


CLAIMS = (
    one_generator_makes_many_meshes,
    unseen_prompts_work,
    nothing_comes_from_nothing,
    amortised_is_cheaper,
    the_larger_the_set_the_cheaper,
    an_eighth_of_the_prompts_is_enough,
    triplanes_generalise,
    triplanes_generalise_at_equal_cost,
    a_mesh_takes_less_than_a_second,
    planes_take_no_time,
    meshes_are_closed,
    refining_helps,
    the_teacher_follows_its_text,
    the_judge_can_judge,
)
ABLATIONS = (two_stages_are_better, triplanes_generalise_better_than_longer_training)
