"""What the recipe leaves is an ordinary model to the rest of the field."""

import json

import torch
import transformers

from glasshouse.language.generation import Sampling


def test_the_artifact_is_a_hugging_face_folder(finished):
    artifact = next(
        item for item in map(finished.store.open, finished.store.names()) if type(item).__name__ == "LanguageModel"
    )
    ours = artifact.load()
    theirs = transformers.AutoModelForCausalLM.from_pretrained(artifact.path, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact.path)
    assert type(theirs).__name__ == "OlmoForCausalLM"
    text = "The glass house stands"
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    assert ids[0].tolist() == ours.tokenizer.encode(text).ids
    with torch.no_grad():
        assert torch.equal(theirs(ids).logits, ours.transformer(ids).logits)
    assert theirs.config.eos_token_id == tokenizer.eos_token_id == ours.end_of_sequence
    made = theirs.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    written = tokenizer.decode(made[made != ours.end_of_sequence])
    assert written.startswith(ours.continue_text(text, Sampling(tokens=8)))


def test_the_manifest_answers_where_every_number_came_from(finished):
    evaluation = finished.store.open("mini")
    manifest = evaluation.manifest
    assert {"wall_seconds", "cpu_seconds", "peak_memory_bytes", "energy"} <= manifest["resources"].keys()
    assert manifest["hardware"]["cores"] >= 1
    assert manifest["environment"]["packages"]["torch"]
    assert json.dumps(evaluation.values)
