"""The recipe `unlearning`: its steps at a very small size, its claims on made-up values, its options."""

from __future__ import annotations

import json

import pytest

from glasshouse.evaluation.steps import Evaluation, conclude
from glasshouse.recipes import unlearning as room
from glasshouse.store.claims import check_claims
from glasshouse.store.configuration import ConfigurationError
from glasshouse.store.execution import execute
from glasshouse.store.files import StoreError
from glasshouse.store.report import write_report
from glasshouse.store.step import order
from glasshouse.store.store import Store
from glasshouse.vision.completion.mae import MaskedAutoencoderConfig
from glasshouse.vision.completion.model import decoder_hash, encoder_hash
from glasshouse.vision.completion.steps import train_completion
from glasshouse.vision.completion.training import CompletionTraining
from glasshouse.vision.completion.visible import GridTransformer
from glasshouse.vision.feature_network import FeatureNetworkConfig
from glasshouse.vision.feature_steps import read_features, train_features
from glasshouse.vision.image_steps import read_digits
from glasshouse.vision.unlearning.audit import AuditSettings, MissingReferenceError
from glasshouse.vision.unlearning.audit_steps import Audit, Certificate, audit_models, certify
from glasshouse.vision.unlearning.certificate import CertificateError, check_certificate
from glasshouse.vision.unlearning.comparison_steps import compare_models
from glasshouse.vision.unlearning.methods import Unlearning
from glasshouse.vision.unlearning.recovery import Recovery
from glasshouse.vision.unlearning.split import SplitError, parts_of
from glasshouse.vision.unlearning.steps import unlearn_images

TINY = MaskedAutoencoderConfig(transformer=GridTransformer(width=16, heads=2, layers=1, decoder_layers=1, expansion=2))
QUICK = CompletionTraining(steps=12, batch_size=8)
SPLIT = room.chosen_split(False, "", "", "", "").but(proxy=None)
SETTINGS = AuditSettings(attack=Recovery(images=8, steps=(1, 2)))
LENIENT = SETTINGS.but(forget=1.0001, retain=10.0, recovery=1.0, membership=1.0)


def graph(settings: AuditSettings = SETTINGS, **changes):
    images = read_digits()
    features = train_features(images, FeatureNetworkConfig(steps=30))
    original = train_completion(images, TINY, QUICK)
    retrained = train_completion(images, TINY, QUICK, without=SPLIT.forget)
    plain = Unlearning(steps=8, **changes)
    made = {name: unlearn_images(original, images, SPLIT, plain.but(method=name)) for name in ("encoder", "max loss")}
    audit = audit_models(images, SPLIT, features, original, made, retrained, settings)
    sweep = {"0.5": unlearn_images(original, images, SPLIT, plain.but(alpha=0.5)), "1": made["encoder"]}
    compared = compare_models(
        images, SPLIT, features, original, made | {"retrained": retrained}, settings, sweep=sweep, shown=("encoder",)
    )
    return images, features, original, made, audit, compared


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def test_figures_pictures_and_checks_reach_claims_and_report(store) -> None:
    *_, made, audit, compared = graph()
    certificate = certify(made["encoder"], audit, "encoder")
    parts = {"compared": compared, "audit": audit, "certificate, encoder": certificate}
    found = execute(conclude(parts, claims=room.CLAIMS), store)
    assert isinstance(found, Evaluation)
    status = {item["name"]: item["status"] for item in found.claims}
    assert status["the_decoder_is_unchanged"] == "holds"
    assert status["the_certificate_is_issued"] == "does not hold"  # it was hardly trained
    assert status["a_proxy_is_enough"] == "not measured"
    page = write_report(store, found.id, "unlearning", "").read_text()
    for said in ("Completions of images to forget", "Relearning from a few", "Forgetting against retention", "not FID"):
        assert said in page
    assert page.count("data:image/png;base64") == 11  # five masks of both sets, and the digits
    made_audit = execute(audit, store)
    assert isinstance(made_audit, Audit)
    assert set(made_audit.found["checks"]) == {"encoder", "max loss"}
    names = [item["name"] for item in made_audit.found["checks"]["max loss"]]
    assert "decoder unchanged" not in names, "it promised nothing"
    refused = execute(certificate, store)
    assert isinstance(refused, Certificate)
    assert not refused.issued
    with pytest.raises(StoreError, match=r"no certificate: .*the audit failed: forgotten"):
        _ = refused.document


def test_a_certificate_can_be_checked_by_who_holds_model_and_images(store) -> None:
    images, _, _, made, audit, _ = graph(LENIENT, learning_rate=2e-2)
    node = certify(made["max loss"], audit, "max loss")
    issued, model, collection = (execute(one, store) for one in (node, made["max loss"], images))
    assert isinstance(issued, Certificate)
    document = issued.document
    loaded = model.load()
    check_certificate(document, loaded, collection.load(), parts_of(collection.load(), SPLIT))
    hashes = {"encoder": encoder_hash(loaded), "decoder": decoder_hash(loaded)}
    assert document["model"]["after"] == hashes != document["model"]["before"]
    assert document["configuration"]["model"] == model.id
    assert "What the certificate of max loss does not show" in [panel.title for panel in issued.panels()]
    assert json.loads(issued.file("certificate.json").read_text()) == document
    with pytest.raises(CertificateError, match="is not what was audited as 'encoder'"):
        execute(certify(made["max loss"], audit, "encoder"), store)


def test_without_a_reference_one_has_to_say_so(store) -> None:
    images, features, original, made, _, _ = graph()
    chosen = {"encoder": made["encoder"]}
    with pytest.raises(MissingReferenceError, match="no_reference=True"):
        execute(audit_models(images, SPLIT, features, original, chosen, None, SETTINGS), store)
    audit = audit_models(images, SPLIT, features, original, chosen, None, SETTINGS, no_reference=True)
    assert len(execute(audit, store).found["checks"]["encoder"]) == 3
    with pytest.raises(SplitError, match="is no reference: it was trained without None"):
        execute(audit_models(images, SPLIT, features, original, chosen, original, SETTINGS), store)


def test_the_graph_has_every_method_and_one_model_of_each(store) -> None:
    steps = [node._definition.name for node in order(room.unlearning())]
    assert steps.count("train_completion") == 2
    assert steps.count("certify") == 2
    alone = [node._definition.name for node in order(room.unlearning(reference=False))]
    assert alone.count("train_completion") == 1
    for model in ("vq", "diffusion"):
        assert room.unlearning(model=model)
    with pytest.raises(ConfigurationError, match="model got 'gan': it is mae, vq or diffusion"):
        room.unlearning(model="gan")


def test_images_are_compared_by_a_users_own_network(store, tmp_path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs glasshouse[huggingface]")
    config = transformers.ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4
    )
    transformers.ViTModel(config).save_pretrained(tmp_path / "small")
    images, _, original, made, _, _ = graph()
    features = read_features(str(tmp_path / "small"))
    compared = compare_models(images, SPLIT, features, original, {"encoder": made["encoder"]}, SETTINGS)
    found = execute(compared, store)
    assert found.found["features"].startswith("ViTModel of ")
    assert any("ViTModel of" in panel.note for panel in found.panels())


@pytest.mark.parametrize("model", ["vq", "diffusion"])
def test_other_models_go_through_the_same_steps(model, store) -> None:
    config = room.completion_model(model, 8, 1)
    made = train_completion(read_digits(), config, QUICK.but(steps=2))
    found = execute(unlearn_images(made, read_digits(), SPLIT, Unlearning(steps=2)), store)
    assert found.training["decoder unchanged"]
    assert found.values["flops"] > 0
    assert type(found.load().config) is type(config)


def test_options_choose_what_is_forgotten(tmp_path) -> None:
    assert room.chosen_split(False, "", "", "", "").forget.classes == ("1", "3", "8")
    assert room.chosen_split(True, "cats, dogs", "", "", "").retain is None
    with pytest.raises(ConfigurationError, match="name the classes"):
        room.chosen_split(True, "", "", "", "")
    listing = tmp_path / "some.txt"
    listing.write_text("digits/3\n")
    assert room.chosen_split(False, "", "", "", str(listing)).forget.ids == ("digits/3",)
    with pytest.raises(ConfigurationError, match="not both"):
        room.chosen_split(False, "1", "", "", str(listing))


def decided(claim, values: dict[str, float]) -> str:
    return str(check_claims([claim], values)[0]["status"])


def of(name: str, forget: float, retain: float) -> dict[str, float]:
    return {
        f"compared/{name}/forget/{room.CENTRE}/mse ratio": forget,
        f"compared/{name}/retain/{room.CENTRE}/mse ratio": retain,
    }


def test_claims_can_fail() -> None:
    assert decided(room.forgets_and_retains, of("encoder", 2.0, 1.25)) == "holds"
    assert decided(room.forgets_and_retains, of("encoder", 1.99, 1.0)) == "does not hold"
    assert decided(room.forgets_and_retains, of("encoder", 3.0, 1.26)) == "does not hold"
    labels = of("noisy label", 3.0, 1.0) | of("retain label", 3.5, 1.0)
    assert decided(room.labels_forget_less, labels | of("encoder", 3.6, 1.0)) == "holds"
    assert decided(room.labels_forget_less, labels | of("encoder", 3.4, 1.0)) == "does not hold"
    alone = {"audit/retrained/membership": 0.5}
    assert decided(room.little_comes_back, alone | {"audit/encoder/recovered/10": 0.6}) == "does not hold"
    assert decided(room.little_comes_back, alone | {"audit/encoder/recovered/10": 0.4}) == "holds"
    assert decided(room.little_comes_back, alone) == "holds"
    assert decided(room.little_comes_back, {}) == "not measured"
    passes = {f"audit/{name}/passes": 0.0 for name in ("max loss", "random encoder", "fine-tuning")}
    assert decided(room.the_audit_can_say_no, passes) == "holds"
    assert decided(room.the_audit_can_say_no, passes | {"audit/max loss/passes": 1.0}) == "does not hold"


def test_alpha_is_a_dial_when_more_of_it_forgets_more() -> None:
    assert room.spearman([1.0, 2.0, 3.0, 4.0, 5.0]) == 1
    assert room.spearman([2.0, 1.0, 3.0, 4.0, 5.0]) == pytest.approx(0.9)
    assert room.spearman([5.0, 4.0, 3.0, 2.0, 1.0]) == -1
    values = {f"compared/alpha {a:g}/forget/{room.CENTRE}/mse ratio": 1 + a for a in room.ALPHAS}
    assert decided(room.alpha_is_a_dial, values) == "holds"
    values[f"compared/alpha 0.05/forget/{room.CENTRE}/mse ratio"] = 9.0
    assert decided(room.alpha_is_a_dial, values) == "does not hold"
