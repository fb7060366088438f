"""The device of a run: which one it is, whether reading from it waits, and its random numbers."""

from __future__ import annotations

import torch

from glasshouse.training.objective import Objective, trainable


def device_of(objective: Objective, given: torch.device | str | None) -> torch.device:
    """Where the modules that learn are; `given` for those on the meta device, which are not anywhere yet."""
    found = next(iter(trainable(objective).values())).device if trainable(objective) else torch.device("cpu")
    if found.type != "meta":
        return found
    if given is None:
        raise ValueError("the modules are on the meta device: say where they are to be made, train(..., device=...)")
    return torch.device(given)


def reading_is_free(device: torch.device) -> bool:
    """Whether a number can be read from the device without making it wait."""
    return device.type == "cpu"


def seed_generators(device: torch.device, seed: int) -> None:
    """Seed torch's global generators of the host and of `device`.

    `torch.manual_seed` also queues a seeding, with its stack trace, for every accelerator that is not in use: 0.6 ms a
    call, and a queue that only grows.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
