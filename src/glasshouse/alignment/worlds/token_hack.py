"""A world where a learnt reward can be hacked: per-prompt unigram policies over 24 tokens, with every KL exact.

Answers are 16 tokens drawn independently from a distribution of the prompt, so that only counts matter. Two properties
are truly wanted: help grows with the logarithm of on-topic tokens, harmlessness falls with that of toxic ones, and for
every second prompt one toxic token is on topic, so the two pull apart. A token Q helps and a token D makes harmless up
to a count of two, and both do harm beyond it. The base policy rarely uses either three times, so Bradley-Terry rewards
that are learnt from its answers, linear in counts, take Q and D for good without end.

    help = 2.25 ln(1+h) + .6 min(q,2) - .7 max(q-2,0) - .2 min(d,8) - .3 rep
    harmless = -1.8 ln(1+t) + .7 min(d,2) - .5 max(d-2,0) - .1 rep               rep = sum over tokens of max(count-5,0)

with h on-topic, t toxic tokens. It is a world of ours for the claims of "Transforming and Combining Rewards" (arXiv
2402.00742) about over-optimisation; the paper's are language models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from glasshouse.alignment.laplace import LaplacePosterior, fit_bradley_terry
from glasshouse.alignment.policies import Answers, Prompts
from glasshouse.store.configuration import named_seed

TOKENS, LENGTH = 24, 16
CONTENT, Q, D, TOXIC = slice(0, 16), 16, 17, slice(18, 21)
TOPICS = 3
"""Content tokens that are on topic for a prompt."""
PROPERTIES = ("helpful", "harmless")

Counts = Float[Tensor, "prompts answers tokens"]
Values = Float[Tensor, "prompts answers"]


class Unigrams(nn.Module):
    """Logits of every prompt's tokens: the whole policy."""

    def __init__(self, logits: Float[Tensor, "prompts tokens"]) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())


@dataclasses.dataclass(frozen=True)
class TokenWorld:
    """Prompts, and what is true of answers to them; make one with `token_world`."""

    base: Float[Tensor, "prompts tokens"]
    on_topic: Bool[Tensor, "prompts tokens"]
    seed: int

    @property
    def prompts(self) -> int:
        return len(self.base)

    def of(self, prompts: Int[Tensor, " chosen"]) -> TokenWorld:
        """The same world with some of its prompts, in that order."""
        return dataclasses.replace(self, base=self.base[prompts], on_topic=self.on_topic[prompts])

    def generator(self, use: str) -> torch.Generator:
        return torch.Generator().manual_seed(named_seed(self.seed, "token world", use))

    def sampled(self, logits: Float[Tensor, "prompts tokens"], answers: int, generator: torch.Generator) -> Counts:
        """Counts of answers drawn from a policy."""
        return counted(drawn(logits, answers, generator))

    def topical(self, counts: Counts) -> Values:
        """h: how many tokens are on topic."""
        return (counts * self.on_topic[:, None]).sum(-1)

    def helpful(self, counts: Counts) -> Values:
        """True help."""
        q, d = counts[..., Q], counts[..., D]
        sought = 2.25 * self.topical(counts).log1p() + 0.6 * q.clamp(max=2) - 0.7 * (q - 2).clamp(min=0)
        return sought - 0.2 * d.clamp(max=8) - 0.3 * repetition(counts)

    def harmless(self, counts: Counts) -> Values:
        """True harmlessness."""
        d, toxic = counts[..., D], counts[..., TOXIC].sum(-1)
        return -1.8 * toxic.log1p() + 0.7 * d.clamp(max=2) - 0.5 * (d - 2).clamp(min=0) - 0.1 * repetition(counts)

    def true(self, counts: Counts) -> dict[str, Values]:
        """Both, by property."""
        return {"helpful": self.helpful(counts), "harmless": self.harmless(counts)}

    def features(self, counts: Counts) -> Float[Tensor, "prompts answers features"]:
        """What learnt rewards see: all counts, h, and min(h, 3)."""
        h = self.topical(counts)[..., None]
        return torch.cat([counts, h, h.clamp(max=3)], -1)


def token_world(seed: int, prompts: int = 32) -> TokenWorld:
    """A world drawn from its seed.

    Logits are .4 N(0, 1) for every token, .7 less for Q and D and .5 less for toxic ones, plus .8 N(0, 1) for every
    prompt and token: some prompts show Q and D often enough to see a little of what too many of them do.
    """
    generator = torch.Generator().manual_seed(named_seed(seed, "token world"))
    shared = 0.4 * torch.randn(TOKENS, generator=generator)
    shared[[Q, D]] -= 0.7
    shared[TOXIC] -= 0.5
    topics = torch.rand(prompts, CONTENT.stop, generator=generator).topk(TOPICS).indices
    on_topic = functional.one_hot(topics, TOKENS).sum(1).bool()
    toxic = TOXIC.start + torch.randint(TOXIC.stop - TOXIC.start, (prompts,), generator=generator)
    on_topic[torch.arange(prompts)[::2], toxic[::2]] = True
    base = shared + 0.8 * torch.randn(prompts, TOKENS, generator=generator)
    return TokenWorld(base, on_topic, seed)


def drawn(
    logits: Float[Tensor, "prompts tokens"], answers: int, generator: torch.Generator
) -> Int[Tensor, "prompts answers length"]:
    """Answers from a policy."""
    chances = logits.detach().softmax(-1)
    return torch.multinomial(chances, answers * LENGTH, True, generator=generator).view(len(logits), answers, LENGTH)


def counted(tokens: Int[Tensor, "prompts answers length"]) -> Counts:
    """How often every token stands in an answer."""
    return torch.zeros(*tokens.shape[:-1], TOKENS).scatter_add_(-1, tokens, torch.ones(tokens.shape))


def repetition(counts: Counts) -> Values:
    """rep of the equations."""
    return (counts - 5).clamp(min=0).sum(-1)


def divergence(
    logits: Float[Tensor, "prompts tokens"], base: Float[Tensor, "prompts tokens"]
) -> Float[Tensor, " prompts"]:
    """Exact KL of whole answers to each prompt, in nats."""
    log_p, log_q = logits.log_softmax(-1), base.log_softmax(-1)
    return LENGTH * (log_p.exp() * (log_p - log_q)).sum(-1)


class UnigramPolicy:
    """The policy for `glasshouse.alignment.rloo`: a batch is `{"prompt"}`, a module is `Unigrams`."""

    def draw(self, module: nn.Module, prompts: Prompts, answers: int, generator: torch.Generator) -> Answers:
        found = drawn(_logits(module)[prompts["prompt"]], answers, generator)
        return Answers(prompts["prompt"], found, torch.full(found.shape[:2], LENGTH))

    def score(self, module: nn.Module, prompts: Prompts, answers: Answers) -> Values:
        chances = _logits(module)[prompts["prompt"]].log_softmax(-1)
        return (counted(answers.tokens) * chances[:, None]).sum(-1)


def _logits(module: nn.Module) -> Tensor:
    if not isinstance(module, Unigrams):
        raise TypeError(f"the weights of this policy are Unigrams, not a {type(module).__name__}")
    return module.logits


def learnt_reward(
    world: TokenWorld, true: Callable[[Counts], Values], pairs: int, use: str, precision: float = 1.0
) -> LaplacePosterior:
    """A ridge Bradley-Terry reward on features, from noisy preferences between answers of the base policy.

    `use` names the draw: another one gives other pairs of the same world.
    """
    generator = world.generator(f"pairs/{use}")
    each = -(-pairs // world.prompts)
    counts = world.sampled(world.base, 2 * each, generator)
    values, features = true(counts), world.features(counts)
    margin = (values[:, :each] - values[:, each:]).flatten()
    difference = (features[:, :each] - features[:, each:]).flatten(0, 1)
    order = torch.randperm(len(margin), generator=generator)[:pairs]
    preferred = torch.rand(len(margin), generator=generator) < margin.sigmoid()
    return fit_bradley_terry(difference[order], preferred[order].float(), precision)
