"""Models of transformers and diffusers complete and unlearn; a user's own network gives features."""

from __future__ import annotations

import warnings

import pytest
import torch

from glasshouse.vision.collection import digits
from glasshouse.vision.completion.masks import Mask, MaskError
from glasshouse.vision.completion.model import Completion, SizeError, decoder_hash, encoder_hash
from glasshouse.vision.completion.visible import GridTransformer
from glasshouse.vision.selection import Selection
from glasshouse.vision.unlearning.methods import Unlearning, unlearn
from glasshouse.vision.unlearning.split import Split, parts_of

transformers = pytest.importorskip("transformers", reason="needs glasshouse[huggingface]")
diffusers = pytest.importorskip("diffusers", reason="needs glasshouse[diffusers]")

MASK = Mask(kind="random", share=0.5)


def vit_mae(**changes):
    torch.manual_seed(0)
    sizes = {"image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": 16, "num_hidden_layers": 1,
             "num_attention_heads": 2, "intermediate_size": 32, "decoder_hidden_size": 16,
             "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
             "decoder_intermediate_size": 32}  # fmt: skip
    return transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**(sizes | changes))).eval()


def vit_mae_completion() -> Completion:
    from glasshouse.vision.completion.transformers_mae import ViTMaeCompletion

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ViTMaeCompletion(vit_mae())


def vq_model():
    torch.manual_seed(0)
    return diffusers.VQModel(
        in_channels=1, out_channels=1, block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, num_vq_embeddings=12, norm_num_groups=4,
    ).eval()  # fmt: skip


def vq_completion() -> Completion:
    from glasshouse.vision.completion.diffusers_models import prior_over

    return prior_over(vq_model(), 8, 8, GridTransformer(width=16, heads=2, layers=1, decoder_layers=1)).eval()


def unet_completion(prediction: str = "epsilon") -> Completion:
    from glasshouse.vision.completion.diffusers_models import UNetCompletion

    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        in_channels=3, out_channels=1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8, attention_head_dim=4,
    )  # fmt: skip
    return UNetCompletion(unet.eval(), diffusers.DDIMScheduler(prediction_type=prediction), steps=2)


MADE = {"ViTMAE": vit_mae_completion, "VQModel": vq_completion, "UNet": unet_completion}


@pytest.mark.parametrize("name", MADE)
def test_a_model_of_another_library_completes_and_unlearns(name, tmp_path) -> None:
    model, images = MADE[name](), digits()
    pixels = images.images[:3]
    mask = Mask(kind="half", share=0.25)
    hidden = mask.draw(pixels, torch.Generator().manual_seed(0))
    with torch.no_grad():
        done = model.complete(pixels, hidden, torch.Generator().manual_seed(0))
        other = torch.where(hidden[:, None], torch.rand_like(pixels), pixels)
        again = model.complete(other, hidden, torch.Generator().manual_seed(0))
    assert torch.equal(done[~hidden[:, None]], pixels[~hidden[:, None]])
    assert torch.equal(done, again)
    split = Split(forget=Selection(classes=("1",)), retain=Selection(classes=("0",)))
    settings = Unlearning(steps=3, batch_size=4, masks=(mask,))
    made = unlearn(model, images, parts_of(images, split), settings, tmp_path)
    assert made.decoder_unchanged
    assert encoder_hash(made.model) == made.hashes["encoder after"] != encoder_hash(model)
    assert decoder_hash(made.model) == decoder_hash(model)


def test_a_vit_mae_is_asked_as_the_library_would() -> None:
    model = vit_mae_completion()
    library = model.model
    images = torch.rand(3, 1, 8, 8)
    hidden = MASK.draw(images, torch.Generator().manual_seed(0))
    from glasshouse.vision.completion.masks import hidden_patches

    library.config.mask_ratio = 0.5
    with torch.no_grad():
        known = library(pixel_values=2 * images - 1, noise=hidden_patches(hidden, 2).float())
        mine = model.loss(images, hidden, images, torch.Generator())
    assert torch.equal(known.mask.bool(), hidden_patches(hidden, 2))
    assert float(mine) == pytest.approx(float(known.loss), rel=1e-5)
    assert library.vit.embeddings.config.mask_ratio == 0.5, "the user's setting is back"


def test_position_tables_of_zeros_are_filled_and_it_is_said() -> None:
    from glasshouse.vision.completion.transformers_mae import ViTMaeCompletion

    model = vit_mae()
    with torch.no_grad():
        model.decoder.decoder_pos_embed.zero_()
    with pytest.warns(UserWarning, match="decoder.decoder_pos_embed of this ViTMAE held zeros only"):
        made = ViTMaeCompletion(model)
    assert "decoder.decoder_pos_embed" in made.filled
    table = model.decoder.decoder_pos_embed[0, 1:]
    assert float((torch.cdist(table, table) + 9 * torch.eye(16)).min()) > 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ViTMaeCompletion(model).filled == []


def test_a_vit_mae_that_cannot_complete_is_refused() -> None:
    from glasshouse.vision.completion.transformers_mae import ViTMaeCompletion

    with pytest.raises(SizeError, match="norm_pix_loss=True"):
        ViTMaeCompletion(vit_mae(norm_pix_loss=True))
    model, images = vit_mae_completion(), torch.rand(2, 1, 8, 8)
    hidden = torch.cat(
        [MASK.but(share=share).draw(images[:1], torch.Generator().manual_seed(0)) for share in (0.25, 0.5)]
    )
    with pytest.raises(MaskError, match="as many patches in every image"):
        model.encode(images, hidden)


def test_a_vit_mae_comes_from_a_folder(tmp_path) -> None:
    from glasshouse.vision.completion.transformers_mae import load_vit_mae

    model = vit_mae_completion()
    model.model.save_pretrained(tmp_path)
    images = torch.rand(2, 1, 8, 8)
    hidden = MASK.draw(images, torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error", UserWarning)  # its tables are not zeros any more
        assert torch.equal(load_vit_mae(tmp_path).complete(images, hidden), model.complete(images, hidden))


def test_codes_of_a_vq_model_are_the_librarys() -> None:
    from glasshouse.vision.completion.diffusers_models import DiffusersTokenizer

    model = vq_model()
    tokenizer, images = DiffusersTokenizer(model), torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        codes = tokenizer.codes(images)
        expected = model(2 * images - 1).sample
    assert codes.shape == (2, 16)
    assert torch.allclose(2 * tokenizer.pictures(codes, (4, 4)) - 1, expected, atol=1e-5)


def test_codes_beside_a_hole_are_hidden_too() -> None:
    model, images = vq_completion(), torch.rand(1, 1, 8, 8)
    hidden = torch.zeros(1, 8, 8, dtype=torch.bool)
    hidden[:, 0, 0] = True
    codes, places = model.seen(images, hidden)
    assert places[0].nonzero().flatten().tolist() == [0, 1, 4, 5]
    assert codes.shape == (1, 16)
    with pytest.raises(MaskError, match="widened by 1 codes"):
        model.seen(images, MASK.draw(images, torch.Generator().manual_seed(0)) | Mask().draw(images, torch.Generator()))


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_a_unet_learns_what_its_scheduler_says(prediction) -> None:
    model = unet_completion(prediction)
    images = torch.rand(4, 1, 8, 8)
    hidden = Mask().draw(images, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    t, noise = model.draw(images, torch.Generator().manual_seed(1))
    with torch.no_grad():
        loss = model.loss(images, hidden, images, generator)
        truth = 2 * images - 1
        bars = model.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        noisy = bars.sqrt() * truth + (1 - bars).sqrt() * noise
        mask = hidden[:, None]
        kept = torch.where(mask, 0.0, truth)
        given = torch.cat([torch.where(mask, noisy, kept), mask.float(), kept], 1)
        said = model.unet(given, t, torch.zeros(4, 1, 8)).sample
        velocity = bars.sqrt() * noise - (1 - bars).sqrt() * truth
        wanted = {"epsilon": noise, "sample": truth, "v_prediction": velocity}[prediction]
    assert float(loss) == pytest.approx(float((said - wanted)[mask].square().mean()), rel=1e-4)


def test_a_unet_for_other_channels_is_refused() -> None:
    from glasshouse.vision.completion.diffusers_models import UNetCompletion

    unet = diffusers.UNet2DModel(
        in_channels=1, out_channels=1, block_out_channels=(8,), down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",), norm_num_groups=4,
    )  # fmt: skip
    with pytest.raises(SizeError, match="takes 3: noisy image, mask, visible pixels; this one takes 1"):
        UNetCompletion(unet, diffusers.DDIMScheduler())


def test_features_of_a_users_own_network(tmp_path) -> None:
    from glasshouse.vision.pretrained_features import PretrainedFeatures, WeightsError

    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4,
        projection_dim=6,
    )  # fmt: skip
    model = transformers.CLIPVisionModelWithProjection(config).eval()
    with pytest.raises(WeightsError, match=r"needs config\.json and weights in \*\.safetensors"):
        PretrainedFeatures(tmp_path)
    model.save_pretrained(tmp_path / "tower")
    found = PretrainedFeatures(tmp_path / "tower")
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        expected = model(pixel_values=2 * images.expand(-1, 3, -1, -1) - 1).image_embeds
    assert torch.allclose(found.features(images), expected, atol=1e-5)
    assert found.name.startswith("CLIPVisionModelWithProjection of tower, sha256 ")
