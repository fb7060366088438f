"""The recipe `olmo`: its graph, and the whole of it at a size where nothing is learnt but everything runs."""

import pytest
from click.testing import CliRunner

from glasshouse.cli import cli
from glasshouse.evaluation.carbon_table import CarbonTable
from glasshouse.evaluation.several import Of
from glasshouse.evaluation.steps import Evaluation
from glasshouse.recipes import olmo as room
from glasshouse.store.claims import check_claims
from glasshouse.store.progress import SilentBar
from glasshouse.store.step import order
from glasshouse.store.store import Store


def bar(text, total):
    return SilentBar()


def test_the_graph_is_that_of_the_paper():
    steps = [node._definition.name for node in order(room.olmo())]
    assert steps[-1] == "evaluate"
    assert steps.count("finetune") == 3 + 1
    assert steps.count("prefer") == 3 + 3
    assert steps.count("pretrain") == 1 + 5 * 3 + 1 + 3
    assert steps.index("pretrain") < steps.index("finetune") < steps.index("prefer")


def test_a_published_size_takes_the_published_training():
    node = next(n for n in order(room.olmo(size="1B", tokens=2_000_000_000)) if n._definition.name == "pretrain")
    training, shape = node._arguments["training"], node._arguments["model"]
    assert (shape.layers, shape.width) == (16, 2048)
    assert (training.learning_rate, training.batch_size, training.schedule) == (4e-4, 2048, "cosine")
    steps = training.total_steps(2048)
    assert training.anneal_steps == round(0.05 * steps)


def test_with_own_texts_there_are_no_ablations(tmp_path):
    steps = [node._definition.name for node in order(room.olmo(texts=str(tmp_path)))]
    assert "read_text" in steps
    assert steps.count("pretrain") == 1


def test_a_claim_is_decided_by_the_worst_seed():
    values = {f"dpo/seed {seed}/preferences/accuracy": value for seed, value in enumerate((0.99, 0.85, 0.97))}
    decided = check_claims([room.preferences_are_learnt], values)[0]
    assert (decided["status"], decided["measured"]) == ("does not hold", "0.85 of pairs")
    values["dpo/seed 1/preferences/accuracy"] = 0.95
    assert check_claims([room.preferences_are_learnt], values)[0]["status"] == "holds"


def test_without_measurements_no_claim_holds():
    claims = [value for value in vars(room).values() if type(value).__name__ == "Claim"]
    assert len(claims) == 12
    assert {decided["status"] for decided in check_claims(claims, {})} == {"not measured"}


def test_another_models_measure_has_its_stage_before_values_and_titles():
    class Held:
        def load(self):
            return None

    found = Of("sft/seed 1", Held(), CarbonTable()).measure(None, bar)
    assert list(found["values"]) == ["sft/seed 1/carbon/largest_difference"]
    assert found["values"]["sft/seed 1/carbon/largest_difference"] < 0.5


@pytest.mark.slow
def test_the_whole_recipe_at_a_tiny_size(tmp_path):
    options = ("--depth", "1", "--tokens", "60000", "--ablation-tokens", "30000", "--seeds", "1")
    done = CliRunner().invoke(cli, ["run", "olmo", *options, "--store", str(tmp_path / "store")])
    assert done.exit_code == 0, done.output
    store = Store(tmp_path / "store")
    made = store.open("olmo")
    assert isinstance(made, Evaluation)
    assert {item["status"] for item in made.claims} <= {"holds", "does not hold"}
    assert len(made.claims) == 12
    titles = [panel.title for panel in made.panels()]
    assert "sft/seed 0: Answers to held-out instructions" in titles
    assert "Carbon of published runs" in titles


def test_headline_figures_name_their_stage(monkeypatch):
    outcome = {"measure": "Other", "values": {"base/bits_per_byte/model/micro": 1.5, "bits_per_byte/model/micro": 2.0}}
    monkeypatch.setattr(Evaluation, "outcomes", [outcome])
    numbers = Evaluation("nowhere").panels()[0]
    assert numbers.values == {"bits per byte, model, base": "1.500", "bits per byte, model": "2.000"}
