"""The FIFO buffer against a plain deque."""

from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.alignment.replay import ReplayBuffer


@given(st.integers(1, 7), st.lists(st.integers(0, 9), max_size=8))
def test_it_forgets_the_oldest_first(capacity, batches):
    buffer, wanted, number = ReplayBuffer(capacity, 1), deque(maxlen=capacity), 0
    for size in batches:
        new = torch.arange(number, number + size, dtype=torch.float32)
        buffer.add(torch.stack([new, -new], dim=-1)[..., None], (new % 2))
        wanted.extend(new.tolist())
        number += size
    pairs, answers = buffer.contents()
    assert pairs[:, 0, 0].tolist() == list(wanted)
    assert pairs[:, 1, 0].tolist() == [-value for value in wanted]
    assert answers.tolist() == [value % 2 for value in wanted]
    assert len(buffer) == len(wanted)


def test_it_draws_only_what_it_holds_and_comes_back_from_its_state():
    buffer = ReplayBuffer(8, 2)
    with pytest.raises(ValueError, match="is empty"):
        buffer.draw(3, torch.Generator())
    buffer.add(torch.ones(5, 2, 2), torch.ones(5))
    pairs, answers = buffer.draw(1000, torch.Generator().manual_seed(0))
    assert answers.min() == 1
    assert pairs.min() == 1
    other = ReplayBuffer(8, 2)
    other.load_state_dict(buffer.state_dict())
    assert torch.equal(other.contents()[0], buffer.contents()[0])


def test_pairs_without_answers_are_refused():
    with pytest.raises(ValueError, match="2 pairs came with 3 answers"):
        ReplayBuffer(4, 1).add(torch.zeros(2, 2, 1), torch.zeros(3))
    with pytest.raises(ValueError, match="at least 1"):
        ReplayBuffer(0, 1)
