"""The audit, its attacks, and the certificate: they can say no, and they say why."""

from __future__ import annotations

import copy

import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from glasshouse.store.configuration import ConfigurationError
from glasshouse.vision.collection import ImageError, digits
from glasshouse.vision.completion.cost import training_flops
from glasshouse.vision.completion.mae import MaskedAutoencoderConfig
from glasshouse.vision.completion.masks import Mask
from glasshouse.vision.completion.model import Completion, decoder_hash, encoder_hash, pasted
from glasshouse.vision.completion.training import CompletionObjective
from glasshouse.vision.completion.visible import GridTransformer
from glasshouse.vision.feature_network import FeatureNetwork, FeatureNetworkConfig
from glasshouse.vision.frechet import frechet_distance
from glasshouse.vision.selection import Selection
from glasshouse.vision.unlearning.audit import (
    AuditSettings,
    Finding,
    MissingReferenceError,
    data_record,
    findings,
    look_at,
    recovered,
)
from glasshouse.vision.unlearning.certificate import (
    CertificateError,
    CertificateRefusedError,
    certificate,
    check_certificate,
)
from glasshouse.vision.unlearning.leaks import area_under_curve, membership, probe_accuracy
from glasshouse.vision.unlearning.measures import completions, hidden_error, measure_all, ruler, same_masks
from glasshouse.vision.unlearning.recovery import Recovery, relearn
from glasshouse.vision.unlearning.split import Split, parts_of

SMALL = MaskedAutoencoderConfig(transformer=GridTransformer(width=16, heads=2, layers=1, decoder_layers=1, expansion=2))
SPLIT = Split(forget=Selection(classes=("1",)), retain=Selection(classes=("0", "2")))
QUICK = AuditSettings(attack=Recovery(images=8, steps=(1, 3)))


@pytest.fixture(scope="module")
def images():
    return digits()


@pytest.fixture(scope="module")
def parts(images):
    return parts_of(images, SPLIT)


@pytest.fixture(scope="module")
def extractor():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FeatureNetwork(1, 10, FeatureNetworkConfig(width=4, features=8)).eval()


class Told(Completion):
    """Completes images from a table of answers: images plus a known error."""

    def __init__(self, errors: dict[str, float]) -> None:
        super().__init__()
        self.encoder, self.errors = torch.nn.Linear(1, 1), errors

    def complete(self, images, hidden, generator=None):
        kind = "forget" if float(images.mean()) > 0.5 else "retain"
        return pasted(images, images + self.errors[kind], hidden)


def test_errors_are_over_hidden_pixels_only() -> None:
    images, hidden = torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.bool)
    hidden[0, 1, 2] = hidden[1, :2] = True
    completed = torch.full_like(images, 0.5)
    completed[1] = 0.25
    assert hidden_error(completed, images, hidden).tolist() == [0.25, 0.0625]


def test_figures_are_those_of_the_completions(images, parts, extractor) -> None:
    held = ruler(images, parts.forget_test, extractor)
    model = SMALL.build(0).eval()
    hidden = same_masks(Mask(), held.images, 0)
    completed = completions(model, held.images, hidden)
    found = held.measure(completed, hidden)
    expected = (completed - held.images)[:, 0][hidden].square().mean()
    assert found.mse == pytest.approx(float(expected), rel=1e-5)
    assert found.psnr == pytest.approx(-10 * float(torch.log10(expected)), rel=1e-4)
    real = images.images[parts.forget]
    assert found.frechet == pytest.approx(frechet_distance(extractor.features(completed), extractor.features(real)))
    assert found.by_class == {"1": pytest.approx(found.mse, rel=1e-5)}
    perfect = held.measure(held.images, hidden)
    assert perfect.mse == 0
    assert perfect.cosine == pytest.approx(1)
    assert perfect.frechet == pytest.approx(held.floor["frechet"])
    assert perfect.nearest > 0.5


def test_every_model_is_measured_under_the_same_masks(images, parts, extractor) -> None:
    masks = (Mask(kind="random", share=0.5), Mask(kind="half", share=0.5))
    rulers = {"forget": ruler(images, parts.forget_test, extractor)}
    model = SMALL.build(0).eval()
    one, two = (measure_all(copy.deepcopy(model), rulers, masks) for _ in range(2))
    assert one == two
    assert set(one["forget"]) == {"random 50 %", "half 50 %"}


def test_listed_images_are_measured_against_others_of_their_class(images, extractor) -> None:
    seen = (~images.held_out).nonzero().flatten()[:4]
    listed = parts_of(images, Split(forget=Selection(ids=tuple(images.ids[place] for place in seen.tolist()))))
    held = ruler(images, listed.forget_test, extractor)
    same = torch.isin(images.labels, images.labels[seen]) & ~images.held_out
    assert len(held.of_kind) == int(same.sum()) - 4
    with pytest.raises(ImageError, match="1 images cannot be compared"):
        ruler(images, seen[:1], extractor)


def test_relearning_lowers_the_error_and_leaves_the_model(images, parts, tmp_path) -> None:
    model = SMALL.build(0).eval()
    before = copy.deepcopy(model.state_dict())
    attack = Recovery(images=10, steps=(5, 40), learning_rate=1e-2)
    errors = relearn(model, images, parts.forget, parts.forget_test, attack, tmp_path)
    assert list(errors) == [0, 5, 40]
    assert errors[40] < 0.8 * errors[0]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    pixels = images.images[parts.forget_test]
    hidden = same_masks(attack.mask, pixels, 0)
    assert errors[0] == pytest.approx(float(hidden_error(completions(model, pixels, hidden), pixels, hidden).mean()))


def test_the_attacker_is_not_measured_on_its_own_images(images, parts, tmp_path) -> None:
    few = parts.forget[:5]
    with pytest.raises(ValueError, match="the attacker has all 5 images"):
        relearn(SMALL.build(0), images, few, few, Recovery(images=5, steps=(1,)), tmp_path)


@pytest.mark.parametrize("steps", [(), (3, 2), (0, 5), (4, 4)])
def test_updates_of_the_attack_rise(steps) -> None:
    with pytest.raises(ConfigurationError, match=r"Recovery\.steps"):
        Recovery(steps=steps)


def test_the_probe_is_ridge_regression() -> None:
    drawn = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 6, generator=drawn)
    labels, asked = (torch.randint(0, 4, (count,), generator=drawn) for count in (200, 80))
    known, unknown = (centres[rows] + torch.randn(len(rows), 6, generator=drawn) for rows in (labels, asked))
    mean, scale = known.mean(0), known.std(0)
    peer = RidgeClassifier(alpha=0.01 * 200).fit((known - mean) / scale, labels)
    expected = float(peer.score((unknown - mean) / scale, asked))
    assert probe_accuracy(known, labels, unknown, asked) == pytest.approx(expected, abs=0.03)
    assert probe_accuracy(known, labels, unknown, asked[torch.randperm(80, generator=drawn)]) < 0.5


def test_the_area_under_the_curve_is_scikit_learns() -> None:
    a, b = torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([2.0, 0.0, 1.0])
    truth = [1] * 4 + [0] * 3
    assert area_under_curve(a, b) == pytest.approx(roc_auc_score(truth, [*a.tolist(), *b.tolist()]))
    assert area_under_curve(a, a) == 0.5


def test_membership_is_told_of_a_model_that_knows_its_images(images) -> None:
    members, others = torch.arange(0, 40), torch.arange(40, 80)

    class Remembers(Told):
        def complete(self, given, hidden, generator=None):
            known = {image.numpy().tobytes() for image in images.images[members]}
            there = torch.tensor([image.numpy().tobytes() in known for image in given])
            return pasted(given, given + torch.where(there, 0.0, 0.4)[:, None, None, None], hidden)

    assert membership(Remembers({}), images, members, others, Mask()) > 0.9


def looked(images, parts, extractor, models, tmp_path):
    return look_at(models, images, parts, extractor, QUICK, tmp_path)


def test_what_is_looked_at(images, parts, extractor, tmp_path) -> None:
    models = {"original": SMALL.build(0).eval(), "retrained": SMALL.build(1).eval(), "unlearned": SMALL.build(2).eval()}
    found = looked(images, parts, extractor, models, tmp_path)
    assert set(found["models"]) == set(models)
    for item in found["models"].values():
        assert set(item) == {"measured", "recovery", "probe", "membership", "hashes"}
        assert set(item["recovery"]) == {"0", "1", "3"}
        assert len(item["measured"]["forget"]) == 3
    assert found["extractor"] == extractor.name
    assert set(found["floors"]) == {"forget", "retain"}


def test_of_a_short_list_the_attacker_has_half(images, extractor, tmp_path) -> None:
    seen = (~images.held_out).nonzero().flatten()[:6]
    listed = parts_of(images, Split(forget=Selection(ids=tuple(images.ids[place] for place in seen.tolist()))))
    found = looked(images, listed, extractor, {"original": SMALL.build(0).eval()}, tmp_path)
    attack = QUICK.attack.but(images=3)
    rest = seen[~torch.isin(seen, attack.attacker(listed.forget))]
    assert len(rest) == 3
    pixels = images.images[rest]
    hidden = same_masks(Mask(), pixels, 0)
    error = hidden_error(completions(SMALL.build(0).eval(), pixels, hidden), pixels, hidden).mean()
    assert found["models"]["original"]["recovery"]["0"] == pytest.approx(float(error), rel=1e-5)
    assert not list(tmp_path.iterdir()), "an attack leaves nothing behind"


def made_up(**changes: float) -> dict:
    """An audit of a model that passes, with some figures changed."""
    figures = {"forget": 3.0, "retain": 1.1, "recovered": 1.0, "membership": 0.5, "reference": 0.55, "decoder": 0}
    figures |= changes

    def model(forget: float, retain: float, recovery: float, told: float, decoder: float = 0) -> dict:
        def masks(mse: float) -> dict:
            return {mask.name: {"mse": mse} for mask in QUICK.masks}

        measured = {"forget": masks(forget), "retain": masks(retain)}
        curve = {"0": forget, "1": recovery, "3": recovery}
        hashes = {"encoder": "e", "decoder": f"d{decoder}"}
        return {"measured": measured, "recovery": curve, "probe": 0.9, "membership": told, "hashes": hashes}

    return {
        "models": {
            "original": model(1.0, 1.0, 0.5, 0.8),
            "retrained": model(2.5, 1.0, 1.0, figures["reference"]),
            "unlearned": model(*(figures[part] for part in ("forget", "retain", "recovered", "membership", "decoder"))),
        }
    }


@pytest.mark.parametrize(
    ("changes", "keeps", "fails"),
    [
        ({}, True, []),
        ({"decoder": 1}, False, []),
        ({"forget": 1.99}, True, ["forgotten"]),
        ({"retain": 1.26}, True, ["retained"]),
        ({"decoder": 1}, True, ["decoder unchanged"]),
        ({"recovered": 0.74}, True, ["not recovered"]),
        ({"recovered": 0.76}, True, []),
        ({"recovered": 2.0}, True, []),
        ({"membership": 0.66}, True, ["membership not told"]),
        ({"membership": 0.64}, True, []),
        ({"membership": 0.59, "reference": 0.3}, True, []),
    ],
)
def test_each_check_can_fail(changes, keeps, fails) -> None:
    found = findings(made_up(**changes), "unlearned", QUICK, keeps_decoder=keeps)
    assert [item.name for item in found if not item.holds] == fails


def test_relearning_tells_nothing_where_the_reference_relearns_like_the_original() -> None:
    found = made_up(recovered=0.1)
    found["models"]["original"]["recovery"] = {"0": 1.0, "1": 0.95, "3": 0.92}
    assert recovered(found, "unlearned", QUICK) == {}
    finding = findings(found, "unlearned", QUICK)[3]
    assert (finding.name, finding.holds) == ("not recovered", True)
    assert finding.measured.startswith("nothing to tell")
    found["models"]["original"]["recovery"]["3"] = 0.9
    assert recovered(found, "unlearned", QUICK) == {"3": pytest.approx((1 - 0.1) / (1 - 0.9))}


def test_there_is_no_verdict_without_a_reference() -> None:
    found = made_up()
    del found["models"]["retrained"]
    with pytest.raises(MissingReferenceError, match="no model retrained without the forgotten images"):
        findings(found, "unlearned", QUICK)
    names = [item.name for item in findings(found, "unlearned", QUICK, no_reference=True)]
    assert names == ["forgotten", "retained", "decoder unchanged"]


def of(model, images, parts) -> dict:
    """The made-up audit, of these images, with this model as the unlearned one."""
    found = made_up() | {"data": data_record(images, parts)}
    for name in ("original", "unlearned"):
        found["models"][name]["hashes"] = {"encoder": encoder_hash(model), "decoder": decoder_hash(model)}
    return found


def test_a_certificate_is_checked_against_model_and_images(images, parts) -> None:
    model = SMALL.build(0)
    made = certificate(of(model, images, parts), "unlearned", QUICK, {"alpha": 1.0})
    assert made["verdict"] == "passed"
    assert made["data"]["forgotten"] == sorted(images.ids[place] for place in parts.forget.tolist())
    assert made["gap to retraining"]["forget"]["centre 25 %"] == pytest.approx(3.0 / 2.5)
    said = "linear probe finds it in 90 % of images (90 % in the retrained model)"
    assert any(said in line for line in made["not shown"])
    check_certificate(made, model, images, parts)
    with pytest.raises(CertificateError, match="was changed"):
        check_certificate(made | {"verdict": "passed with honours"}, model, images, parts)
    with pytest.raises(CertificateError, match="another model: its encoder"):
        check_certificate(made, SMALL.build(1), images, parts)
    with pytest.raises(CertificateError, match="other images"):
        check_certificate(made, model, images, parts_of(images, SPLIT.but(forget=Selection(classes=("3",)))))


def test_a_certificate_is_refused_when_the_audit_fails() -> None:
    with pytest.raises(CertificateRefusedError, match=r"retained: 2\.00 x the error, expected ≤ 1\.25 x") as refused:
        certificate(made_up(retain=2.0), "unlearned", QUICK, {})
    assert refused.value.findings == (Finding("retained", False, "2.00 x the error", "≤ 1.25 x"),)
    with pytest.raises(KeyError, match="no model called 'another'"):
        certificate(made_up(), "another", QUICK, {})


def test_a_certificate_without_reference_says_so(images, parts) -> None:
    found = of(SMALL.build(0), images, parts)
    del found["models"]["retrained"]
    with pytest.raises(MissingReferenceError):
        certificate(found, "unlearned", QUICK, {})
    made = certificate(found, "unlearned", QUICK, {}, no_reference=True)
    assert made["verdict"] == "passed what can be checked without a retrained model"
    assert made["gap to retraining"] is None
    assert any("never saw the images" in line for line in made["not shown"])


def test_an_audit_has_three_masks() -> None:
    with pytest.raises(ConfigurationError, match="three masks or more, all different"):
        AuditSettings(masks=(Mask(), Mask(kind="half", share=0.5), Mask()))


def test_computation_is_counted(images) -> None:
    model = SMALL.build(0)
    objective = CompletionObjective(model, (Mask(kind="half", share=0.5),))
    one = training_flops(objective, {"images": images.images[:4]}, 10)
    assert training_flops(objective, {"images": images.images[:8]}, 10) == pytest.approx(2 * one)
    width, tokens, seen = 16, 16, 8
    block = 2 * (4 + 2 * 2) * width**2  # projections and feed-forward of one token
    attention = 2 * 2 * width  # of one pair of tokens
    forward = seen * (2 * 4 * width + block + seen * attention) + seen * 2 * width**2
    forward += tokens * (block + tokens * attention + 2 * 4 * width)
    untaken = seen * 2 * 4 * width  # nobody asks for the gradient of pixels
    assert one == 4 * (3 * forward - untaken) * 10
    assert all(parameter.grad is None for parameter in model.parameters())
