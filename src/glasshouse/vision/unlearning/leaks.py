"""What a model still gives away: its class by a linear probe, and whether an image was trained on.

probe        ridge regression from embeddings to classes (one-hot), fitted on all training images, asked about images
             of the forgotten kind
membership   chance that a forgotten training image has a smaller error than a held-out image of its kind (area under
             the curve; 0.5 says nothing)
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from glasshouse.vision.collection import ImageCollection
from glasshouse.vision.completion.masks import Mask
from glasshouse.vision.completion.model import Completion
from glasshouse.vision.unlearning.measures import CHUNK, completions, hidden_error, same_masks


@torch.no_grad()
def embeddings(
    model: Completion, images: Float[Tensor, "images channels height width"]
) -> Float[Tensor, "images features"]:
    """One vector for every image, of which nothing is hidden, on the host."""
    device, parts = next(model.parameters()).device, []
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK].to(device)
        nothing = torch.zeros(len(chunk), *chunk.shape[2:], dtype=torch.bool, device=device)
        parts.append(model.encode(chunk, nothing).flat().cpu())
    return torch.cat(parts)


def probe_accuracy(
    features: Float[Tensor, "images features"],
    labels: Int[Tensor, " images"],
    asked: Float[Tensor, "asked features"],
    truth: Int[Tensor, " asked"],
    *,
    ridge: float = 1e-2,
) -> float:
    """Share of `asked` whose class a linear classifier of the embeddings finds (features are standardised first)."""
    deviation, mean = torch.std_mean(features.double(), 0)
    scale = deviation.clamp(min=1e-6)
    known = functional.pad((features.double() - mean) / scale, (0, 1), value=1.0)
    targets = functional.one_hot(labels).double()
    gram = known.T @ known + ridge * len(known) * torch.eye(known.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, known.T @ targets)
    guessed = functional.pad((asked.double() - mean) / scale, (0, 1), value=1.0) @ weights
    return float((guessed.argmax(1) == truth).double().mean())


def linear_probe(model: Completion, images: ImageCollection, asked: Int[Tensor, " images"]) -> float:
    """Accuracy of a probe fitted on all training images, without those asked about."""
    places = torch.arange(len(images))
    seen = places[~images.held_out & ~torch.isin(places, asked)]
    pixels = images.images
    known, unknown = embeddings(model, pixels[seen]), embeddings(model, pixels[asked])
    return probe_accuracy(known, images.labels[seen], unknown, images.labels[asked])


def area_under_curve(positive: Float[Tensor, " a"], negative: Float[Tensor, " b"]) -> float:
    """Chance that a positive scores higher than a negative, ties counting half (Mann and Whitney, 1947)."""
    higher = (positive[:, None] > negative).double().mean()
    return float(higher + (positive[:, None] == negative).double().mean() / 2)


def membership(
    model: Completion, images: ImageCollection, members: Int[Tensor, " a"], others: Int[Tensor, " b"], mask: Mask
) -> float:
    """How well the error under the mask tells images that were trained on from others."""
    scores = []
    for places in (members, others):
        pixels = images.images[places]
        hidden = same_masks(mask, pixels, 0)
        scores.append(-hidden_error(completions(model, pixels, hidden), pixels, hidden))
    return area_under_curve(*scores)
