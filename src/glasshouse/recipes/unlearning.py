"""Make an image-to-image model forget chosen images, and audit that it did (arXiv 2402.00351).

The paper unlearns a masked auto-encoder, a VQ-GAN and a diffusion model of large photographs. Here a small model that
completes handwritten digits, or images of one's own, is trained twice: with everything, and without what is to be
forgotten, which is the reference. Then it unlearns by the paper's method, with the images to retain and with other
classes in their place, and by the paper's baselines. An audit attacks what came out; a certificate says what was shown.
"""

from __future__ import annotations

from glasshouse.evaluation.steps import Evaluation, Measured, conclude
from glasshouse.store.claims import Measures, Verdict, above, below, claim
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.recipe import recipe
from glasshouse.vision.completion.presets import completion_model, completion_training, patch_of
from glasshouse.vision.completion.steps import train_completion
from glasshouse.vision.completion.training import masks_for
from glasshouse.vision.feature_steps import read_features, train_features
from glasshouse.vision.image_folder import ImageFolder
from glasshouse.vision.image_steps import read_digits, read_images
from glasshouse.vision.selection import Selection, listed_in
from glasshouse.vision.unlearning.audit import MEASURED_MASKS, AuditSettings
from glasshouse.vision.unlearning.audit_steps import audit_models, certify
from glasshouse.vision.unlearning.comparison_steps import compare_models
from glasshouse.vision.unlearning.methods import Method, Unlearning
from glasshouse.vision.unlearning.split import Split
from glasshouse.vision.unlearning.steps import unlearn_images

HOUSE = "house (Unlearning for image-to-image models)"
DIGITS = {"forget": "1,3,8", "retain": "0,4,6,7", "proxy": "2,5,9"}
BASELINES: tuple[Method, ...] = ("max loss", "noisy label", "retain label", "random encoder", "fine-tuning")
ALPHAS = (0.05, 0.1, 0.25, 0.5, 1.0)
PROXY_SHARE = 0.25
"""Of alpha, where a proxy is all that holds the images to retain."""
OURS, PROXY, RETRAINED = "encoder", "encoder, proxy", "retrained"
CENTRE = MEASURED_MASKS[0].name


@recipe
def unlearning(
    data: str = "",
    forget: str = "",
    retain: str = "",
    proxy: str = "",
    listed: str = "",
    model: str = "mae",
    updates: int = 1600,
    steps: int = 400,
    alpha: float = 1.0,
    size: int = 32,
    channels: int = 3,
    weights: str = "",
    reference: bool = True,
    seed: int = 0,
    device: str = "cpu",
) -> Evaluation:
    """Make an image-to-image model forget chosen images, and audit that it did.

    Args:
        data: a folder of images whose sub-folders are classes; scikit-learn's digits by default.
        forget: classes to forget, with commas between them; of digits 1,3,8 by default.
        retain: classes to retain; of digits 0,4,6,7 by default, of a folder all others.
        proxy: classes that stand in for the retained ones where those are gone; of digits 2,5,9 by default.
        listed: a file that lists images to forget, a name or hash on every line, in place of classes.
        model: `mae` (a masked auto-encoder), `vq` (a prior over the codes of a VQ auto-encoder) or `diffusion`.
        updates: of the completion models.
        steps: updates of unlearning.
        alpha: weight of forgetting.
        size: side in pixels of a folder's images.
        channels: 3 for colour or 1 for grey, of a folder's images.
        weights: a folder of a vision model of transformers (CLIP, ViT) in safetensors to compare images by.
        reference: whether to retrain without the forgotten images; without it the audit says what it could not see.
        seed: of everything.
        device: what to train and measure on, such as `cuda`.
    """
    images = read_images(ImageFolder(path=data, size=size, channels=channels)) if data else read_digits()
    config = completion_model(model, *((size, channels) if data else (8, 1)))
    split = chosen_split(bool(data), forget, retain, proxy, listed)
    masks, measured = masks_for(patch_of(config)), masks_for(patch_of(config), MEASURED_MASKS)
    training = completion_training(model, updates, seed).but(masks=masks)
    settings = AuditSettings(masks=measured)
    features = read_features(weights) if weights else train_features(images)
    original = train_completion(images, config, training, device=device)
    plain = Unlearning(steps=steps, alpha=alpha, masks=masks, seed=seed)
    own = split.but(proxy=None)
    made = {OURS: unlearn_images(original, images, own, plain, device=device)}
    if split.proxy:
        made[PROXY] = unlearn_images(original, images, split, plain.but(alpha=alpha * PROXY_SHARE), device=device)
    made |= {name: unlearn_images(original, images, own, plain.but(method=name), device=device) for name in BASELINES}
    sweep = {
        f"{weight:g}": unlearn_images(original, images, own, plain.but(alpha=weight), device=device)
        for weight in ALPHAS
    }
    retrained = train_completion(images, config, training, split.forget, device) if reference else None
    compared = {**made, **({RETRAINED: retrained} if retrained is not None else {})}
    shown = tuple(name for name in (OURS, RETRAINED) if name in compared)
    audit = audit_models(
        images, own, features, original, made, retrained, settings, no_reference=not reference, device=device
    )
    parts: dict[str, Measured] = {
        "compared": compare_models(images, own, features, original, compared, settings, sweep, shown, device),
        "audit": audit,
        **{
            f"certificate, {name}": certify(made[name], audit, name, no_reference=not reference)
            for name in (OURS, "retain label")
        },
    }
    return conclude(parts, claims=CLAIMS)


def chosen_split(folder: bool, forget: str, retain: str, proxy: str, listed: str) -> Split:
    """What to forget and what to keep, from the recipe's options."""
    if listed:
        if forget or retain or proxy:
            raise ConfigurationError("unlearning takes either listed images or classes to forget, not both")
        return Split(forget=listed_in(listed))
    if not folder:
        forget, retain, proxy = forget or DIGITS["forget"], retain or DIGITS["retain"], proxy or DIGITS["proxy"]
    if not forget:
        raise ConfigurationError("unlearning.forget is empty: name the classes (sub-folders) to forget")
    kept, other = (Selection(classes=_names(text)) if text else None for text in (retain, proxy))
    return Split(forget=Selection(classes=_names(forget)), retain=kept, proxy=other)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def errors(measures: Measures, name: str) -> tuple[float, float]:
    """Errors on images to forget and to retain over the original's, held-out images, hole in the centre."""
    forget, retain = (measures[f"compared/{name}/{part}/{CENTRE}/mse ratio"] for part in ("forget", "retain"))
    return forget, retain


def both(forget: float, retain: float, at_least: float, at_most: float) -> Verdict:
    """Enough is forgotten, and not too much lost."""
    return Verdict(
        forget >= at_least and retain <= at_most,
        f"{forget:.2f} x the error on forgotten, {retain:.2f} x on retained images",
        f"≥ {at_least:g} x, ≤ {at_most:g} x",
    )


@claim(
    "Completions of forgotten images lose what they had, those of retained images hardly change: at least 2 x and at "
    "most 1.25 x the mean square error on held-out images with a quarter hidden in the centre.",
    "2402.00351, abstract",
)
def forgets_and_retains(measures: Measures) -> Verdict:
    return both(*errors(measures, OURS), 2.0, 1.25)


@claim(
    "Completions of forgotten images move away from real ones: at least 5 x the Fréchet distance (of features of a "
    "network of the run; it is not FID).",
    "2402.00351, main results",
)
def completions_move_away(measures: Measures) -> Verdict:
    return above(measures[f"compared/{OURS}/forget/{CENTRE}/frechet ratio"], 5, " x")


@claim(
    "Other classes do in place of the images to retain: at least 1.5 x the error on forgotten, at most 2 x on retained "
    "images.",
    "2402.00351, proxy retain data",
)
def a_proxy_is_enough(measures: Measures) -> Verdict:
    return both(*errors(measures, PROXY), 1.5, 2.0)


@claim("More weight forgets more: rank correlation of alpha and the error on forgotten images.", "2402.00351, ablation")
def alpha_is_a_dial(measures: Measures) -> Verdict:
    found = [measures[f"compared/alpha {weight:g}/forget/{CENTRE}/mse ratio"] for weight in ALPHAS]
    return above(spearman(found), 0.9, " (Spearman)")


@claim("Pulling embeddings towards random vectors hardly forgets: at most 1.2 x the error.", "2402.00351, baselines")
def a_random_encoder_hardly_forgets(measures: Measures) -> Verdict:
    return below(errors(measures, "random encoder")[0], 1.2, " x the error on forgotten images")


@claim("Maximising the loss ruins retained images: at least 3 x the error.", "2402.00351, baselines")
def max_loss_ruins_what_is_retained(measures: Measures) -> Verdict:
    return above(errors(measures, "max loss")[1], 3, " x the error on retained images")


@claim(
    "The method forgets more than noisy label and retain label, which train the whole model.",
    "2402.00351, main results",
)
def labels_forget_less(measures: Measures) -> Verdict:
    best = max(errors(measures, name)[0] for name in ("noisy label", "retain label"))
    return above(errors(measures, OURS)[0], best, " x the error on forgotten images")


@claim("The decoder stays as it was, bit for bit.", HOUSE)
def the_decoder_is_unchanged(measures: Measures) -> Verdict:
    same = measures[f"compared/{OURS}/decoder unchanged"]
    return Verdict(same == 1, "unchanged" if same else "changed", "unchanged")


@claim("Unlearning takes at most a fifth of the computation of retraining (floating-point operations).", HOUSE)
def unlearning_is_cheap(measures: Measures) -> Verdict:
    costs = measures[f"compared/{RETRAINED}/flops"] / measures[f"compared/{OURS}/flops"]
    return above(costs, 5, " x cheaper")


@claim("The audit of the paper's method passes, so that it gets a certificate.", HOUSE)
def the_certificate_is_issued(measures: Measures) -> Verdict:
    issued = measures[f"certificate, {OURS}/issued"]
    return Verdict(issued == 1, "issued" if issued else "refused", "issued")


@claim("The audit can say no: it refuses what maximising the loss, random vectors and fine-tuning left.", HOUSE)
def the_audit_can_say_no(measures: Measures) -> Verdict:
    passed = [name for name in ("max loss", "random encoder", "fine-tuning") if measures[f"audit/{name}/passes"]]
    return Verdict(not passed, f"{3 - len(passed)} of 3 refused", "3 of 3")


@claim(
    "Twenty forgotten images bring little back: after 10, 50 and 200 updates the unlearned model is nearer to the "
    "retrained than to the original one, by their errors.",
    HOUSE,
)
def little_comes_back(measures: Measures) -> Verdict:
    shares = [value for name, value in measures.items() if name.startswith(f"audit/{OURS}/recovered/")]
    return below(max(shares), 0.5, " of the way to the original") if shares else nothing_to_tell(measures)


def nothing_to_tell(measures: Measures) -> Verdict:
    """Where the retrained model relearns like the original; raises `KeyError` where there is none."""
    _ = measures[f"audit/{RETRAINED}/membership"]
    return Verdict(True, "the retrained model relearns as fast as the original", "< 0.5 of the way to the original")


@claim(
    "Forgetting is not erasing: from the encoder a linear probe reads the class of at least 80 % of forgotten images, "
    "as of the retrained model.",
    HOUSE,
)
def the_class_is_still_readable(measures: Measures) -> Verdict:
    return above(min(measures[f"audit/{name}/probe"] for name in (OURS, RETRAINED)), 0.8, " of images")


def spearman(values: list[float]) -> float:
    """Rank correlation with 0, 1, 2, ... (no ties)."""
    count = len(values)
    ranks = sorted(range(count), key=lambda place: values[place])
    apart = sum((rank - place) ** 2 for rank, place in enumerate(ranks))
    return 1 - 6 * apart / (count * (count**2 - 1))


CLAIMS = [
    forgets_and_retains,
    completions_move_away,
    a_proxy_is_enough,
    alpha_is_a_dial,
    a_random_encoder_hardly_forgets,
    max_loss_ruins_what_is_retained,
    labels_forget_less,
    the_decoder_is_unchanged,
    unlearning_is_cheap,
    the_certificate_is_issued,
    the_audit_can_say_no,
    little_comes_back,
    the_class_is_still_readable,
]
