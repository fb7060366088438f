"""Masks, the masked auto-encoder, the VQ prior and the diffusion model as things that complete images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glasshouse.training.data import TensorRows
from glasshouse.training.trainer import train
from glasshouse.vision.collection import digits
from glasshouse.vision.completion.diffusion import DiffusionCompletionConfig
from glasshouse.vision.completion.files import (
    CompletionModelError,
    kind_of,
    load_completion,
    save_completion,
)
from glasshouse.vision.completion.fit import fit
from glasshouse.vision.completion.mae import MaskedAutoencoderConfig
from glasshouse.vision.completion.masks import Mask, MaskError, draw_one_of, hidden_patches
from glasshouse.vision.completion.model import SizeError, decoder_hash, distance, encoder_hash
from glasshouse.vision.completion.training import TRAINING_MASKS, CompletionObjective, CompletionTraining
from glasshouse.vision.completion.visible import GridTransformer, grid_positions
from glasshouse.vision.completion.vq_prior import VqCompletionConfig

SMALL = GridTransformer(width=16, heads=2, layers=2, decoder_layers=1, expansion=2)
CONFIGS = {
    "mae": MaskedAutoencoderConfig(transformer=SMALL),
    "vq": VqCompletionConfig(transformer=SMALL),
    "diffusion": DiffusionCompletionConfig(widths=(8, 16), sampling_steps=3),
}
KINDS = ("centre", "outpaint", "half", "random", "free-form")


def draw(mask: Mask, count: int = 6, side: int = 8, seed: int = 0) -> torch.Tensor:
    return mask.draw(torch.zeros(count, 1, side, side), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_masks_hide_their_share_in_whole_cells(kind) -> None:
    hidden = draw(Mask(kind=kind, share=0.25), side=16)
    assert hidden.shape == (6, 16, 16)
    assert hidden.dtype == torch.bool
    assert hidden.float().mean((1, 2)).sub(0.25).abs().max() <= (0.0001 if kind != "outpaint" else 0.04)
    cells = hidden.view(6, 8, 2, 8, 2)
    assert torch.equal(cells.any(4).any(2), cells.all(4).all(2))
    assert torch.equal(hidden, draw(Mask(kind=kind, share=0.25), side=16))
    differ = not torch.equal(hidden[0], hidden[1])
    assert differ == (kind in ("random", "free-form"))


def test_fixed_masks_are_where_they_should_be() -> None:
    assert draw(Mask(kind="centre", share=0.25))[0].nonzero().tolist() == [
        [r, c] for r in range(2, 6) for c in range(2, 6)
    ]
    assert torch.equal(draw(Mask(kind="outpaint", share=0.75)), ~draw(Mask(kind="centre", share=0.25)))
    half = draw(Mask(kind="half", share=0.5))[0]
    assert half[:, 4:].all()
    assert not half[:, :4].any()


def test_strokes_hang_together_more_than_random_cells() -> None:
    def neighbours(kind: str) -> float:
        hidden = draw(Mask(kind=kind, share=0.2, cell=1), count=64, side=16)
        return float((hidden[:, 1:] & hidden[:, :-1]).float().mean())

    assert neighbours("free-form") > 1.5 * neighbours("random")


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (Mask(kind="random", share=0.01), "hides nothing of 4 x 4 cells"),
        (Mask(kind="half", share=0.99), "hides everything of 4 x 4 cells"),
        (Mask(cell=3), "not made of cells of 3"),
    ],
)
def test_masks_that_hide_nothing_or_everything_are_refused(mask, said) -> None:
    with pytest.raises(MaskError, match=said):
        draw(mask)


def test_a_patch_with_any_hidden_pixel_is_hidden() -> None:
    hidden = torch.zeros(1, 4, 4, dtype=torch.bool)
    hidden[0, 1, 3] = True
    assert hidden_patches(hidden, 2).tolist() == [[False, True, False, False]]


def test_positions_tell_every_place_apart() -> None:
    table = grid_positions(4, 6, 32)
    apart = torch.cdist(table, table) + torch.eye(24) * 9
    assert table.shape == (24, 32)
    assert float(apart.min()) > 0.3
    row, column, rate = 3, 2, 1 / 10_000 ** (1 / 8)
    expected = [np.sin(row * rate), np.cos(row * rate), np.sin(column * rate), np.cos(column * rate)]
    assert table[row * 6 + column, [1, 9, 17, 25]].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_hidden_is_not_seen_and_what_is_seen_is_kept(name) -> None:
    model = CONFIGS[name].build(0).eval()
    images = torch.rand(5, 1, 8, 8)
    hidden = draw(Mask(kind="random", share=0.5), count=5)
    other = torch.where(hidden[:, None], torch.rand_like(images), images)
    with torch.no_grad():
        one, two = (model.complete(x, hidden, torch.Generator().manual_seed(0)) for x in (images, other))
    assert torch.equal(one, two)
    assert torch.equal(one[~hidden[:, None]], images[~hidden[:, None]])
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1


@pytest.mark.parametrize("name", ["mae", "vq"])
def test_rows_that_show_different_numbers_of_patches_are_coded_as_if_alone(name) -> None:
    model = CONFIGS[name].build(0).eval()
    images = torch.rand(4, 1, 8, 8)
    hidden = torch.cat([draw(Mask(kind="random", share=share), count=1) for share in (0.25, 0.5, 0.5, 0.75)])
    with torch.no_grad():
        together = model.encode(images, hidden)
        assert together.valid is not None
        for row in range(4):
            alone = model.encode(images[row : row + 1], hidden[row : row + 1])
            count = alone.layers[0].shape[1]
            assert torch.allclose(together.layers[0][row, :count], alone.layers[0][0], atol=1e-5)
            assert torch.allclose(together.flat()[row], alone.flat()[0], atol=1e-5)
            answer, whole = model.decoder(alone), model.decoder(together)
            assert torch.allclose(answer[0], whole[row], atol=1e-5)
    assert float(distance(together, together)) == 0


def test_the_loss_of_the_auto_encoder_is_the_square_over_hidden_pixels() -> None:
    model = CONFIGS["mae"].build(0)
    images, hidden = torch.rand(3, 1, 8, 8), draw(Mask(kind="random", share=0.5), count=3)
    with torch.no_grad():
        answer = model.images(model.decoder(model.encode(images, hidden)))
        expected = (2 * (answer - images))[:, 0][hidden].square().mean()
        assert float(model.loss(images, hidden, images, torch.Generator())) == pytest.approx(float(expected), rel=1e-5)
    assert torch.allclose(model.images(model.patches(images)), images, atol=1e-6)


def test_a_code_is_the_nearest_vector_and_holds_nothing_of_neighbours() -> None:
    tokenizer = CONFIGS["vq"].build(0).tokenizer
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        vectors = tokenizer.vectors(images)
        apart = torch.cdist(vectors, tokenizer.codebook.weight[None].expand(2, -1, -1))
        assert torch.equal(tokenizer.nearest(vectors), apart.argmin(2))
        changed = images.clone()
        changed[:, :, 2:] = 0
        assert torch.equal(tokenizer.codes(images)[:, :4], tokenizer.codes(changed)[:, :4])


@pytest.mark.parametrize("name", CONFIGS)
def test_models_come_back_bit_for_bit_and_tell_encoder_from_decoder(name, tmp_path) -> None:
    model = CONFIGS[name].build(3).eval()
    save_completion(model, tmp_path)
    again = load_completion(tmp_path)
    assert kind_of(again.config) == kind_of(CONFIGS[name])
    assert (encoder_hash(again), decoder_hash(again)) == (encoder_hash(model), decoder_hash(model))
    with torch.no_grad():
        next(iter(again.encoder.parameters())).add_(1)
    assert decoder_hash(again) == decoder_hash(model)
    assert encoder_hash(again) != encoder_hash(model)
    names = {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}
    assert names, "there is a decoder"
    with torch.no_grad():
        dict(again.named_parameters())[sorted(names)[0]].add_(1)
    assert decoder_hash(again) != decoder_hash(model)


@pytest.mark.parametrize("context", ["noise", "kept"])
def test_a_diffusion_model_is_blind_to_what_it_is_said(context) -> None:
    model = CONFIGS["diffusion"].but(context=context).build(0)
    images, other, noise = (torch.rand(3, 1, 8, 8) for _ in range(3))
    hidden, draw_ = draw(Mask(), count=3), model.draw(images, torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, two = (model.blind(x, noise, hidden, draw_).flat() for x in (images, other))
        seen = model.encode(images, hidden, draw_).flat()
        clean = torch.where(hidden[:, None], torch.rand_like(images), images)
        hole = model.blind(clean, noise, hidden, draw_).flat()
    assert torch.equal(one, two) == (context == "noise")
    assert torch.equal(one, hole), "the hole's content is never seen"
    assert not torch.equal(one, seen)


def test_a_damaged_folder_is_refused_by_name(tmp_path) -> None:
    with pytest.raises(CompletionModelError, match=r"config\.json does not describe"):
        load_completion(tmp_path)
    save_completion(CONFIGS["mae"].build(0), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CompletionModelError, match=r"model\.safetensors are not the weights"):
        load_completion(tmp_path)


@pytest.mark.parametrize("name", CONFIGS)
def test_images_of_another_size_are_refused(name) -> None:
    model, images = CONFIGS[name].build(0), torch.rand(2, 1, 10, 10)
    hidden = torch.zeros(2, 10, 10, dtype=torch.bool)
    with pytest.raises(SizeError, match=r"1 x 8 x 8 \(channels, height, width\), got 1 x 10 x 10"):
        model.complete(images, hidden)


def test_sizes_that_are_not_made_of_patches_are_refused() -> None:
    with pytest.raises(SizeError, match="not made of patches of 3"):
        MaskedAutoencoderConfig(patch=3).build(0)


@pytest.mark.parametrize("name", CONFIGS)
def test_training_lowers_the_loss_on_held_out_images(name, tmp_path) -> None:
    found = digits()
    settings = CompletionTraining(steps=80, optimizer="adamw", masks=TRAINING_MASKS[:1])
    held = found.images[found.held_out][:200]
    hidden = draw(TRAINING_MASKS[0], count=200)

    def loss(model) -> float:
        with torch.no_grad():
            return float(model.loss(held, hidden, held, torch.Generator().manual_seed(0)))

    before = CONFIGS[name].build(settings.seed)
    model, results = fit(found.images[~found.held_out], CONFIGS[name], settings, tmp_path)
    assert all(result.finished for result in results)
    if name == "vq":
        before.tokenizer.load_state_dict(model.tokenizer.state_dict())
        codes = model.tokenizer.codes(held)
        with torch.no_grad():
            again = model.tokenizer.images(model.tokenizer.codebook(codes), model.tokenizer.grid(held))
        assert float((again - held).square().mean()) < 0.3 * float(held.var(0).mean())
        assert len(codes.unique()) > 10
    assert loss(model) < 0.7 * loss(before)


def test_a_killed_training_goes_on_bit_for_bit(tmp_path) -> None:
    data = TensorRows({"images": digits().images[:100]})
    settings = CompletionTraining(steps=12, batch_size=8)

    def run(name: str, stop=None) -> str:
        objective = CompletionObjective(CONFIGS["mae"].build(0), TRAINING_MASKS)
        return train(objective, data, settings.training(), tmp_path / name, stop=stop).weights_hash

    whole = run("whole")
    run("killed", stop=lambda step: step == 5)
    assert run("killed") == whole


def test_one_kind_of_mask_is_chosen_for_a_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = {
        tuple(draw_one_of(TRAINING_MASKS, torch.zeros(4, 1, 8, 8), generator).float().mean((1, 2)).tolist())
        for _ in range(40)
    }
    assert shares == {(0.25,) * 4, (0.5,) * 4, (0.75,) * 4}
