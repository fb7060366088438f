"""A published folder: loads unchanged, says what is recorded and nothing else, and keeps off other people's files."""

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import torch
import yaml
from click.testing import CliRunner

from glasshouse.cli import cli
from glasshouse.data.description.datasheet_answers import AnswersError
from glasshouse.data.tokens.tokenizer import load_tokenizer
from glasshouse.evaluation.samples import samples
from glasshouse.evaluation.several import Of
from glasshouse.evaluation.steps import evaluate
from glasshouse.language.steps import pretrain
from glasshouse.nn import weight_files
from glasshouse.nn.configuration import llama, olmo
from glasshouse.nn.huggingface import load_huggingface, save_huggingface
from glasshouse.nn.transformer import Transformer
from glasshouse.nn.weight_files import WeightFiles
from glasshouse.publishing.answers import ModelAnswers, load_model_answers, model_answers_template
from glasshouse.publishing.evaluations import Measured, evaluations_of
from glasshouse.publishing.facts import model_facts
from glasshouse.publishing.folder import PublishError, check_sums
from glasshouse.publishing.front_matter import front_matter
from glasshouse.publishing.publish import publish_model
from glasshouse.store.execution import execute
from glasshouse.store.lineage import ancestors
from glasshouse.store.store import Store
from glasshouse.training.configuration import Training

TEXT = "Entry 7. The glass house keeps warm air and light for plants."
SMALL = {"vocabulary": 199, "width": 96, "layers": 3, "heads": 4, "feed_forward": 256, "context": 128}


@pytest.fixture(scope="module")
def published(finished, model, tmp_path_factory):
    target = tmp_path_factory.mktemp("out") / "seedling"
    answers = ModelAnswers(
        name="Seedling", license="apache-2.0", language=("en",), datasets=("me/corpus",), creators=("A. Gardener",),
        sections={"uses": {"intended": "Tests <script>alert(1)</script> | only"}},
    )  # fmt: skip
    return publish_model(model, target, store=finished.store, answers=answers)


@pytest.fixture
def card(published):
    return (published.path / "README.md").read_text(encoding="utf-8")


def test_transformers_loads_it_unchanged_and_computes_the_same(published, model):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(published.path, dtype=torch.float32)
    words = transformers.AutoTokenizer.from_pretrained(published.path)
    loaded = model.load()
    ids = loaded.tokenizer.encode(TEXT, add_special_tokens=False).ids[:30]
    assert words(TEXT)["input_ids"][:30] == ids
    assert words.eos_token_id == loaded.end_of_sequence
    with torch.no_grad():
        assert torch.equal(theirs(torch.tensor([ids])).logits, loaded.transformer(torch.tensor([ids])).logits)
    made = theirs.generate(torch.tensor([ids[:8]]), max_new_tokens=8, do_sample=False)
    assert made.shape[1] > 8


def test_the_front_matter_is_the_hubs(published, card):
    hub = pytest.importorskip("huggingface_hub")
    parsed = hub.ModelCard(card).data
    assert (parsed.license, parsed.language, parsed.datasets) == ("apache-2.0", ["en"], ["me/corpus"])
    assert (parsed.library_name, parsed.pipeline_tag, parsed.model_name) == (
        "transformers", "text-generation", "Seedling",
    )  # fmt: skip
    assert {"glasshouse", "olmo"} <= set(parsed.tags)
    results = {result.dataset_name: result.metric_value for result in parsed.eval_results}
    assert results
    assert all(result.metric_type == "bits_per_byte" for result in parsed.eval_results)
    assert hub.metadata_load(published.path / "README.md")["model-index"][0]["name"] == "Seedling"


def test_the_results_are_the_evaluations(finished, published, card):
    outcomes = finished.store.open("mini").outcomes
    values = {name: value for outcome in outcomes for name, value in outcome["values"].items()}
    index = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"]
    by_name = {result["dataset"]["name"]: result["metrics"][0]["value"] for result in index}
    assert by_name["held-out documents"] == round(values["bits_per_byte/model/micro"], 6)
    assert by_name["held-out documents: almanac"] == round(values["bits_per_byte/model/almanac"], 6)
    assert "unigram" not in card.split("---")[1]  # baselines are no results of this model
    assert "unigram" in card  # but stand beside them
    low, high = next(outcome["intervals"]["model"] for outcome in outcomes if "intervals" in outcome)
    assert f"model {low:.3f} to {high:.3f}" in card


def test_of_a_task_only_the_metrics_are_results(model):
    values = {
        "acc": 0.5,
        "acc/low": 0.4,
        "acc/high": 0.6,
        "len_norm": 0.55,
        "acc/normalised": 0.3,
        "acc/baseline/chance": 0.25,
        "items": 20,
        "bad": math.nan,
    }
    task = {
        "measure": "Scoreboard",
        "values": {f"tasks/arc_easy/{name}": value for name, value in values.items()},
    }
    others = [
        {"measure": "Comparison", "values": {"mix/another/wiki": 1.0}},
        {"measure": "Of", "values": {"base/recall": 1.0}},
        {"measure": "CarbonTable", "values": {"carbon/largest_difference": 0.4}},
    ]
    measured = [Measured(model, [task, *others], [])]
    facts = dataclasses.replace(model_facts(model.path), evaluations=measured)
    index = front_matter(facts, ModelAnswers(), "m", "olmo", [])["model-index"][0]["results"]
    found = {
        (result["dataset"]["name"], metric["type"]): metric["value"] for result in index for metric in result["metrics"]
    }
    assert found == {("arc_easy", "acc"): 0.5, ("arc_easy", "len_norm"): 0.55}


def test_an_evaluation_is_that_of_one_model(finished, model, tmp_path):
    shutil.copytree(finished.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    evaluation = store.open("mini").path.name
    shards = store.open(model.manifest["inputs"]["shards"]["artifact"])
    training = Training(steps=2, batch_size=4, precision="fp32", compile=False)
    other = execute(pretrain(shards, olmo(depth=1).but(context=32), training), store)
    beside = execute(evaluate(other, [Of("mini", model, samples("The ", tokens=2))]), store)
    assert model.path.name in {entry["artifact"] for entry in beside.manifest["inputs"].values()}
    assert [one.artifact.path.name for one in evaluations_of(store, model.path.name)] == [evaluation]
    assert [one.artifact.path.name for one in evaluations_of(store, other.path.name)] == [beside.path.name]


def test_the_card_says_what_the_manifests_say(finished, model, published, card):
    plain = card.replace("\\", "")
    manifest = model.manifest
    assert f"| parameters | {model.training['outcome']['parameters']:,} |" in plain
    for identifier in (manifest["id"], manifest["content"], model.training["outcome"]["weights_hash"]):
        assert identifier in plain
    for made in ancestors(finished.store, model.path.name).values():
        assert f"| {made['type']} | {made['id'][:12]} | {made['step']} |" in plain
    assert "```mermaid\nflowchart LR" in card
    for claim in finished.store.open("mini").claims:
        assert claim["statement"] in plain
        assert claim["measured"] in plain
    assert "| training.batch_size | 8 |" in plain
    assert re.search(r"\| almanac \| \d+ \| \d+ \|", plain)  # documents by source
    assert "estimate" in plain
    assert "arXiv 2503.05804" in plain
    assert "file://" not in card
    assert str(finished.store.root) not in card  # no path of this machine


def test_what_nobody_states_is_marked(published, card, finished, model, tmp_path):
    assert card.count("*not stated*") == 10  # eleven questions and the citation, two of them answered below
    assert "Tests &lt;script>alert(1)" in card.replace("\\>", ">").replace("\\", "")
    assert "<script>" not in card
    bare = publish_model(model, tmp_path / "bare", store=finished.store)
    text = (bare.path / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert not {"license", "language", "datasets", "base_model"} & set(head)
    assert "| licence | not stated |" in text


def test_hashes_are_what_the_usual_tool_computes(published):
    lines = (published.path / "SHA256SUMS").read_text().splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    assert set(listed) | {"SHA256SUMS"} == set(published.files)
    for name, digest in listed.items():
        assert hashlib.sha256((published.path / name).read_bytes()).hexdigest() == digest
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=published.path, check=False)
    assert done.returncode == 0
    assert check_sums(published.path) == []


def test_every_file_the_card_points_at_is_there(published, card):
    targets = re.findall(r"\]\(([^)#\s]+)\)", card)
    assert targets
    for target in targets:
        assert (published.path / target).is_file(), target
    assert {"curves/loss.svg", "provenance/manifest.json", "provenance/lineage.prov.json"} <= set(published.files)
    folder = next(name for name in published.files if name.endswith("/datasheet.md"))
    assert folder.startswith("datasheet-")


def test_curves_are_pictures_of_the_metrics(published, model):
    picture = ElementTree.parse(published.path / "curves/loss.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    paths = [p.get("d") for p in picture.iter("{http://www.w3.org/2000/svg}path") if "line" in p.get("class", "")]
    points = [record for record in model.metrics if "loss" in record]
    assert len(re.findall(r"[ML]", paths[0])) == len(points)


@pytest.mark.parametrize("package", ["transformers", "glasshouse"])
def test_the_examples_in_the_card_run(published, card, package):
    pytest.importorskip(package)
    example = next(block for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if f"from {package}" in block)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=published.path,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The ") == (package == "transformers")
    assert done.stdout.strip()


# Folders that no store knows


def folder_of(config, home, **more):
    save_huggingface(Transformer(config, seed=3), home, end=0, **more)
    return home


def test_any_model_folder_can_be_published(tmp_path):
    source = folder_of(llama().but(**SMALL, key_value_heads=2), tmp_path / "mine")
    made = publish_model(source, tmp_path / "out", shard_bytes=200_000)
    assert sum(name.endswith(".safetensors") for name in made.files) > 3
    again = load_huggingface(tmp_path / "out")
    expected = load_huggingface(source)
    assert again.config == expected.config
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in expected.state_dict().items())
    assert max(p.stat().st_size for p in (tmp_path / "out").glob("*.safetensors")) < 200_000 + 10_000
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Nothing is recorded" in card
    assert not any(name.startswith("provenance") for name in made.files)


def test_precision_is_kept(tmp_path):
    model = Transformer(olmo("7B").but(**SMALL), seed=3).bfloat16()
    save_huggingface(model, tmp_path / "mine", end=0)
    publish_model(tmp_path / "mine", tmp_path / "out", shard_bytes=100_000)
    assert WeightFiles(tmp_path / "out").dtype == torch.bfloat16
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == "bfloat16"


def test_originals_go_there_and_back(tmp_path):
    source = folder_of(olmo("1B").but(**SMALL), tmp_path / "mine")
    publish_model(source, tmp_path / "old", layout="olmo")
    assert "model.transformer.blocks.0.att_proj.weight" in WeightFiles(tmp_path / "old").names
    publish_model(tmp_path / "old", tmp_path / "same")  # keeps the layout it has
    old, expected = load_huggingface(tmp_path / "same"), load_huggingface(source)
    assert old.config == expected.config
    assert all(torch.equal(value, old.state_dict()[key]) for key, value in expected.state_dict().items())
    assert "library_name" not in yaml.safe_load((tmp_path / "old/README.md").read_text().split("---")[1])
    with pytest.raises(ValueError, match="cannot be written as hf_olmo"):
        publish_model(folder_of(llama().but(**SMALL), tmp_path / "llama"), tmp_path / "no", layout="olmo")
    assert not (tmp_path / "no").exists()


def test_only_a_shard_is_in_memory(tmp_path, monkeypatch):
    source = folder_of(olmo("7B").but(**SMALL | {"layers": 6}), tmp_path / "mine")
    held, real = [], weight_files.save_file

    def watched(tensors, *rest, **more):
        held.append(sum(tensor.nbytes for tensor in tensors.values()))
        real(tensors, *rest, **more)

    monkeypatch.setattr(weight_files, "save_file", watched)
    publish_model(source, tmp_path / "out", shard_bytes=300_000)
    assert len(held) > 5
    assert max(held) <= 300_000


# Other people's files


def test_a_folder_that_is_not_empty_is_kept(tmp_path):
    source = folder_of(olmo("1B").but(**SMALL), tmp_path / "mine")
    target = tmp_path / "out"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    with pytest.raises(PublishError, match="not empty"):
        publish_model(source, target)
    with pytest.raises(PublishError, match="no publication wrote"):
        publish_model(source, target, force=True)
    assert [path.name for path in target.iterdir()] == ["notes.txt"]
    with pytest.raises(PublishError, match="is a file"):
        publish_model(source, target / "notes.txt")


def test_force_replaces_a_publication_and_nothing_else(tmp_path):
    source = folder_of(olmo("1B").but(**SMALL), tmp_path / "mine")
    target = tmp_path / "out"
    publish_model(source, target, shard_bytes=200_000)
    (target / ".git").mkdir()
    (target / ".git" / "HEAD").write_text("ref")
    (target / "picture.png").write_text("mine")
    made = publish_model(source, target, force=True)
    assert (target / "picture.png").read_text() == "mine"
    assert (target / ".git" / "HEAD").read_text() == "ref"
    assert "model.safetensors" in made.files
    assert not list(target.glob("model-*"))  # the shards of before are gone
    readme = target / "README.md"
    readme.write_text(readme.read_text() + "by hand\n")
    with pytest.raises(PublishError, match=r"README\.md changed since"):
        publish_model(source, target, force=True)
    assert readme.read_text().endswith("by hand\n")
    assert check_sums(target) == ["README.md has changed"]
    readme.unlink()  # a missing one can be written again
    readme.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PublishError, match=r"README\.md changed"):
        publish_model(source, target, force=True)
    assert not (tmp_path / "elsewhere").exists()


def test_a_new_file_does_not_replace_a_foreign_one(tmp_path):
    source = folder_of(olmo("1B").but(**SMALL), tmp_path / "mine")
    target = tmp_path / "out"
    publish_model(source, target)
    (target / "model-00001-of-00009.safetensors").write_text("mine")
    shards = publish_model(source, tmp_path / "probe", shard_bytes=200_000).files
    name = next(file for file in shards if file.startswith("model-00001"))
    (target / name).write_text("mine")
    with pytest.raises(PublishError, match="which no publication wrote"):
        publish_model(source, target, shard_bytes=200_000, force=True)
    assert (target / name).read_text() == "mine"
    assert (target / "model.safetensors").is_file()  # nothing was replaced
    assert not list(tmp_path.glob(".out.*"))  # and nothing half-made is left


def test_a_list_of_hashes_cannot_lead_out(tmp_path):
    source = folder_of(olmo("1B").but(**SMALL), tmp_path / "mine")
    (tmp_path / "victim").write_text("mine")
    target = tmp_path / "out"
    target.mkdir()
    digest = hashlib.sha256(b"mine").hexdigest()
    (target / "SHA256SUMS").write_text(f"{digest}  ../victim\n")
    with pytest.raises(PublishError, match="not a plain relative path"):
        publish_model(source, target, force=True)
    assert (tmp_path / "victim").read_text() == "mine"
    (target / "SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(PublishError, match="is damaged"):
        publish_model(source, target, force=True)


def test_a_failure_leaves_nothing(tmp_path):
    source = folder_of(olmo("1B").but(**SMALL), tmp_path / "mine")
    with pytest.raises(ValueError, match="needs the tokenizer"):
        publish_model(source, tmp_path / "out", gguf=["f32"])
    with pytest.raises(PublishError, match="no layout 'tf'"):
        publish_model(source, tmp_path / "out", layout="tf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


# The command


def call(made, *arguments, status=0):
    result = CliRunner().invoke(cli, [*map(str, arguments), "--store", made.location])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_the_command_publishes_with_gguf(finished, tmp_path):
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    questions = call(finished, "publish", "--questions")
    assert "# What is the model meant for?" in questions
    (tmp_path / "answers.yaml").write_text(questions.replace("license:", "license: mit", 1))
    out = tmp_path / "out"
    text = call(
        finished, "publish", "mini", out, "--answers", tmp_path / "answers.yaml", "--gguf", "f32", "--gguf", "q8_0"
    )
    assert "README.md" in text
    files = sorted(path.name for path in out.glob("*.gguf"))
    assert len(files) == 2
    card = (out / "README.md").read_text()
    assert all(f"llama-cli -m {name}" in card for name in files)
    assert yaml.safe_load(card.split("---")[1])["license"] == "mit"
    found = json.loads(call(finished, "publish", "mini", out, "--force", "--json"))
    assert not any(name.endswith(".gguf") for name in found["files"])
    assert call(finished, "publish", "mini", status=2)
    assert call(finished, "publish", "mini", tmp_path / "other", "--shard-size", "0", status=2)


def test_a_folder_can_be_named_outright(finished, tmp_path):
    source = folder_of(olmo("1B").but(**SMALL), tmp_path / "mine")
    assert "published into" in call(finished, "publish", source, tmp_path / "out")


def test_answers_are_checked(tmp_path):
    path = tmp_path / "answers.yaml"
    path.write_text("licence: mit\n")
    with pytest.raises(AnswersError, match="did you mean license"):
        load_model_answers(path)
    path.write_text("uses:\n  intendet: x\n")
    with pytest.raises(AnswersError, match="did you mean intended"):
        load_model_answers(path)
    path.write_text(model_answers_template())
    assert load_model_answers(path) == ModelAnswers()
    path.write_text("language: [en, fr]\nuses: {intended: growing}\n")
    said = load_model_answers(path)
    assert said.language == ("en", "fr")
    assert said.to("uses", "intended") == "growing"


def test_carbon_counts_bits_saved(finished, model):
    document = json.loads(call(finished, "carbon", "mini", "--json"))
    same = json.loads(call(finished, "carbon", model.path.name, "--json"))
    values = {k: v for o in finished.store.open("mini").outcomes for k, v in o["values"].items()}
    for point in [*document["bits_per_byte"], *same["bits_per_byte"]]:
        assert point["model"] == values["bits_per_byte/model/micro"]
        assert point["baseline"] == values[f"bits_per_byte/{point['name']}/micro"]
    assert document["joules"] > same["joules"]  # the evaluation itself
    assert "baseline" in call(finished, "carbon", "mini")


def test_tokenizers_agree(published, model):
    ours, theirs = load_tokenizer(model.path), load_tokenizer(published.path)
    assert ours.to_str() == theirs.to_str()
