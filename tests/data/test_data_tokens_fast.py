"""Fast encoders: the very ids of Hugging Face, or a refusal; SentencePiece: every text comes back."""

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glasshouse.data.tokens.encoder import Encoder, HuggingFaceEncoder, encoder_of
from glasshouse.data.tokens.fast import KNOWN_PATTERNS, FastEncoder, NotRepresentableError, byte_alphabet
from glasshouse.data.tokens.tokenizer import EndOfSequenceError, VocabularyError, load_tokenizer, train_bpe

DATA = Path(__file__).parents[3] / "shared" / "data"
TEXTS = [Path(path).read_text() for path in sorted(Path(json.__file__).parent.glob("*.py"))]
HARD = [
    "", " ", "\n", "a  b", "a   \n   b", "\t\t x\r\n\r\n y", "<|endoftext|> and <|padding|>", "|||PHONE_NUMBER||| x",
    "  |||PHONE_NUMBER|||  |||IP_ADDRESS||| ", "é e\u0301 \u1100\u1161\u11a8 \u212b",
    "漢字🙂👩‍👩‍👧", "\x00\x1f\x85\u2028\u00a0\u3000x",
    "don't DON'T don\u2019t", "\ufdfa\u0958", " " * 30 + "x" + " " * 24, "\n" * 5000 + "x", " \n" * 4000, "x" * 20_000,
    "!" * 10_000, "١٢٣ ½ Ⅷ 12345678", "\U000e0100 \U0001f1eb\U0001f1f7",
]  # fmt: skip


def same(fast, slow, texts):
    for text, one, other in zip(texts, fast.encode_batch(texts), slow.encode_batch(texts), strict=True):
        assert one.dtype == np.uint32
        assert one.tolist() == other.tolist(), repr(text[:200])


def with_spaces(tokenizer):
    """As GPT-NeoX: NFC, and runs of spaces as added tokens."""
    from tokenizers import AddedToken, normalizers

    copy = type(tokenizer).from_str(tokenizer.to_str())
    copy.normalizer = normalizers.NFC()
    copy.add_tokens([AddedToken(" " * n, normalized=True) for n in range(9, 1, -1)])
    copy.add_tokens([AddedToken("|||MASK|||", normalized=True)])
    return copy


@pytest.fixture(scope="module")
def ours():
    return train_bpe(TEXTS, 900)


@pytest.fixture(scope="module")
def split(ours):
    """A tokenizer for every known split pattern."""
    from tokenizers import Regex, pre_tokenizers

    made = []
    for pattern in sorted(KNOWN_PATTERNS):
        copy = type(ours).from_str(ours.to_str())
        parts = [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        copy.pre_tokenizer = pre_tokenizers.Sequence(parts)
        made.append(copy)
    return made


def olmo():
    files = sorted((DATA / "olmo").glob("*neox*.json"))
    if not files:
        pytest.skip("the OLMo tokenizers are not on this machine (../shared/data/olmo)")
    return [load_tokenizer(file) for file in files]


def test_hard_texts(ours, split):
    for tokenizer in (ours, with_spaces(ours), *split):
        encoder = FastEncoder(tokenizer)
        assert isinstance(encoder, Encoder)
        assert isinstance(encoder_of(tokenizer), FastEncoder)
        same(encoder, HuggingFaceEncoder(tokenizer), HARD + TEXTS)
        assert encoder.vocabulary == tokenizer.get_vocab_size()
        assert encoder.eos_id == 0


alphabet = st.one_of(
    st.characters(codec="utf-8"), st.sampled_from(" \n\t\r'!|"), st.sampled_from("aeinst012"),
    st.sampled_from("\u0301\u0308\u00e9\u1100\u1161\u00a0\u2003\u017f\u2019"),
)  # fmt: skip
pieces = st.one_of(
    st.text(alphabet, max_size=12),
    st.sampled_from(["  ", "    ", "|||MASK|||", "|||", "<|endoftext|>", "'s", "'LL", "self.", "return "]),
)


@given(st.lists(pieces, max_size=15).map("".join))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text(encoders, text):
    for fast, slow in encoders:
        same(fast, slow, [text])


@pytest.fixture(scope="module")
def encoders(ours, split):
    return [(FastEncoder(t), HuggingFaceEncoder(t)) for t in (ours, with_spaces(ours), *split)]


def test_the_olmo_tokenizers_on_real_documents():
    texts, files = list(HARD), sorted((DATA / "text").rglob("*.jsonl.gz"))
    if not files:
        pytest.skip("the text corpora are not there")
    for file in files:
        with gzip.open(file, "rt") as lines:
            for _, line in zip(range(150), lines, strict=False):
                row = json.loads(line)
                texts += [row[key][:20_000] for key in ("text", "en", "fr") if key in row]
    assert len(texts) >= 500
    for tokenizer in olmo():
        same(FastEncoder(tokenizer), HuggingFaceEncoder(tokenizer), texts)


@pytest.mark.slow
def test_both_engines_class_every_character_alike():
    """A character joins a letter, a digit or a sign in one engine if and only if it does in the other."""
    tokenizer = olmo()[0]
    fast, slow = FastEncoder(tokenizer), HuggingFaceEncoder(tokenizer)
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(codes), 4096):
        texts = [f"a{chr(c)}1{chr(c)}!{chr(c)} {chr(c)}a" for c in codes[start : start + 4096]]
        same(fast, slow, texts)


def test_a_pickled_encoder_is_the_same(ours):
    copy = pickle.loads(pickle.dumps(FastEncoder(ours)))
    same(copy, FastEncoder(ours), TEXTS[:2])
    assert copy.decode(copy.encode("héllo  x")) == "héllo  x"


def changed(tokenizer, change):
    parts = json.loads(tokenizer.to_str())
    change(parts)
    return type(tokenizer).from_str(json.dumps(parts))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(normalizer={"type": "Lowercase"}), "normalizer of type 'Lowercase'"),
        (lambda p: p["pre_tokenizer"].update(add_prefix_space=True), "without a prefix space"),
        (lambda p: p.update(pre_tokenizer=None), "does not split into bytes"),
        (lambda p: p["pre_tokenizer"].update(use_regex=False), "not a known one"),
        (lambda p: p["model"].update(dropout=0.1), "dropout=0.1"),
        (lambda p: p["model"].update(byte_fallback=True), "byte_fallback"),
        (lambda p: p["model"]["merges"].reverse(), "that a later merge makes"),
        (lambda p: p["model"]["merges"].pop(10), "that a later merge makes|not the encoding of its own bytes|no merge"),
        (lambda p: p["added_tokens"].append(
            dict(p["added_tokens"][0], content="x y", id=900, special=False, lstrip=True)),
         "takes spaces"),
        (lambda p: p["added_tokens"].append(dict(p["added_tokens"][0], content="endoftext", id=900, special=False)),
         "overlaps"),
        (lambda p: p["added_tokens"].append(dict(p["added_tokens"][0], content="   ", id=900, special=False)) or
         p["added_tokens"].append(dict(p["added_tokens"][0], content=" ", id=901, special=False)), "have gaps"),
    ],
)  # fmt: skip
def test_what_cannot_be_exact_is_refused(ours, change, message):
    tokenizer = changed(ours, change)
    with pytest.raises(NotRepresentableError, match=message):
        FastEncoder(tokenizer)
    assert isinstance(encoder_of(tokenizer), HuggingFaceEncoder)


def test_a_merge_that_tiktoken_would_invent_is_refused():
    """`abc` = (ab, c), but bc comes first: Hugging Face never makes `abc`, tiktoken would make it from a and bc."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {character: number for number, character in enumerate(byte_alphabet())}
    for token in ("bc", "ab", "abc"):
        vocabulary[token] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("b", "c"), ("a", "b"), ("ab", "c")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    assert tokenizer.encode("abc").tokens == ["a", "bc"]
    with pytest.raises(NotRepresentableError, match=r"'abc'.*not the encoding of its own bytes"):
        FastEncoder(tokenizer)
    tokenizer.model = models.BPE(vocab=vocabulary, merges=[("a", "b"), ("b", "c"), ("ab", "c")])
    assert FastEncoder(tokenizer).encode("abcbc").tolist() == tokenizer.encode("abcbc").ids == [258, 256]
    with pytest.raises(EndOfSequenceError):
        _ = FastEncoder(tokenizer).eos_id


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("sentencepiece")
    from glasshouse.data.tokens.sentencepiece_model import train_sentencepiece

    return train_sentencepiece(TEXTS, 600)


def test_sentencepiece_gives_texts_back(encoder):
    texts = [*HARD, *TEXTS, "\u2581", "a\u2581\u2581 b\u2581", "<unk><0x41></s>"]
    for text, ids in zip(texts, encoder.encode_batch(texts), strict=True):
        assert ids.dtype == np.uint32
        assert encoder.decode(ids) == text
        assert len(ids) == 0 or ids.max() < encoder.vocabulary
        assert encoder.eos_id not in ids


@given(text=st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \u2581\nab\x00")), max_size=60))
@settings(max_examples=200, deadline=None)
def test_sentencepiece_gives_any_text_back(encoder, text):
    assert encoder.decode(encoder.encode_batch([text])[0]) == text


def test_sentencepiece_training_does_not_depend_on_the_order(encoder, tmp_path):
    from glasshouse.data.tokens.sentencepiece_model import SentencePieceEncoder, train_sentencepiece

    assert train_sentencepiece(reversed(TEXTS), 600).model == encoder.model
    assert encoder.vocabulary == 600
    loaded = SentencePieceEncoder(encoder.save(tmp_path))
    assert loaded.encode_batch(TEXTS[:1])[0].tolist() == encoder.encode_batch(TEXTS[:1])[0].tolist()
    assert pickle.loads(pickle.dumps(loaded)).model == encoder.model


def test_bad_sentencepiece_models_and_vocabularies(encoder, tmp_path):
    from glasshouse.data.tokens.sentencepiece_model import SentencePieceEncoder, train_sentencepiece

    for content in (b"", b"nonsense" * 50):
        (tmp_path / "bad.model").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.model is not a SentencePiece model"):
            SentencePieceEncoder(tmp_path / "bad.model")
    with pytest.raises(FileNotFoundError):
        SentencePieceEncoder(tmp_path / "absent.model")
    with pytest.raises(VocabularyError, match="cannot make 20 pieces"):
        train_sentencepiece(TEXTS, 20)
    with pytest.raises(VocabularyError, match="cannot make 100000"):
        train_sentencepiece(["short text"], 100_000)
    with pytest.raises(VocabularyError, match="no text"):
        train_sentencepiece([""], 300)
