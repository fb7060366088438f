"""How the published OLMo models were trained, as values of `Training`; their shapes are in `nn.configuration`.

Sources: OLMo (arXiv 2402.00838, section 3, table 1 and the released configurations `configs/official` of allenai/OLMo)
and OLMo 2 (arXiv 2501.00656; `configs/official-1124` and `configs/official-0425`). The rest of a value is `.but(...)`:

    olmo_training("7B").but(tokens=10_000_000, batch_size=8, micro_batch_size=8)

Deviations. Warm-up always begins at 10 % of the peak; OLMo 2's begins at 0. OLMo 2 decays the weights of norms but not
embeddings; here either neither or both are, and these values decay neither. OLMo-7B's clipping holds for the steps that
its configuration names (see `training.schedules`). The paper says that every model's learning rate falls linearly; the
released configuration of the 1B says cosine, and so does this one.
"""

from __future__ import annotations

from typing import Any

from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.configuration import Training

OLMO_2_Z_LOSS = 1e-5
"""Weight of OLMo 2's z-loss: `pretrain(..., z_loss=OLMO_2_Z_LOSS)`. OLMo has none."""

_OLMO: dict[str, dict[str, Any]] = {
    "1B": {
        "steps": 739_328, "learning_rate": 4e-4, "warmup": 2000, "schedule": "cosine", "batch_size": 2048,
    },
    "7B": {
        "tokens": 2_000_000_000_000, "learning_rate": 3e-4, "warmup": 5000, "batch_size": 2048,
        "early_clip_norm": 10.0, "early_clip_steps": 1000,
    },
    "65B": {
        "tokens": 2_000_000_000_000, "learning_rate": 1.5e-4, "warmup": 5000, "batch_size": 8192,
        "batch_warmup": [{"batch_size": size, "tokens": 100_000_000_000} for size in (1024, 2048, 4096)],
    },
}  # fmt: skip
_OLMO_2: dict[str, dict[str, Any]] = {
    "1B": {"learning_rate": 4e-4, "batch_size": 512},
    "7B": {"learning_rate": 3e-4, "batch_size": 1024},
    "13B": {"learning_rate": 3e-4, "batch_size": 2048},
}
_OLMO_2_TOKENS, _OLMO_2_WARMUP_TOKENS, _OLMO_2_CONTEXT = 5_000_000_000_000, 8_388_608_000, 4096


def olmo_training(size: str = "7B") -> Training:
    """OLMo's training of a published size. Raises `ConfigurationError` for another."""
    shared = {"optimizer": "adamw", "weight_decay": 0.1, "betas": (0.9, 0.95), "eps": 1e-5}
    shared |= {"schedule": "linear", "final_fraction": 0.1, "clip_norm": 1.0, "order": "olmo", "micro_batch_size": 2}
    return Training(**shared | _size("olmo_training", _OLMO, size))


def olmo_2_training(size: str = "7B") -> Training:
    """OLMo 2's first stage of a published size; use `OLMO_2_Z_LOSS` with it. Raises `ConfigurationError` for another.

    Every size has the cosine of 5 trillion tokens; the 1B and the 7B were stopped at 4.
    """
    values = _size("olmo_2_training", _OLMO_2, size)
    shared = {"optimizer": "adamw", "weight_decay": 0.1, "betas": (0.9, 0.95), "eps": 1e-8, "tokens": _OLMO_2_TOKENS}
    shared |= {"schedule": "cosine", "final_fraction": 0.1, "clip_norm": 1.0, "order": "olmo", "micro_batch_size": 2}
    warmup = _OLMO_2_WARMUP_TOKENS // (values["batch_size"] * _OLMO_2_CONTEXT)
    return Training(**shared | values | {"warmup": warmup})


def _size(name: str, sizes: dict[str, dict[str, Any]], size: str) -> dict[str, Any]:
    if size not in sizes:
        raise ConfigurationError(f"{name} knows no size {size!r}; it knows {', '.join(sizes)}")
    return sizes[size]
