"""Language models, solvers and plain Python in one graph, with verified answers (SymbolicAI, arXiv 2402.00854).

The paper scores graphs by VERTEX, which compares texts and cannot know whether they are true. Here a solver decides
what can be decided: a small parser is trained from templates and answers problems through forward chaining, every
answer with a checked proof; it learns new wording from answers alone; VERTEX stands beside what was found true; texts
under constraints are counted against an untrained model; programs of GPT-4, GPT-3.5 and davinci are solved again.
"""

from __future__ import annotations

from pathlib import Path

from glasshouse.evaluation.steps import Evaluation, Measured, conclude
from glasshouse.store.claims import Measures, Verdict, above, below, claim
from glasshouse.store.recipe import recipe
from glasshouse.symbolic.engines.minilm import installed_folder
from glasshouse.symbolic.invented import spellings, with_invented_words
from glasshouse.symbolic.paraphrases import read_templates
from glasshouse.symbolic.parser_steps import (
    given_problems,
    make_problems,
    parsing_pairs,
    solve_problems,
    teach_itself,
    train_parser,
)
from glasshouse.symbolic.parser_training import ParserTraining
from glasshouse.symbolic.self_training import SelfTraining
from glasshouse.symbolic.steps import constrain_untrained, replay_programs, score_stand_ins

WORDS_FROM = 100
"""Problems of ProntoQA that the word list of the templates `kinds` was taken from; they are not asked."""
EARLY = (60, 120)
"""Updates of parsers that were stopped early."""
REPORTED = {"gpt-4": 0.8763, "gpt-3.5-turbo": 0.6567, "text-davinci-003": 0.6200}
"""LogicalDeduction in Logic-LM (arXiv 2305.12295, table 2), whose programs these are."""
FLOORS = {
    "ProntoQA": (0.83, 0.58, 0.84),
    "ProofWriter": (0.98, 0.48, 0.78),
    "FOLIO": (0.70, 0.49, 0.49),
}
"""Least accuracy of the programs of gpt-4, gpt-3.5-turbo and text-davinci-003."""


@recipe
def symbolic(programs: str = "", updates: int = 800, problems: int = 100, texts: int = 10, seed: int = 0) -> Evaluation:
    """Answers with proofs: a parser trained from templates, VERTEX beside truth, constraints that hold.

    Args:
        programs: a folder with Logic-LM's `sets` and `programs`; without it claims about them are not measured.
        updates: of the parser's training.
        problems: generated problems of every kind.
        texts: texts under every schema.
        seed: of pairs, problems, training and draws.
    """
    kinds, settings = read_templates("kinds"), ParserTraining(steps=updates, seed=seed)
    few = max(1, problems // 2)
    pairs = parsing_pairs(kinds, ("plain",), seed=seed)
    parser = train_parser(pairs, settings)
    known = spellings(kinds) | spellings(with_invented_words(kinds, 1000, seed, spellings(kinds)))
    plain, fewer, new_words, reworded = (
        make_problems(kinds, problems, ("plain",), seed=seed + 1),
        make_problems(kinds, few, ("plain",), seed=seed + 1),
        make_problems(with_invented_words(kinds, 60, seed + 1, known), few, ("plain",), seed=seed + 2),
        make_problems(kinds, few, ("reworded",), deepest=2, around=0, seed=seed + 3),
    )
    answered = make_problems(kinds, 2 * problems, ("plain", "plain", "reworded"), deepest=2, around=0, seed=seed + 4)
    taught = teach_itself(parser, pairs, answered, SelfTraining())
    parts: dict[str, Measured] = {
        "parser": parser,
        "self-training": taught,
        "problems": solve_problems(parser, plain),
        "new words": solve_problems(parser, new_words),
        "new words, nothing copied": solve_problems(parser, new_words, "without copying"),
        "untrained": solve_problems(parser, fewer, "untrained"),
        "reworded": solve_problems(parser, reworded),
        "reworded, taught": solve_problems(taught, reworded),
        "constraints": constrain_untrained(texts, seed=seed),
        "VERTEX": score_stand_ins("minilm" if installed_folder() else "ngrams", seed=seed),
    }
    stopped = {early: train_parser(pairs, settings.but(steps=early)) for early in EARLY}
    parts |= {f"{early} updates": solve_problems(one, fewer) for early, one in stopped.items()}
    parts["60 updates, without the grammar"] = solve_problems(stopped[60], fewer, "without the grammar")
    if programs:
        real = given_problems(str(Path(programs) / "sets" / "ProntoQA.json"), skip=WORDS_FROM)
        other = train_parser(parsing_pairs(kinds, ("plain",), without=real, seed=seed), settings)
        parts |= {
            "ProntoQA": solve_problems(parser, real),
            "ProntoQA, its sentences left out": solve_problems(other, real),
            "recorded": replay_programs(programs),
        }
    return conclude(
        parts,
        claims=[
            the_parser_solves,
            training_takes_less_than_a_minute,
            more_training_solves_more,
            an_untrained_parser_does_not,
            the_grammar_pays_early,
            copying_pays_on_new_words,
            answers_alone_teach_new_wording,
            the_random_column_is_zero,
            vertex_alone_takes_false_for_true,
            verification_tells_them_apart,
            every_text_is_valid,
            what_cannot_be_kept_is_refused,
            prontoqa_is_solved,
            its_sentences_need_not_be_generated,
            prontoqa_beats_the_recorded_models,
            parity_on_logical_deduction,
            recorded_programs_reach_their_floors,
        ],
    )


HOUSE = "house (SymbolicAI)"


@claim("A parser trained on generated pairs answers at least 99 % of generated problems through a solver.", HOUSE)
def the_parser_solves(measures: Measures) -> Verdict:
    return above(measures["problems/accuracy"], 0.99, " of problems")


@claim("It is trained within 60 seconds of CPU time.", HOUSE)
def training_takes_less_than_a_minute(measures: Measures) -> Verdict:
    return below(measures["parser/training/cpu_seconds"], 60, " s")


@claim("Parsers stopped after 60 and 120 updates prove fewer answers, the earlier the fewer.", HOUSE)
def more_training_solves_more(measures: Measures) -> Verdict:
    shares = [measures[f"{early} updates/proved"] for early in EARLY] + [measures["problems/proved"]]
    return Verdict(
        shares == sorted(set(shares)), " < ".join(f"{share:.2f}" for share in shares), "60 < 120 < all updates"
    )


@claim("Control: an untrained parser under the same grammar proves at most 5 % of the answers.", HOUSE)
def an_untrained_parser_does_not(measures: Measures) -> Verdict:
    return below(measures["untrained/proved"], 0.05, " of problems")


@claim("After 60 updates the grammar lets the parser read more sentences rightly than without it.", HOUSE)
def the_grammar_pays_early(measures: Measures) -> Verdict:
    gain = measures["60 updates/sentences"] - measures["60 updates, without the grammar/sentences"]
    return above(gain, 0, " of sentences")


@claim("On words that it has never seen, names copied from the sentence add at least 20 % of sentences.", HOUSE)
def copying_pays_on_new_words(measures: Measures) -> Verdict:
    gain = measures["new words/sentences"] - measures["new words, nothing copied/sentences"]
    return above(gain, 0.2, " of sentences")


@claim("What it teaches itself from known answers adds at least 30 % of sentences in new wording.", HOUSE)
def answers_alone_teach_new_wording(measures: Measures) -> Verdict:
    return above(measures["reworded, taught/sentences"] - measures["reworded/sentences"], 0.3, " of sentences")


@claim("The random column of the benchmark is at most 0.02.", "2402.00854, table of the benchmark, Random: 0.02")
def the_random_column_is_zero(measures: Measures) -> Verdict:
    return below(measures["VERTEX/mock/vertex"], 0.02, " VERTEX")


@claim("VERTEX alone hardly tells false answers from true ones in other words: an area under 0.75.", HOUSE)
def vertex_alone_takes_false_for_true(measures: Measures) -> Verdict:
    return below(measures["VERTEX/area/all/vertex"], 0.75, " ROC area")


@claim("With what a solver finds false at 0 it does: an area of at least 0.9, with p below 0.01 by permutation.", HOUSE)
def verification_tells_them_apart(measures: Measures) -> Verdict:
    area, p = measures["VERTEX/area/all/sound"], measures["VERTEX/p/all/sound"]
    return Verdict(area >= 0.9 and p < 0.01, f"{area:.3f}, p = {p:.4f}", "≥ 0.9, p < 0.01")


@claim(
    "Every text that an untrained model writes under a schema is valid, where masks alone leave some cut off.", HOUSE
)
def every_text_is_valid(measures: Measures) -> Verdict:
    valid, masked, texts = (measures[f"constraints/{name}"] for name in ("valid", "masked", "texts"))
    told = f"{valid:.0f} of {texts:.0f} valid, {masked:.0f} with masks alone"
    return Verdict(valid == texts > masked, told, "all, more than with masks alone")


@claim("The one schema whose keyword cannot be kept is refused before anything is written, with its name.", HOUSE)
def what_cannot_be_kept_is_refused(measures: Measures) -> Verdict:
    refused, named = measures["constraints/refused schemas"], measures["constraints/refused with the keyword"]
    return Verdict(refused == named == 1, f"{refused:.0f} refused, {named:.0f} with its name", "1, with its name")


@claim("ProntoQA: at least 99 % of the 400 problems that no word was taken from are answered rightly.", HOUSE)
def prontoqa_is_solved(measures: Measures) -> Verdict:
    return above(measures["ProntoQA/accuracy"], 0.99, " of problems")


@claim(
    "ProntoQA: with all sentences of these problems taken out of its pairs, it still answers at least 90 % of them.",
    HOUSE,
)
def its_sentences_need_not_be_generated(measures: Measures) -> Verdict:
    return above(measures["ProntoQA, its sentences left out/accuracy"], 0.9, " of problems")


@claim("ProntoQA: that is more than the recorded programs of GPT-4, GPT-3.5 and davinci reach on the set.", HOUSE)
def prontoqa_beats_the_recorded_models(measures: Measures) -> Verdict:
    best = max(measures[f"recorded/ProntoQA/{model}/accuracy"] for model in REPORTED)
    return above(measures["ProntoQA/accuracy"], best, " of problems")


@claim("Recorded programs for LogicalDeduction give the accuracies that Logic-LM reports, to 4 digits.", HOUSE)
def parity_on_logical_deduction(measures: Measures) -> Verdict:
    apart = [abs(measures[f"recorded/LogicalDeduction/{model}/accuracy"] - told) for model, told in REPORTED.items()]
    return below(max(apart), 0.00005, " apart")


@claim("Recorded programs reach the floors of ProntoQA, ProofWriter and FOLIO, and no evidence is found wrong.", HOUSE)
def recorded_programs_reach_their_floors(measures: Measures) -> Verdict:
    spare = [
        measures[f"recorded/{name}/{model}/accuracy"] - floor
        for name, floors in FLOORS.items()
        for model, floor in zip(REPORTED, floors, strict=True)
    ]
    wrong = measures["recorded/problems with evidence"]
    told = f"{min(spare):.4f} above the nearest floor, {wrong:.0f} wrong"
    return Verdict(min(spare) >= 0 and wrong == 0, told, "≥ 0, 0 wrong")
