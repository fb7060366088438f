"""The method and its baselines: what learns, what stays, what each image contributes."""

from __future__ import annotations

import copy
import hashlib

import pytest
import torch
from torch.nn import functional

from glasshouse.training.data import DataError
from glasshouse.training.objective import Step
from glasshouse.vision.collection import collect, digits
from glasshouse.vision.completion.diffusion import DiffusionCompletionConfig
from glasshouse.vision.completion.mae import MaskedAutoencoderConfig
from glasshouse.vision.completion.masks import Mask
from glasshouse.vision.completion.model import decoder_hash, encoder_hash
from glasshouse.vision.completion.visible import GridTransformer
from glasshouse.vision.completion.vq_prior import VqCompletionConfig
from glasshouse.vision.selection import Selection, SelectionError, listed_in
from glasshouse.vision.unlearning.baselines import RandomEncoder, WholeModelBaseline
from glasshouse.vision.unlearning.methods import METHODS, Unlearning, unlearn
from glasshouse.vision.unlearning.objective import EncoderUnlearning, noise_like
from glasshouse.vision.unlearning.pairs import PairedImages
from glasshouse.vision.unlearning.split import Split, SplitError, parts_of

SMALL = GridTransformer(width=16, heads=2, layers=1, decoder_layers=1, expansion=2)
MAE = MaskedAutoencoderConfig(transformer=SMALL)
MODELS = {
    "mae": MAE,
    "vq": VqCompletionConfig(transformer=SMALL),
    "diffusion": DiffusionCompletionConfig(widths=(8, 16)),
}
MASKS = (Mask(kind="random", share=0.5),)
TEST_SPLIT = Split(forget=Selection(classes=("1", "3", "8")), retain=Selection(classes=("0", "4", "6", "7")))


@pytest.fixture(scope="module")
def images():
    return digits()


def step(seed: int = 0) -> Step:
    return Step(1, 1, seed, torch.Generator().manual_seed(seed))


def batch(retain: int = 4, forget: int = 4, seed: int = 0) -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(count, 1, 8, 8, generator=drawn) for name, count in (("retain", retain), ("forget", forget))
    }


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_changes_what_it_says_and_nothing_else(name, method, images, tmp_path) -> None:
    model = MODELS[name].build(0)
    before = (encoder_hash(model), decoder_hash(model))
    made = unlearn(
        model, images, parts_of(images, TEST_SPLIT), Unlearning(method=method, steps=4, masks=MASKS), tmp_path
    )
    assert (encoder_hash(model), decoder_hash(model)) == before, "the original stays"
    assert made.hashes["encoder before"] == before[0]
    assert encoder_hash(made.model) != before[0]
    assert made.decoder_unchanged == (method in ("encoder", "random encoder"))
    assert (decoder_hash(made.model) == before[1]) == made.decoder_unchanged
    if name == "vq":  # the auto-encoder under the prior is never touched
        assert torch.equal(made.model.tokenizer.codebook.weight, model.tokenizer.codebook.weight)


def test_teacher_and_student_see_the_same_masks(monkeypatch) -> None:
    seen: dict[str, list[str]] = {"student": [], "teacher": []}
    student = MAE.build(0)
    teacher = copy.deepcopy(student)

    def watched(model, who):
        plain = type(model).encode

        def encode(images, hidden, draw=None):
            seen[who].append(hashlib.sha256(hidden.numpy().tobytes()).hexdigest())
            return plain(model, images, hidden, draw)

        return encode

    monkeypatch.setattr(student, "encode", watched(student, "student"), raising=False)
    monkeypatch.setattr(teacher, "encode", watched(teacher, "teacher"), raising=False)
    objective = EncoderUnlearning(student, teacher, alpha=0.5, masks=MASKS)
    objective.loss(batch(), step())
    hidden = MASKS[0].draw(torch.zeros(8, 1, 8, 8), mask_generator())
    expected = [hashlib.sha256(part.numpy().tobytes()).hexdigest() for part in (hidden, hidden[:4], hidden[4:])]
    assert seen["student"] == expected[:1]
    assert seen["teacher"] == expected[1:]


def mask_generator() -> torch.Generator:
    """As `step()` gives it, after the kind of mask was drawn."""
    generator = torch.Generator().manual_seed(0)
    torch.randint(1, (1,), generator=generator)
    return generator


def test_the_loss_is_the_papers_with_a_student_that_moved() -> None:
    student, teacher = MAE.build(0), MAE.build(0)
    with torch.no_grad():
        student.encoder.norm.bias.add_(0.1)
    objective = EncoderUnlearning(student, teacher, alpha=0.5, masks=MASKS)
    given = batch()
    loss = objective.loss(given, step())
    generator = mask_generator()
    hidden = MASKS[0].draw(torch.zeros(8, 1, 8, 8), generator)
    noise = noise_like(given["forget"], "normal", generator)
    with torch.no_grad():
        new = [
            student.encode(given[part], rows).layers[0]
            for part, rows in (("retain", hidden[:4]), ("forget", hidden[4:]))
        ]
        old = [teacher.encode(x, rows).layers[0] for x, rows in ((given["retain"], hidden[:4]), (noise, hidden[4:]))]
        expected = functional.mse_loss(new[0], old[0]) + 0.5 * functional.mse_loss(new[1], old[1])
    assert float(loss.value.detach()) == pytest.approx(float(expected), rel=1e-5)
    assert float(loss.metrics["retain"]) == pytest.approx(0.01, rel=1e-3)  # the norm's bias moved by 0.1 everywhere


def test_before_it_moves_a_student_has_nothing_to_retain() -> None:
    student = MAE.build(0)
    loss = EncoderUnlearning(student, copy.deepcopy(student), alpha=1.0, masks=MASKS).loss(batch(), step())
    assert float(loss.metrics["retain"]) == 0
    assert float(loss.metrics["forget"]) > 0.01


def gradient(objective, given) -> dict[str, torch.Tensor]:
    (model,) = objective.learns.values()
    model.zero_grad(set_to_none=True)
    loss = objective.loss(given, step()).value
    if loss.requires_grad:
        loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def objectives(alpha: float):
    student, teacher = MAE.build(0), MAE.build(0)
    with torch.no_grad():
        student.encoder.norm.bias.add_(0.1)
    yield EncoderUnlearning(student, teacher, alpha=alpha, masks=MASKS)
    yield RandomEncoder(copy.deepcopy(student), teacher, alpha=alpha, masks=MASKS)
    for kind in ("max loss", "noisy label"):
        yield WholeModelBaseline(copy.deepcopy(student), kind, alpha=alpha, masks=MASKS)


def largest(found: dict[str, torch.Tensor]) -> float:
    return max((float(g.abs().max()) for g in found.values()), default=0.0)


def test_images_to_forget_act_through_alpha_alone_and_images_to_retain_do_not() -> None:
    for one, two in zip(objectives(1.0), objectives(3.0), strict=True):
        kept = [gradient(objective, batch(forget=0)) for objective in (one, two)]
        assert largest(kept[0]) > 0
        assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0]), "alpha has nothing to weigh"
        gone = [gradient(objective, batch(retain=0)) for objective in (one, two)]
        assert largest(gone[0]) > 0
        for name in gone[0]:
            assert torch.allclose(3 * gone[0][name], gone[1][name], rtol=1e-4, atol=1e-7)
        assert largest(gradient(one, batch(retain=0, forget=0))) == 0


def test_max_loss_goes_up_where_training_goes_down() -> None:
    model = MAE.build(0)
    up = gradient(WholeModelBaseline(model, "max loss", alpha=1.0, masks=MASKS), batch(retain=0))
    model.zero_grad()
    given, generator = batch(retain=0)["forget"], mask_generator()
    model.loss(given, MASKS[0].draw(given, generator), given, generator).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(up[name], -parameter.grad, atol=1e-7)


def test_retain_labels_are_images_to_retain_and_fine_tuning_leaves_the_others() -> None:
    model, given = MAE.build(0), batch(retain=2, forget=4)
    seen = []
    plain = model.loss

    def watched(images, hidden, target, generator):
        seen.append((images, target))
        return plain(images, hidden, target, generator)

    model.loss = watched
    WholeModelBaseline(model, "retain label", alpha=1.0, masks=MASKS).loss(given, step())
    assert torch.equal(seen[1][0], given["forget"])
    assert torch.equal(seen[1][1], given["retain"][[0, 1, 0, 1]])
    seen.clear()
    WholeModelBaseline(model, "fine-tuning", alpha=1.0, masks=MASKS).loss(given, step())
    assert len(seen) == 1
    assert torch.equal(seen[0][1], given["retain"])


def test_noise_has_the_mean_and_deviation_of_the_batch() -> None:
    images = 0.5 + 0.1 * torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[:, 1] -= 0.2
    noise = noise_like(images, "normal", torch.Generator().manual_seed(1))
    assert torch.allclose(noise.mean((0, 2, 3)), images.mean((0, 2, 3)), atol=0.01)
    assert torch.allclose(noise.std((0, 2, 3)), images.std((0, 2, 3)), atol=0.01)
    assert float(noise_like(images, "constant", torch.Generator()).std((0, 2, 3)).max()) < 1e-6
    flat = noise_like(images, "uniform", torch.Generator().manual_seed(0))
    assert float(flat.var()) == pytest.approx(1 / 12, rel=0.05)


def test_pairs_bring_the_smaller_set_round() -> None:
    pixels = torch.arange(10).float().view(10, 1, 1, 1)
    data = PairedImages(pixels, torch.arange(7), torch.tensor([8, 9]))
    assert data.rows == 7
    found = data.batch(torch.tensor([0, 1, 2, 6]).numpy())
    assert found["retain"].flatten().tolist() == [0, 1, 2, 6]
    assert found["forget"].flatten().tolist() == [8, 9, 8, 8]
    assert data.describe(torch.tensor([6]).numpy()) == ["retain 6 and forget 8"]
    with pytest.raises(DataError, match="7 images to retain and 0 to forget"):
        PairedImages(pixels, torch.arange(7), torch.arange(0))


def test_a_split_by_class_takes_held_out_images_for_measuring(images) -> None:
    parts = parts_of(images, TEST_SPLIT)
    labels, held = images.labels, images.held_out
    assert set(labels[parts.forget].tolist()) == {1, 3, 8}
    assert not held[parts.forget].any()
    assert held[parts.forget_test].all()
    assert held[parts.retain_test].all()
    assert parts.forget_is_held_out
    proxied = parts_of(images, TEST_SPLIT.but(proxy=Selection(classes=("2", "5", "9"))))
    assert set(labels[proxied.retain].tolist()) == {2, 5, 9}
    assert torch.equal(proxied.retain_test, parts.retain_test)
    rest = parts_of(images, Split(forget=TEST_SPLIT.forget))
    assert set(labels[rest.retain].tolist()) == {0, 2, 4, 5, 6, 7, 9}


def test_a_split_by_documents_measures_on_the_documents_themselves(images, tmp_path) -> None:
    seen = (~images.held_out).nonzero().flatten()[:5].tolist()
    listing = tmp_path / "forget.txt"
    listing.write_text("# a name, a whole hash, a short one\n" + "\n".join(
        [images.names[seen[0]], images.ids[seen[1]], images.ids[seen[2]][:16]]) + "\n\n")  # fmt: skip
    parts = parts_of(images, Split(forget=listed_in(listing)))
    assert parts.forget.tolist() == seen[:3]
    assert parts.forget_test.tolist() == seen[:3]
    assert not parts.forget_is_held_out
    assert len(parts.retain) == int((~images.held_out).sum()) - 3


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (Split(forget=Selection(classes=("1", "eleven"))), "there is no class eleven; there are 0, 1, 2"),
        (
            Split(forget=Selection(classes=("1",)), retain=Selection(classes=("1", "2"))),
            "forget set and in the retain set",
        ),
        (
            Split(
                forget=Selection(classes=("1",)), retain=Selection(classes=("2",)), proxy=Selection(classes=("1", "3"))
            ),
            "forget set and in the proxy retain set",
        ),
        (Split(forget=Selection(ids=("digits/99999",))), "no image is called 'digits/99999'"),
        (Split(forget=Selection(artifacts=("abc",))), "no image came from artifact 'abc'"),
        (Split(forget=Selection(classes=tuple("0123456789"))), "no images to retain in the training images"),
    ],
)
def test_splits_that_cannot_be_made_are_refused(split, said, images) -> None:
    with pytest.raises((SplitError, SelectionError), match=said):
        parts_of(images, split)


def test_copies_of_one_image_are_one_image() -> None:
    drawn = torch.randint(0, 255, (40, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    pixels = [*drawn, drawn[0]]  # the first image of class a again, as the last of class b
    labels = [0] * 20 + [1] * 21
    found = collect(pixels, 255, labels, ("a", "b"), [f"{n}.png" for n in range(41)], holdout=0.4)
    assert found.ids[0] == found.ids[40]
    assert found.held_out[0] == found.held_out[40]
    with pytest.raises(SplitError, match=r"1 images stand both .* 0\.png and 40\.png, which have the same pixels"):
        parts_of(found, Split(forget=Selection(classes=("a",))))


def test_an_empty_list_is_refused(tmp_path) -> None:
    (tmp_path / "none.txt").write_text("# nothing\n")
    with pytest.raises(SelectionError, match="lists no image"):
        listed_in(tmp_path / "none.txt")


@pytest.mark.parametrize("method", ["encoder", "max loss"])
def test_killed_unlearning_goes_on_bit_for_bit(method, images, tmp_path) -> None:
    model, parts = MAE.build(0), parts_of(images, TEST_SPLIT)
    settings = Unlearning(method=method, steps=8, batch_size=4)
    whole = unlearn(model, images, parts, settings, tmp_path / "whole")
    unlearn(model, images, parts, settings, tmp_path / "killed", stop=lambda step: step == 3)
    again = unlearn(model, images, parts, settings, tmp_path / "killed")
    assert again.result.resumed_from == 3
    assert again.hashes == whole.hashes
