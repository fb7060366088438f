"""Teachers from folders, on tiny pipelines with random weights made here, against diffusers called directly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from glasshouse.vision.diffusion.guidance import guided
from glasshouse.vision.diffusion.text import PromptError
from glasshouse.vision.mesh.embedding_cache import EmbeddingCache
from glasshouse.vision.mesh.sds import Distillation, distil
from glasshouse.vision.mesh.teacher import Teacher, TeacherError
from glasshouse.vision.mesh.teacher_diffusers import open_folder_teacher

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

WORDS = ["<pad>", "<unk>", "</s>", "a", "pig", "cone", ",", "front", "side", "view"]


def write_tokenizer(folder: Path, length: int) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", model_max_length=length
    )
    fast.save_pretrained(folder / "tokenizer")


def write_if(folder: Path) -> None:
    """The kinds of blocks, the text embedding and the six outputs of IF, very small."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=3, out_channels=6, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), act_fn="gelu", norm_num_groups=8,
        encoder_hid_dim=16, encoder_hid_dim_type="text_proj", cross_attention_dim=16, attention_head_dim=8,
        addition_embed_type="text", addition_embed_type_num_heads=2, resnet_time_scale_shift="scale_shift",
        mid_block_scale_factor=1.414,
    )  # fmt: skip
    config = transformers.T5Config(
        vocab_size=len(WORDS), d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu"
    )
    encoder = transformers.T5EncoderModel(config)
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range")
    unet.save_pretrained(folder / "unet")
    encoder.save_pretrained(folder / "text_encoder")
    scheduler.save_pretrained(folder / "scheduler")
    write_tokenizer(folder, 77)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "IFPipeline"}))


def write_sd(folder: Path) -> None:
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=4, norm_num_groups=8,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, scaling_factor=0.18215,
    )  # fmt: skip
    config = transformers.CLIPTextConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, eos_token_id=2, pad_token_id=0, bos_token_id=2,
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction"
    )
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    scheduler.save_pretrained(folder / "scheduler")
    write_tokenizer(folder, 12)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for kind, write in (("if", write_if), ("sd", write_sd)):
            found[kind] = tmp_path_factory.mktemp(kind)
            write(found[kind])
    return found


def opened(folders: dict[str, Path], kind: str, tmp_path: Path) -> Any:
    return open_folder_teacher(folders[kind], cache=tmp_path / "texts")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_if_predicts_noise_in_the_first_three_of_six_channels(folders: dict[str, Path], tmp_path: Path) -> None:
    teacher = opened(folders, "if", tmp_path)
    assert isinstance(teacher, Teacher)
    assert teacher.image_size == 16
    assert not teacher.camera_conditioned
    x, t = noise(2, 3, 16, 16), torch.tensor([10, 800])
    tokens = teacher.tokens(["a pig", "a cone"])
    assert tokens.shape == (2, 77, 16)
    unet = diffusers.UNet2DConditionModel.from_pretrained(folders["if"] / "unet")
    with torch.no_grad():
        said = unet(x, t, encoder_hidden_states=tokens).sample
    assert said.shape[1] == 6
    assert torch.equal(teacher.eps(x, t, tokens), said[:, :3])
    rgb = torch.rand(1, 3, 16, 16, requires_grad=True)
    assert torch.allclose(teacher.prepare(rgb), 2 * rgb - 1)


def test_texts_of_if_are_those_of_its_encoder(folders: dict[str, Path], tmp_path: Path) -> None:
    teacher = opened(folders, "if", tmp_path)
    encoder = transformers.T5EncoderModel.from_pretrained(folders["if"] / "text_encoder")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["if"] / "tokenizer")
    rows = tokenizer("a pig, side view", padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        said = encoder(rows.input_ids, attention_mask=rows.attention_mask)[0]
    assert torch.allclose(teacher.tokens(["a pig"], ["side"]), said, atol=1e-6)
    assert teacher.null_tokens().shape == (1, 77, 16)


def test_encoders_are_loaded_once_for_a_text_and_not_kept(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(folders, "if", tmp_path).tokens(["a pig", "a cone", "a pig"])
    again = opened(folders, "if", tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the text encoder was loaded again")

    monkeypatch.setattr(transformers.T5EncoderModel, "from_pretrained", refuse)
    assert torch.equal(again.tokens(["a pig", "a cone", "a pig"]), first)
    assert "unet" not in vars(again), "the UNet is loaded only when it is asked"
    with pytest.raises(AssertionError, match="loaded again"):
        again.tokens(["a cone pig"])
    for path in (tmp_path / "texts").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="loaded again"):
        again.tokens(["a pig"])


def test_another_encoder_finds_nothing_in_the_cache(tmp_path: Path) -> None:
    made = []

    def encoder(value: float) -> Any:
        def load() -> Any:
            made.append(value)
            return lambda texts: torch.full((len(texts), 2, 3), value)

        return load

    assert float(EmbeddingCache(tmp_path, "one").get(["a"], encoder(1.0)).mean()) == 1
    assert float(EmbeddingCache(tmp_path, "two").get(["a", "a"], encoder(2.0)).mean()) == 2
    assert float(EmbeddingCache(tmp_path, "one").get(["a"], encoder(3.0)).mean()) == 1
    assert made == [1.0, 2.0]


def test_stable_diffusion_sees_latents_with_their_gradient(folders: dict[str, Path], tmp_path: Path) -> None:
    teacher = opened(folders, "sd", tmp_path)
    assert isinstance(teacher, Teacher)
    assert teacher.image_size == 16
    vae = diffusers.AutoencoderKL.from_pretrained(folders["sd"] / "vae")
    rgb = torch.rand(2, 3, 16, 16, requires_grad=True)
    x = teacher.prepare(rgb)
    assert torch.allclose(x, 0.18215 * vae.encode(2 * rgb - 1).latent_dist.mean, atol=1e-6)
    assert x.shape == (2, 4, 8, 8)
    x.square().sum().backward()
    assert rgb.grad is not None
    assert bool(rgb.grad.abs().sum((1, 2, 3)).gt(0).all())


def test_stable_diffusion_with_v_prediction_says_eps(folders: dict[str, Path], tmp_path: Path) -> None:
    teacher = opened(folders, "sd", tmp_path)
    x, t, tokens = noise(2, 4, 8, 8), torch.tensor([10, 800]), teacher.tokens(["a pig", "a cone"])
    unet = diffusers.UNet2DConditionModel.from_pretrained(folders["sd"] / "unet")
    with torch.no_grad():
        v = unet(x, t, encoder_hidden_states=tokens).sample
    bars = teacher.scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1)
    assert torch.allclose(teacher.eps(x, t, tokens), (1 - bars).sqrt() * x + bars.sqrt() * v, atol=1e-6)


@pytest.mark.parametrize("kind", ["if", "sd"])
@pytest.mark.parametrize("weighting", ["sigma2", "one", "alpha_sigma2"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 20.0])
def test_the_gradient_of_distillation_is_the_formula(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, kind: str, weighting: str, scale: float
) -> None:
    """Autograd through the surrogate equals w(t) (eps_hat - eps) / n, and reaches the pixels."""
    teacher = open_folder_teacher(folders[kind], cache=folders[kind].parent / f"texts-{kind}")
    rgb = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3), requires_grad=True)
    prepared = teacher.prepare(rgb)
    x = prepared.detach().requires_grad_()
    t, e = torch.tensor([100, 700]), noise(*x.shape, seed=5)
    tokens, null = teacher.tokens(["a pig", "a cone"]), teacher.null_tokens()

    def said(x_t: Tensor, times: Tensor) -> Tensor:
        nothing = teacher.eps(x_t, times, null.expand(2, -1, -1))
        return guided(nothing, teacher.eps(x_t, times, tokens), scale)

    settings = Distillation(weighting=weighting, guidance=scale)
    distil(x, said, teacher.alphas_cumprod, settings, t, e).loss.backward()
    bars = teacher.alphas_cumprod[t].reshape(-1, 1, 1, 1)
    weight = {"sigma2": 1 - bars, "one": torch.ones_like(bars), "alpha_sigma2": bars.sqrt() * (1 - bars)}[weighting]
    x_t = bars.sqrt() * x.detach() + (1 - bars).sqrt() * e
    unconditional, conditional = (teacher.eps(x_t, t, part) for part in (null.expand(2, -1, -1), tokens))
    wanted = weight * (unconditional + scale * (conditional - unconditional) - e) / 2
    assert torch.allclose(x.grad, wanted, atol=1e-6, rtol=1e-5)
    if scale == 1.0:
        distil(prepared, said, teacher.alphas_cumprod, settings, t, e).loss.backward()
        assert rgb.grad is not None
        assert bool(rgb.grad.abs().sum((1, 2, 3)).gt(0).all())


def test_fingerprints_follow_the_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folders["sd"], copy)
    same = open_folder_teacher(copy, cache=tmp_path)
    assert same.fingerprint == opened(folders, "sd", tmp_path).fingerprint
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert open_folder_teacher(copy, cache=tmp_path).fingerprint != same.fingerprint


def test_folders_that_hold_no_teacher_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="have to be there already, none are fetched"):
        open_folder_teacher(tmp_path / "DeepFloyd" / "IF-I-XL-v1.0")
    with pytest.raises(TeacherError, match="is this a diffusers pipeline"):
        open_folder_teacher(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(TeacherError, match="holds a FluxPipeline; teachers are IFPipeline, StableDiffusionPipeline"):
        open_folder_teacher(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "IFPipeline"}))
    with pytest.raises(TeacherError, match="lacks tokenizer, text_encoder, unet, scheduler"):
        open_folder_teacher(tmp_path)
    import shutil

    copy = tmp_path / "pickled"
    shutil.copytree(folders["if"], copy)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(TeacherError, match="cannot be read as UNet2DConditionModel with safetensors"):
        _ = open_folder_teacher(copy, cache=tmp_path).unet


def test_prompts_that_cannot_be_read_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    teacher = opened(folders, "sd", tmp_path)
    with pytest.raises(PromptError, match="empty"):
        teacher.tokens([" "])
    with pytest.raises(PromptError, match="has 21 tokens, this model reads 12: shorten it"):
        teacher.tokens(["a pig " * 10])
