"""Parameter groups: what is decayed, what Muon takes, and AdamW against the textbook."""

import pytest
import torch
from torch import nn
from training_standins import Autoencoder, Plain, TinyLanguageModel, config

from glasshouse.training.objective import trainable
from glasshouse.training.optimizers import build_optimizers, set_learning_rate


def grouped(objective, **changes):
    names = {id(parameter): name for name, parameter in trainable(objective).items()}
    return {
        names[id(parameter)]: (type(optimizer).__name__, group["weight_decay"])
        for optimizer in build_optimizers(objective, config(**changes))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


class Mixed(Plain):
    def __init__(self, tied):
        language = TinyLanguageModel(tied=tied)
        self.learns = {
            "language": language,
            "body": nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 5), nn.LayerNorm(5)),
        }


def test_only_matrices_are_decayed_and_a_tied_head_is_an_embedding():
    tied, untied = grouped(Mixed(True)), grouped(Mixed(False))
    decayed = {name for name, (_, decay) in untied.items() if decay}
    assert decayed == {"language.head.weight", "body.0.weight", "body.2.weight"}
    assert {name for name, (_, decay) in tied.items() if decay} == {"body.0.weight", "body.2.weight"}
    assert "language.head.weight" not in tied  # the same parameter, once
    assert set(untied) == set(trainable(Mixed(False)))


def test_olmo_1_7_decays_everything():
    assert {decay for _, decay in grouped(Mixed(True), decay="everything").values()} == {0.1}


def test_muon_takes_hidden_matrices_only():
    found = grouped(Mixed(False), optimizer="muon")
    assert {name for name, (kind, _) in found.items() if kind == "Muon"} == {"body.2.weight"}
    assert set(found) == set(trainable(Mixed(False)))


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 32)])
def test_muon_is_the_published_iteration_at_adamws_size(shape):
    """Newton-Schulz with (3.4445, -4.7750, 2.0315), five times, on Nesterov momentum 0.95 (Jordan et al., 2024).

    Scaled by 0.2 sqrt(max(rows, columns)) to the size of AdamW's updates (Moonlight, arXiv 2502.16982, eq. 4).
    """
    a, b, c = 3.4445, -4.7750, 2.0315

    class Linear(Plain):
        def __init__(self):
            self.learns = {"net": nn.Sequential(nn.Linear(shape[1], shape[0], bias=False))}

    objective = Linear()
    (optimizer,) = build_optimizers(objective, config(optimizer="muon", weight_decay=0.1))
    weight = objective.learns["net"][0].weight
    value, momentum, rate = weight.detach().clone().double(), torch.zeros(shape).double(), 1e-2
    for t in (1, 2):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(t)).double()
        weight.grad = gradient.float()
        set_learning_rate([optimizer], rate)
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        x = 0.05 * gradient + 0.95 * momentum
        x = x.T if shape[0] > shape[1] else x
        x = x / x.norm()
        for _ in range(5):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        x = x.T if shape[0] > shape[1] else x
        value = value * (1 - rate * 0.1) - rate * 0.2 * max(shape) ** 0.5 * x
    # The iteration runs in bfloat16.
    update = (value - weight.detach().double()).norm() / (rate * 0.2 * max(shape) ** 0.5 * x).norm()
    assert update < 0.05


def test_adamw_is_the_textbook_and_fused():
    objective = Autoencoder()
    (optimizer,) = build_optimizers(objective, config(weight_decay=0.1))
    assert all(group["fused"] for group in optimizer.param_groups)
    assert {(group["betas"], group["eps"]) for group in optimizer.param_groups} == {((0.9, 0.95), 1e-5)}
    weight = objective.net[0].weight
    value, m, v, rate = weight.detach().clone().double(), 0.0, 0.0, 3e-3
    for t in (1, 2, 3):
        gradient = torch.sin(torch.arange(weight.numel()).view_as(weight) * t).double()
        weight.grad = gradient.float()
        set_learning_rate([optimizer], rate)
        optimizer.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.95 * v + 0.05 * gradient**2
        value = value * (1 - rate * 0.1)
        value = value - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.95**t)).sqrt() + 1e-5)
    torch.testing.assert_close(weight.detach().double(), value, atol=1e-6, rtol=1e-5)


def test_component_scales_follow_the_schedule():
    objective = Mixed(False)
    optimizers = build_optimizers(objective, config(learning_rate_scales={"body": 0.25}))
    set_learning_rate(optimizers, 2e-3)
    rates = {group["lr"] for optimizer in optimizers for group in optimizer.param_groups}
    assert rates == {2e-3, 5e-4}


def test_names_that_are_prefixes_of_each_other_do_not_mix():
    class Nested(Plain):
        def __init__(self):
            self.learns = {"net": nn.Linear(2, 2), "net.extra": nn.Linear(2, 2)}

    optimizers = build_optimizers(Nested(), config(learning_rate_scales={"net": 0.5}))
    scales = {group["scale"]: len(group["params"]) for o in optimizers for group in o.param_groups if group["params"]}
    assert scales == pytest.approx({0.5: 1, 1.0: 1})
