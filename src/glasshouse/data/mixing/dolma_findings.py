"""What may be wrong with a rule of one of Dolma's mixing files, and what Dolma's taggers write."""

from __future__ import annotations

from typing import Literal, NamedTuple

from glasshouse.data.sources.attributes import DOLMA_NAMES

FindingKind = Literal[
    "misspelt",
    "set_not_read",
    "broken_path",
    "whole_number",
    "unreachable",
    "always",
    "span_as_number",
    "not_understood",
    "ignored",
]
DEAD: tuple[FindingKind, ...] = ("misspelt", "set_not_read", "unreachable", "span_as_number")

TAGGERS: dict[str, tuple[str, ...]] = {
    "gopher_v1": tuple(name.partition("__")[2] for name in DOLMA_NAMES.values() if name.startswith("gopher_v1__")),
    "c4_v1": (
        "has_naughty_word", "has_javascript", "has_lorem_ipsum", "has_curly_brace", "line_count",
        "lines_with_no_ending_punctuation", "lines_with_too_few_words",
    ),
    "pii_regex_with_counts_fast_v2": ("EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS", "doc_count", "doc_frac"),
    "random_number_v1": ("random",),
    "code_redpajama_taggers_v1": (
        "max_line_length_doc", "avg_line_length_doc", "alnum_prop_doc", "alpha_token_prop_doc",
    ),
}  # fmt: skip
"""What Dolma 1.2.1's taggers write, as far as it is checked here: tagger -> types."""
TAGGERS |= {"gopher_v2": TAGGERS["gopher_v1"], "c4_v2": TAGGERS["c4_v1"]}


class Finding(NamedTuple):
    """Something about a rule of an imported file.

    Attributes:
        kind: in `DEAD` the rule cannot fire; "not_understood" it was left out, and the mixture must not be used.
        stream: name of the stream.
        rule: as it is written in the file.
        message: what is wrong, and what to do.
        fixed: whether the mixture has it put right.
    """

    kind: FindingKind
    stream: str
    rule: str
    message: str
    fixed: bool = False

    @property
    def dead(self) -> bool:
        """Whether the rule, as it was written, cannot fire."""
        return self.kind in DEAD
