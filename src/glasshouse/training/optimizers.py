"""From (objective, configuration) to optimisers: the only place where parameters are sorted into groups.

AdamW follows OLMo (arXiv 2402.00838): weight decay on the weights of linear layers (and convolutions) only; biases,
norms and embeddings are not decayed, and an output layer tied to the embedding counts as embedding. OLMo-1.7 decays
everything. Muon (Jordan et al., 2024, as in `torch.optim.Muon`) takes the hidden matrices and leaves the rest to
AdamW; its updates are scaled to AdamW's root mean square (Moonlight, arXiv 2502.16982), so both share one learning
rate and schedule.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from glasshouse.store.configuration import ConfigurationError
from glasshouse.training.configuration import Training
from glasshouse.training.muon import Muon
from glasshouse.training.objective import Objective, trainable

_MATRICES = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_HEADS = ("lm_head", "head", "output", "unembedding")
"""Last name of a module that maps to the outputs; Muon is for hidden matrices only."""


def build_optimizers(objective: Objective, config: Training) -> list[torch.optim.Optimizer]:
    """The optimisers of everything that learns; each group carries `scale`, its multiple of the learning rate.

    Raises `ConfigurationError` when nothing learns or a scale names no component.
    """
    parameters = trainable(objective)
    if not parameters:
        raise ConfigurationError(f"nothing learns: {list(objective.learns)} has no parameter with requires_grad")
    unknown = set(config.learning_rate_scales) - set(objective.learns)
    if unknown:
        raise ConfigurationError(
            f"Training.learning_rate_scales names {sorted(unknown)}; "
            f"the components that learn are {list(objective.learns)}"
        )
    matrices, hidden = _matrices(objective.learns.values())
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        scale = _scale(name, objective, config)
        decayed = config.decay == "everything" or id(parameter) in matrices
        muon = config.optimizer == "muon" and id(parameter) in hidden
        groups.setdefault((muon, decayed, scale), []).append(parameter)
    adamw = [_group(members, key, config) for key, members in groups.items() if not key[0]]
    muons = [_group(members, key, config) for key, members in groups.items() if key[0]]
    built: list[torch.optim.Optimizer] = []
    if adamw:
        fused = all(p.device.type in ("cpu", "cuda", "mps", "xpu") for p in parameters.values())
        built.append(torch.optim.AdamW(adamw, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=fused))
    if muons:
        built.append(Muon(muons, lr=config.learning_rate, adjust_lr_fn="match_rms_adamw"))
    return built


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], rate: float) -> None:
    """Give every group its multiple of `rate`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]


def _group(members: list[nn.Parameter], key: tuple[bool, bool, float], config: Training) -> dict[str, object]:
    _, decayed, scale = key
    return {"params": members, "weight_decay": config.weight_decay if decayed else 0.0, "scale": scale}


def _scale(name: str, objective: Objective, config: Training) -> float:
    owners = [component for component in objective.learns if name.startswith(component + ".")]
    return config.learning_rate_scales.get(max(owners, key=len), 1.0)


def _matrices(components: Iterable[nn.Module]) -> tuple[set[int], set[int]]:
    """Ids of the weights that are decayed, and of those among them that Muon may take."""
    matrices: set[int] = set()
    hidden: set[int] = set()
    embeddings: set[int] = set()
    for component in components:
        for name, module in component.named_modules():
            if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                embeddings.add(id(module.weight))
            elif isinstance(module, _MATRICES):
                matrices.add(id(module.weight))
                if module.weight.ndim == 2 and name.rpartition(".")[2] not in _HEADS:
                    hidden.add(id(module.weight))
    return matrices - embeddings, hidden - embeddings
