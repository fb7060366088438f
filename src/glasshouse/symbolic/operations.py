"""The operations that ask engines, as one table: SymbolicAI (arXiv 2402.00854), operators and named primitives.

The instructions, forms and examples are this project's own words. Deviations: nothing is asked when plain Python has
an answer, since that would be a hidden call (see `Sym`); `execute` and `write_function` (the paper's expand) give text
and run nothing; reading files, the web and the microphone is left to the caller, who makes a `Sym` of what was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from glasshouse.symbolic.examples import EXAMPLES


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        name: its name under `.sem`.
        kind: which engines answer it.
        instruction: what a language model is told; `{name}` stands for a parameter.
        form: how operands and parameters are written, in the prompt and in the examples; `{0}` is the first operand.
        answer: the type of the answer where the caller names no other: see `answers`.
        params: its parameters, in the order in which they may be given after the operands.
        operands: how many symbols it takes, the one before `.sem` included; None is any number.
        operator: the Python operator that builds it under `.sem`.
    """

    name: str
    kind: str
    instruction: str
    form: str = "{0} =>"
    answer: str = "text"
    params: tuple[str, ...] = ()
    operands: int | None = 1
    operator: str = ""

    @property
    def examples(self) -> tuple[str, ...]:
        """Lines in the form of the prompt, each with its answer."""
        return EXAMPLES.get(self.name, ())


def _text(name: str, instruction: str, form: str = "{0} =>", answer: str = "text", *params: str) -> Operation:
    return Operation(name, "text", instruction, form, answer, params)


def _pair(name: str, operator: str, instruction: str, form: str, answer: str = "text") -> Operation:
    return Operation(name, "text", instruction, form, answer, (), 2, operator)


_OPERATORS = (
    _pair("equals", "==", "Do the two sides mean the same?", "{0} == {1} =>", "boolean"),
    _pair("differs", "!=", "Do the two sides mean different things?", "{0} != {1} =>", "boolean"),
    _pair("less", "<", "Is the left side less than the right side?", "{0} < {1} =>", "boolean"),
    _pair("greater", ">", "Is the left side greater than the right side?", "{0} > {1} =>", "boolean"),
    _pair("at_most", "<=", "Is the left side less than or equal to the right side?", "{0} <= {1} =>", "boolean"),
    _pair("at_least", ">=", "Is the left side greater than or equal to the right side?", "{0} >= {1} =>", "boolean"),
    _pair("contains", "", "Does the second text hold the meaning of the first?", "{1} in {0} =>", "boolean"),
    _pair("combine", "+", "Combine both sides into one: add numbers, join facts.", "{0} + {1} =>"),
    _pair("without", "-", "Take the meaning of the second text out of the first.", "text {0} without {1} =>"),
    _pair("both", "&", "What follows from both statements together?", "expr :{0}: and :{1}: =>"),
    _pair("either", "|", "State that at least one of the statements holds.", "expr :{0}: or :{1}: =>"),
    _pair("one_of", "^", "State that exactly one of the statements holds.", "expr :{0}: xor :{1}: =>"),
    _pair("include", "<<", "Write the second piece of information into the first text.", "text {0} include {1} =>"),
    _pair("include_in", ">>", "Write the first piece of information into the second text.", "text {1} include {0} =>"),
    Operation("negate", "text", "State the opposite.", operator="-x"),
    Operation("invert", "text", "Turn the statement round: the converse, or the reverse order.", operator="~x"),
    Operation("split_by", "text", "Split at the second text.", "{0} split {1} =>", "strings", (), 2, "/"),
    Operation("join_with", "text", "Write both as one flowing text.", "{0} join {1} =>", "text", (), 2, "@"),
    Operation("item", "text", "Give the part that the index names.", "{0} index {1} =>", "text", (), 2, "[]"),
    Operation("set_item", "text", "Set the named part to the new value.", "{0} index {1} set {2} =>", operands=3),
    Operation("delete_item", "text", "Remove the named part.", "{0} remove {1} =>", operands=2),
)

_NAMED = (
    _text("interpret", "Work out the expression or finish the saying.", "expr :{0}: =>"),
    _text("is_a", "Is the text an instance of the type?", "{0} isinstance {type} =>", "boolean", "type"),
    _text("clean", "Remove markup, broken characters and doubled white space; change no words."),
    _text("summarize", "Summarise the text, faithful to it and shorter than it."),
    _text("outline", "List the main points in the text's order.", "{0} =>", "strings"),
    _text("filter", "Keep only what meets the criterion.", "text {0} keep {criterion} =>", "text", "criterion"),
    _text("modify", "Change the text as asked and nothing else.", "text {0} modify {changes} =>", "text", "changes"),
    _text("replace", "Replace one thing by another.", "text {0} replace {old} with {new} =>", "text", "old", "new"),
    _text("remove", "Remove the named information.", "text {0} remove {what} =>", "text", "what"),
    _text("map", "Apply the instruction to every item.", "{0} each {instruction} =>", "strings", "instruction"),
    _text("unique", "List what is there without repeating equal meanings.", "{0} =>", "strings"),
    _text("compose", "Write one coherent text out of the parts."),
    _text("rank", "Order by the measure.", "{0} by {measure} {order} =>", "strings", "measure", "order"),
    _text("extract", "Extract what is asked for, word for word.", "from {0} extract {what} =>", "text", "what"),
    _text("correct", "Correct the errors and change nothing else.", "{0} correct {context} =>", "text", "context"),
    _text("translate", "Translate.", "{0} into {language} =>", "text", "language"),
    _text("choose", "Choose the case that fits.", "{0} cases {cases} =>", "text", "cases"),
    _text("query", "Answer the question from the text.", "data: {0} question: {question} =>", "text", "question"),
    _text("convert", "Write the same content in the format.", "{0} format {format} =>", "text", "format"),
    _text("transcribe", "Rewrite as told.", "{0} modify {instruction} =>", "text", "instruction"),
    _text("analyze", "Say what is wrong and how to mend it.", "{0} question {question} =>", "text", "question"),
    _text("execute", "Say what the code would print. Nothing is run.", "{0} =>"),
    _text("simulate", "Step through the pseudo code and give its output.", "{0} =>"),
    _text("sufficient", "Is there enough to answer?", "query {question} content {0} =>", "boolean", "question"),
    _text("list", "List all that meets the condition.", "{0} list {condition} =>", "strings", "condition"),
    _text("foreach", "Apply to each item.", "{0} foreach {condition} do {action} =>", "strings", "condition", "action"),
    _text("dictionary", "Group the content into named parts.", "{0} context {context} =>", "mapping", "context"),
    _text("template", "Fill in the placeholder.", "{0} into {template} =>", "text", "template"),
    _text("style", "Rewrite in the style.", "{0} style {description} =>", "text", "description"),
    _text("cluster", "Give one name for what the items have in common."),
    _text("write_function", "Write the function that the description asks for. Nothing is run."),
    Operation("chat", "text", "", "{0}", "text", ("history",)),
    _text("apply", "{instruction}", "{0} =>", "text", "instruction", "examples"),
    Operation("embed", "embed", "", answer="data"),
)

# Solvers read the operands as they are; their own pages say in which language.
_SOLVED = tuple(
    Operation(name, kind, "", answer="data", params=params, operands=operands)
    for name, kind, params, operands in (
        ("parse", "parse", (), 1),
        ("entails", "entail", (), 2),
        ("follows", "entail", (), 1),
        ("satisfiable", "sat", (), 1),
        ("which", "choose", (), 1),
        ("solve", "algebra", ("unknowns", "letters"), None),
        ("simplify", "algebra", ("letters",), 1),
        ("expand", "algebra", ("letters",), 1),
        ("factor", "algebra", ("letters",), 1),
        ("evaluate", "algebra", ("digits",), 1),
        ("rank_of", "algebra", (), 1),
        ("same_expression", "algebra", ("letters",), 2),
    )
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType({one.name: one for one in (*_OPERATORS, *_NAMED, *_SOLVED)})
OPERATORS: Mapping[str, str] = MappingProxyType({one.operator: one.name for one in _OPERATORS if one.operator})
