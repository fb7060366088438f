"""`ViTMAEForPreTraining` of transformers as a model that completes images, so that it can unlearn.

What is hidden is decided here, by giving the library `noise` to sort by and the count to keep. In some versions of the
library a model made from a configuration has position tables of zeros (5.23 for the decoder; measured: its loss stays
at the variance of the data). Such tables are filled with sines and cosines, and a warning says so.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glasshouse.vision.completion.masks import Hidden, MaskError, hidden_patches
from glasshouse.vision.completion.model import Completion, Draw, Embedding, Images, SizeError, check_size, pasted
from glasshouse.vision.completion.visible import grid_positions


class ViTMaeCompletion(Completion):
    """Completes images with a `ViTMAEForPreTraining`; what the model knows is saved by its own `save_pretrained`.

    Args:
        model: for square images, trained on plain pixels (`norm_pix_loss=False`: otherwise it predicts patches without
            their brightness, and there is nothing to complete with).
        mean, deviation: of pixels, as the model was trained.

    Raises `SizeError` for a model that cannot complete images.
    """

    def __init__(self, model: Any, mean: float = 0.5, deviation: float = 0.5) -> None:
        super().__init__()
        self.model: Any = model
        self.mean, self.deviation = mean, deviation
        if model.config.norm_pix_loss:
            raise SizeError("this ViTMAE predicts normalised patches (norm_pix_loss=True), which give no pixels back")
        self.filled = fill_positions(model)

    @property
    def encoder(self) -> nn.Module:  # type: ignore[override]
        """The library's `vit`."""
        found: nn.Module = self.model.vit
        return found

    @property
    def cell(self) -> int:
        """Side of a patch."""
        return int(self.model.config.patch_size)

    def encode(self, images: Images, hidden: Hidden, draw: Draw | None = None) -> Embedding:
        """Embeddings of the class token and the visible patches; every image has to hide as many."""
        config = self.model.config
        check_size(images, config.num_channels, config.image_size, config.image_size)
        places = hidden_patches(hidden, self.cell)
        counts = (~places).sum(1)
        if len(counts) and counts.min() != counts.max():
            raise MaskError(
                "a ViTMAE takes masks that hide as many patches in every image; use cells of its patch size"
            )
        embeddings = self.model.vit.embeddings
        before, total = embeddings.config.mask_ratio, places.shape[1]
        embeddings.config.mask_ratio = 1 - (float(counts.max() if len(counts) else 0) + 0.5) / total
        try:
            noise = places.float() + torch.arange(total, device=places.device) / (2 * total)
            found = self.model.vit((images - self.mean) / self.deviation, noise=noise)
        finally:
            embeddings.config.mask_ratio = before
        return Embedding((found.last_hidden_state,), found.ids_restore)

    def loss(self, images: Images, hidden: Hidden, target: Images, generator: torch.Generator) -> Float[Tensor, ""]:
        """Mean square over hidden patches, as the library has it."""
        error = (self._answers(images, hidden) - self.model.patchify((target - self.mean) / self.deviation)).square()
        counted = hidden_patches(hidden, self.cell).to(error.dtype)
        loss: Tensor = (error.mean(2) * counted).sum() / counted.sum()
        return loss

    def complete(self, images: Images, hidden: Hidden, generator: torch.Generator | None = None) -> Images:
        """Images with the hidden pixels filled in."""
        return pasted(images, self.model.unpatchify(self._answers(images, hidden)) * self.deviation + self.mean, hidden)

    def _answers(self, images: Images, hidden: Hidden) -> Tensor:
        embedding = self.encode(images, hidden)
        found: Tensor = self.model.decoder(embedding.layers[0], embedding.places).logits
        return found


def load_vit_mae(folder: Path | str, **options: Any) -> ViTMaeCompletion:
    """A ViTMAE from a local folder in safetensors; nothing is fetched. `options` are those of `ViTMaeCompletion`."""
    from transformers import ViTMAEForPreTraining

    model = ViTMAEForPreTraining.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    return ViTMaeCompletion(model, **options)


def fill_positions(model: Any) -> list[str]:
    """Fill position tables of zeros with sines and cosines; says which, also by a warning."""
    tables = {
        "vit.embeddings.position_embeddings": model.vit.embeddings.position_embeddings,
        "decoder.decoder_pos_embed": model.decoder.decoder_pos_embed,
    }
    filled = []
    for name, table in tables.items():
        if table.detach().abs().max() > 0:
            continue
        side = round((table.shape[1] - 1) ** 0.5)
        with torch.no_grad():
            table[0, 1:] = grid_positions(side, side, table.shape[2])
        filled.append(name)
    if filled:
        warnings.warn(
            f"{' and '.join(filled)} of this ViTMAE held zeros only, so that it could not tell places apart: filled "
            "with sines and cosines",
            stacklevel=3,
        )
    return filled
