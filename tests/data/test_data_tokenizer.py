"""Tokenizers: deterministic, loadable elsewhere, and safe against the wrong end of sequence."""

import random
from pathlib import Path

import pytest

from glasshouse.data.tokens.tokenizer import (
    EndOfSequenceError,
    VocabularyError,
    check_end_of_sequence,
    end_of_sequence_id,
    load_tokenizer,
    save_tokenizer,
    train_bpe,
)  # fmt: skip

OLMO = Path(__file__).parents[3] / "shared" / "data" / "olmo"
TEXTS = [Path(path).read_text() for path in sorted(Path(random.__file__).parent.glob("r*.py"))]


def test_training_is_deterministic_and_does_not_depend_on_the_order(tmp_path):
    one = train_bpe(TEXTS, 600)
    assert one.get_vocab_size() == 600
    assert train_bpe(reversed(TEXTS), 600).to_str() == one.to_str()
    capped = train_bpe(TEXTS, 600, training_bytes=25_000)
    assert capped.to_str() == train_bpe(reversed(TEXTS), 600, training_bytes=25_000).to_str() != one.to_str()
    save_tokenizer(one, tmp_path)
    assert load_tokenizer(tmp_path).to_str() == one.to_str() == load_tokenizer(tmp_path / "tokenizer.json").to_str()


@pytest.mark.parametrize("text", ["héllo\n\n\tdef f( x ):  ", "漢字 🙂 \x00 \u2028", "", " lead", "a\r\nb"])
def test_any_text_comes_back(text):
    tokenizer = train_bpe(TEXTS, 300)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_transformers_loads_the_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    save_tokenizer(train_bpe(TEXTS, 300), tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.pad_token_id) == ("<|endoftext|>", 0, 1)
    assert tokenizer("def f():")["input_ids"] == load_tokenizer(tmp_path).encode("def f():").ids


def test_impossible_vocabularies_are_refused():
    with pytest.raises(VocabularyError, match="258"):
        train_bpe(TEXTS, 257)
    with pytest.raises(VocabularyError, match="got 2000000"):
        train_bpe(TEXTS, 2_000_000)
    with pytest.raises(VocabularyError, match=r"not 5000: ask for fewer"):
        train_bpe(["one small text"], 5000)
    with pytest.raises(VocabularyError, match="no text"):
        train_bpe([""], 300)


def test_files_that_are_no_tokenizer(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"not a Hugging Face tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_a_wrong_end_of_sequence_is_named():
    tokenizer = train_bpe(TEXTS, 300)
    check_end_of_sequence(tokenizer, 0)
    for wrong in (1, 299, 300, -1):
        with pytest.raises(EndOfSequenceError, match="has id 0"):
            check_end_of_sequence(tokenizer, wrong)
    with pytest.raises(EndOfSequenceError, match="no token"):
        end_of_sequence_id(train_bpe(TEXTS, 300, special=("<end>",)))


def test_the_olmo_tokenizers_do_not_share_their_end_of_sequence():
    files = sorted(OLMO.glob("*neox*.json"))
    if len(files) < 2:
        pytest.skip("the OLMo tokenizers are not on this machine (../shared/data/olmo)")
    right = {}
    for file in files:
        tokenizer = load_tokenizer(file)
        right[file.name] = end_of_sequence_id(tokenizer)
        check_end_of_sequence(tokenizer, right[file.name])
        for other in {0, 50279} - {right[file.name]}:
            with pytest.raises(EndOfSequenceError, match=f"id {other} is the token"):
                check_end_of_sequence(tokenizer, other)
    assert set(right.values()) == {0, 50279}
