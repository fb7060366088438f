"""What heads know of their doubt: joint log-losses against enumeration, and what noise can and cannot win."""

import itertools
import math

import orjson
import pytest
import torch

from glasshouse.alignment.doubt import HeadTraining, hashed_words, head_quality, redrawn_nll, worded_pairs, world_pairs
from glasshouse.alignment.doubt_steps import HeadComparison, compare_heads
from glasshouse.alignment.joint_nll import dyadic_nll
from glasshouse.alignment.worlds.modes import Modes
from glasshouse.language.adaptation import Preferences
from glasshouse.language.chat import Message
from glasshouse.language.conversations import Preference
from glasshouse.nn.epistemic import EpistemicConfig
from glasshouse.store.execution import execute
from glasshouse.store.store import Store

FAST = HeadTraining(updates=40, learning_rate=3e-3)
HEADS = {kind: EpistemicConfig(kind=kind, hidden=(8,), particles=4) for kind in ("point", "ensemble", "epinet")}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_redrawn_labels_against_all_that_can_be_drawn():
    differences = torch.tensor([[0.3, -1.0], [1.5, 0.2]])
    chance = torch.tensor([0.8, 0.35])

    def likelihood(anchors: tuple[int, ...], labels: tuple[int, ...]) -> float:
        logits = differences[:, list(anchors)] * (2 * torch.tensor(labels) - 1)
        return -math.log(torch.sigmoid(logits).prod(-1).mean().item())

    expected = 0.0
    for anchors in itertools.product((0, 1), repeat=3):
        for labels in itertools.product((0, 1), repeat=3):
            drawn = [chance[a].item() if c else 1 - chance[a].item() for a, c in zip(anchors, labels, strict=True)]
            expected += math.prod(drawn) / 8 * likelihood(anchors, labels)
    many = redrawn_nll(differences.repeat(1, 40_000), chance.repeat(40_000), generator(), tau=3)
    assert many == pytest.approx(expected, abs=0.01)


def test_noise_wins_with_labels_seen_once_and_loses_with_labels_drawn_anew():
    """The warning on the module's page: a thousand particles that are sure, at random."""
    noise = 30 * torch.randn(1000, 2000, generator=generator(1)).sign()
    chance = torch.full((2000,), 0.7)
    assert dyadic_nll(torch.nn.functional.logsigmoid(noise)).item() == pytest.approx(math.log(4), abs=0.03)
    truth = redrawn_nll(torch.logit(chance)[None], chance, generator())
    assert redrawn_nll(noise, chance, generator()) > truth + 10
    assert truth == pytest.approx(10 * -(0.7 * math.log(0.7) + 0.3 * math.log(0.3)), abs=0.1)


def test_pairs_of_a_world_have_the_preferred_first():
    world = Modes(0, "embedding")
    rows = world_pairs(world, 4000, 3, "test")
    drawn = world.draw(4000, 2, torch.Generator().manual_seed(0))
    assert rows.tensors["features"].shape == (4000, 2, drawn.features.shape[-1])
    assert rows.tensors["chance"].mean() > 0.6
    exact = world_pairs(Modes(0), 4000, 3, "test").tensors["features"]
    weights = torch.cat([world.level[:, None], world.slope], dim=-1).flatten()
    gap = (exact[:, 0] - exact[:, 1]) @ weights
    torch.testing.assert_close(rows.tensors["chance"], torch.sigmoid(gap), atol=1e-5, rtol=1e-4)


def test_every_head_learns_and_is_measured(tmp_path):
    world = Modes(1, "embedding")
    pairs, held_out = world_pairs(world, 800, 1, "learnt"), world_pairs(world, 400, 1, "held out")
    for kind, head in HEADS.items():
        found = head_quality(head, FAST, pairs, held_out, tmp_path / kind, seed=1)
        assert found["accuracy"] > 0.52
        assert found["redrawn_nll_of_the_truth"] < found["redrawn_nll"]
        again = head_quality(head, FAST, pairs, held_out, tmp_path / f"{kind} again", seed=1)
        assert again == found


def test_hashed_words_forget_case_and_order():
    one, other, none = hashed_words(["The house, the Glass", "the GLASS the house", "..."], 64)
    assert torch.equal(one, other)
    assert one.square().mean() == pytest.approx(1)
    assert not none.any()
    assert not torch.equal(one, hashed_words(["a house of glass"], 64)[0])


def conversation(number: int) -> Preference:
    return Preference(
        (Message("user", f"question {number}?"),), f"a good answer {number}", f"bad {number}", f"p{number}"
    )


def test_the_step_on_a_world_and_on_preferences(tmp_path):
    store = Store(tmp_path / "store")
    made = execute(compare_heads(HEADS, FAST, seeds=2, pairs=200, held_out=100), store)
    assert isinstance(made, HeadComparison)
    each = [made.values[f"ensemble/dyadic_nll/seed {seed}"] for seed in range(2)]
    assert made.values["ensemble/dyadic_nll"] == pytest.approx(sum(each) / 2)
    table, bars = made.panels()
    assert [row[0] for row in table.rows] == list(HEADS)
    assert bars.levels["point"] == pytest.approx(6.931, abs=1e-3)

    folder = tmp_path / "preferences"
    folder.mkdir()
    for name, numbers in (("train", range(80)), ("holdout", range(80, 100))):
        lines = [conversation(number).row() for number in numbers]
        (folder / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    rows = worded_pairs(Preferences(folder).train)
    assert (rows.rows, rows.names[3]) == (80, rows.describe(torch.tensor([3]).numpy())[0])
