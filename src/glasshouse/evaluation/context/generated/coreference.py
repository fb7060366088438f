"""Generated documents with coreference: people with a trade, who are referred to by name, pronoun or trade.

    Bana is a baker . Tolo is a singer . The rain stopped . She sold a lamp . The singer wanted it .

Gold is exact: a pronoun is used only where one person of that gender and one thing is there, a trade belongs to one
person, and a name to one. Equal strings find the names; the rest must be read. `distractors` are further people,
`distance` is the number of sentences about nobody between the introduction and the references.
"""

from __future__ import annotations

from glasshouse.evaluation.context.coreference.documents import Document, Mention
from glasshouse.evaluation.context.generated.names import Difficulty, Draw, Person, Split

TRADES = ("baker", "singer", "doctor", "farmer", "painter", "sailor", "teacher", "judge", "driver", "miner")
THINGS = ("lamp", "coat", "drum", "cake", "boat", "chair", "clock", "kite")
ACTIONS = ("sold", "found", "wanted", "fixed", "hid", "liked")
FILLERS = (
    "The rain stopped", "The street was quiet", "The sun came out", "The market was closed", "Bells rang all morning",
    "The wind was cold",
)  # fmt: skip
REFERENCES = 4
"""References after the introduction, at least."""


class _Writer:
    """Tokens with the mentions in them."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.starts: list[int] = []
        self.clusters: dict[str, list[Mention]] = {}

    def sentence(self, *parts: str | tuple[str, str]) -> None:
        """Plain text, and mentions as (text, of what)."""
        self.starts.append(len(self.tokens))
        for number, part in enumerate(parts):
            text, entity = (part, None) if isinstance(part, str) else part
            words = text.split()
            if number == 0:
                words[0] = words[0][0].upper() + words[0][1:]
            if entity is not None:
                mention = Mention(len(self.tokens), len(self.tokens) + len(words))
                self.clusters.setdefault(entity, []).append(mention)
            self.tokens += words
        self.tokens.append(".")


def generate_documents(
    count: int, split: Split = "test", difficulty: Difficulty | None = None, seed: int = 0
) -> tuple[Document, ...]:
    """Documents; those of a part share no name with those of the other."""
    dial = difficulty or Difficulty()
    return tuple(draw_document(number, split, dial, seed) for number in range(count))


def draw_document(number: int, split: Split, difficulty: Difficulty, seed: int) -> Document:
    """The document of a number."""
    draw, writer = Draw(seed, "coreference", split, number), _Writer()
    people = [draw.person() for _ in range(1 + difficulty.distractors)]
    trades = dict(zip((p.name for p in people), draw.several(TRADES, len(people)), strict=True))
    for person in people:
        writer.sentence((person.name, person.name), f"is a {trades[person.name]}")
    for filler in [draw.one(FILLERS) for _ in range(difficulty.distance)]:
        writer.sentence(filler)
    thing = draw.one(THINGS)
    order = draw.several(people, len(people))
    order += [draw.one(people) for _ in range(max(0, REFERENCES - len(people)))]
    for turn, person in enumerate(order):
        said = _said(draw, person, people, trades[person.name])
        if turn == 0:
            object_ = f"a {thing}"
        else:
            object_ = "it" if draw.chance(0.5) else f"the {thing}"
        writer.sentence((said, person.name), draw.one(ACTIONS), (object_, "thing"))
    clusters = tuple(frozenset(mentions) for mentions in writer.clusters.values())
    return Document(f"{split}-{number}", tuple(writer.tokens), clusters, tuple(writer.starts))


def _said(draw: Draw, person: Person, people: list[Person], trade: str) -> str:
    """A name, a trade, or a pronoun where it can mean nobody else."""
    forms = [person.name, f"the {trade}"]
    if sum(other.woman == person.woman for other in people) == 1:
        forms += [person.subject] * 2
    return draw.one(forms)
