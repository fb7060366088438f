"""What only a GPU can show; skipped where there is none."""

import json

import pytest
import torch
from training_standins import config

from glasshouse.language.generation import Sampling, generate
from glasshouse.language.pretrain import LanguageModelling
from glasshouse.nn.attention import attend
from glasshouse.nn.configuration import olmo
from glasshouse.nn.loss import linear_cross_entropy, rows_at_once
from glasshouse.nn.transformer import Transformer
from glasshouse.store.energy import EnergyMeter
from glasshouse.training.checkpoint import latest_checkpoint
from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
SHAPE = olmo(depth=2).but(vocabulary=256, context=64)


def rows(number=64):
    generator = torch.Generator().manual_seed(5)
    starts = torch.randint(200, (number, 1), generator=generator)
    return TensorRows({"tokens": (starts + 3 * torch.arange(64)) % 251})


def trained(directory, device="cuda", stop=None, **options):
    model = Transformer(SHAPE, seed=0).to(device)
    settings = config(**({"steps": 30, "learning_rate": 1e-2, "compile": False, "checkpoint_every": 10} | options))
    return model, train(LanguageModelling(model), rows(), settings, directory, stop=stop)


def curve(directory):
    records = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return torch.tensor([record["loss"] for record in records if "loss" in record])


def test_it_learns_what_a_processor_learns(tmp_path):
    trained(tmp_path / "cpu", "cpu")
    trained(tmp_path / "gpu")
    trained(tmp_path / "bf16", precision="bf16")
    trained(tmp_path / "compiled", precision="bf16", compile=True)
    expected = curve(tmp_path / "cpu")
    assert expected[-1] < 0.6 * expected[0]
    torch.testing.assert_close(curve(tmp_path / "gpu"), expected, rtol=5e-3, atol=0)
    torch.testing.assert_close(curve(tmp_path / "bf16"), expected, rtol=5e-2, atol=0)
    torch.testing.assert_close(curve(tmp_path / "compiled"), expected, rtol=5e-2, atol=0)


def test_a_stopped_run_goes_on_and_its_checkpoint_is_read_on_a_processor(tmp_path):
    whole, _ = trained(tmp_path / "whole")
    trained(tmp_path / "half", stop=lambda step: step == 17)
    again, result = trained(tmp_path / "half")
    assert result.resumed_from == 17
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)
    with latest_checkpoint(tmp_path / "half" / "checkpoints").tensors("learns") as stored:
        read = {name: stored[name] for name in stored}
    assert all(tensor.device.type == "cpu" for tensor in read.values())
    for name, parameter in again.named_parameters():
        (stored,) = [tensor for key, tensor in read.items() if key.endswith(name)]
        torch.testing.assert_close(stored, parameter.detach().cpu(), rtol=0, atol=0)


def test_no_update_waits_for_the_gpu(tmp_path):
    def stop(step):  # from the third update on a wait is an error
        torch.cuda.set_sync_debug_mode("error" if 3 <= step < 27 else "default")
        return False

    try:
        outliers = {"window": 20, "action": "skip"}
        trained(tmp_path, stop=stop, precision="bf16", log_every=100, checkpoint_every=None, outliers=outliers)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_float8_products_end_near_bf16(tmp_path):
    pytest.importorskip("torchao")
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU has no float8")
    trained(tmp_path / "bf16", precision="bf16")
    trained(tmp_path / "float8", precision="bf16", float8=True)
    torch.testing.assert_close(curve(tmp_path / "float8")[-1], curve(tmp_path / "bf16")[-1], rtol=0.1, atol=0)


@pytest.mark.parametrize("size", [64, 128])
def test_attention_and_loss_are_those_of_a_processor(size):
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(2, 4, 96, size, generator=generator).bfloat16() for _ in range(3)]
    expected = attend(*(part.float() for part in parts))
    found = attend(*(part.cuda() for part in parts)).float().cpu()
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    hidden, weight = torch.randn(300, 32, generator=generator), torch.randn(97, 32, generator=generator)
    targets = torch.randint(97, (300,), generator=generator)
    targets[::7] = -100
    found = [one.detach().to("cuda").requires_grad_() for one in (hidden, weight)]
    expected = [one.clone().requires_grad_() for one in (hidden, weight)]
    losses = []
    for pair, aims in ((found, targets.cuda()), (expected, targets)):
        loss = linear_cross_entropy(*pair, aims, z_loss=1e-4, chunk=128)
        loss.mean.backward()
        losses.append(loss.total.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.grad.cpu(), other.grad, rtol=1e-3, atol=1e-5)


def test_the_fused_loss_of_a_large_vocabulary_is_the_plain_one(monkeypatch):
    generator = torch.Generator("cuda").manual_seed(1)
    hidden = torch.randn(4096 + 300, 64, generator=generator, device="cuda")
    weight = torch.randn(50_304, 64, generator=generator, device="cuda") / 8
    targets = torch.randint(50_304, (len(hidden),), generator=generator, device="cuda")
    targets[::7] = -100
    assert rows_at_once(50_304, hidden.device) == 4096
    fused, slopes = measured_loss(hidden, weight, targets)
    monkeypatch.setattr("glasshouse.nn.loss._is_worth_fusing", lambda logits: False)
    plain, expected = measured_loss(hidden, weight, targets)
    torch.testing.assert_close(fused.tokens, plain.tokens, rtol=1e-4, atol=1e-4)
    assert fused.total.item() == pytest.approx(plain.total.item(), rel=1e-5)
    for one, other in zip(slopes, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-5)


def measured_loss(hidden, weight, targets):
    leaves = [one.detach().clone().requires_grad_() for one in (hidden, weight)]
    loss = linear_cross_entropy(*leaves, targets, z_loss=1e-4)
    loss.mean.backward()
    return loss, [leaf.grad for leaf in leaves]


def test_greedy_tokens_are_those_of_a_processor():
    model = Transformer(SHAPE, seed=3)
    prompts, sampling = [list(range(12)), [5, 9, 200]], Sampling(tokens=20, temperature=0)
    expected = generate(model, prompts, sampling)
    assert generate(model.cuda(), prompts, sampling) == expected


def test_the_energy_of_the_gpu_is_read():
    pytest.importorskip("pynvml")
    with EnergyMeter() as meter:
        square = torch.randn(4096, 4096, device="cuda")
        for _ in range(200):
            square = square @ square / 64
        torch.cuda.synchronize()
    assert "nvml" in meter.result["source"] or "sampled power" in meter.result["source"]
    assert meter.result["joules"] > 5
