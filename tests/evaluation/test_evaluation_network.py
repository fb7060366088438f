"""The room's tests run without a network: see `_no_network` in `conftest.py`."""

import socket
import urllib.request

import pytest

from glasshouse.data.tokens.tokenizer import save_tokenizer
from glasshouse.evaluation.endpoints import EndpointScorer
from glasshouse.evaluation.models import ModelError, open_named
from glasshouse.evaluation.requests import Generate
from glasshouse.evaluation.scorers import LocalScorer, answers
from glasshouse.nn.huggingface import save_huggingface


def test_no_test_reaches_another_machine():
    with socket.socket() as opened, pytest.raises(AssertionError, match="tried to reach"):
        opened.connect(("192.0.2.1", 80))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened, pytest.raises(AssertionError, match="tried to"):
        opened.sendto(b"?", ("192.0.2.1", 53))
    with pytest.raises(AssertionError, match=r"asked where example\.invalid is"):
        urllib.request.urlopen("http://example.invalid/")
    with pytest.raises(AssertionError, match="asked where"):
        answers(EndpointScorer("http://example.invalid/v1", "m"), [Generate("a")])


def test_a_model_that_is_not_in_the_cache_is_named_and_not_fetched(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("nobody/no-such-model", "no such name"):
        with pytest.raises(ModelError, match=r"is not in the local Hugging Face cache .* nothing is downloaded"):
            open_named(f"hf:{name}")


def test_a_model_of_the_cache_is_opened_by_name(tmp_path, monkeypatch, model):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--somebody--small" / "snapshots" / ("0" * 40)
    (snapshot.parent.parent / "refs").mkdir(parents=True)
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    save_tokenizer(model.tokenizer, tmp_path / "tokenizer")
    files = [tmp_path / "tokenizer" / name for name in ("tokenizer.json", "tokenizer_config.json")]
    save_huggingface(model.transformer, snapshot, end=0, begin=0, tokenizer_files=files)
    opened = open_named("hf:somebody/small")
    asked = [Generate("the old gate", (), 6)]
    assert answers(LocalScorer(opened), asked) == answers(LocalScorer(model), asked)
