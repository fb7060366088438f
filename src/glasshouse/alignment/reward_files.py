"""Reward models as folders in Hugging Face's form.

- A sequence classifier is saved as one: `AutoModelForSequenceClassification.from_pretrained` loads it unchanged.
- So is a head without hidden layers on the last token, because that is what sequence classifiers of decoders are: one
  output per particle.
- Any other head stands beside its language model: `AutoModel.from_pretrained` loads the folder as before, and
  `reward_head.safetensors` and `reward_head.json` hold the head.

Nothing but safetensors and JSON is read, and nothing is fetched.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import tokenizers
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from glasshouse.alignment.preference_rows import Encode, chat_encoding, tokenizer_encoding
from glasshouse.alignment.reward_models import Base, LoadedRewardModel, RewardTraining
from glasshouse.language.chat import JINJA, Chat, read_chat_template, write_chat_template
from glasshouse.nn.epistemic import EnsembleHead, PointHead
from glasshouse.nn.families import FAMILIES, ConversionError
from glasshouse.nn.huggingface import load_huggingface
from glasshouse.store.configuration import ConfigurationError, named_seed

HEAD_WEIGHTS, HEAD_SHAPE = "reward_head.safetensors", "reward_head.json"
KEPT = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "vocab.txt")


class RewardModelError(ValueError):
    """A folder that is no reward model, or a base model that cannot become one."""


def open_encoder(folder: str | Path, device: str = "cpu") -> Base:
    """The language model of a folder, for a head.

    Our own families are read without `transformers`; others, and settings that ours do not have, through `AutoModel`.
    """
    home = Path(folder)
    encode, padding = open_tokenizer(home)
    try:
        encoder: nn.Module = load_huggingface(home, device=device)
    except ConversionError:
        encoder = _transformers().AutoModel.from_pretrained(home, **_LOCAL).to(device)
    return Base(encoder.eval().requires_grad_(False), encode, context_of(_config(home)), padding)


def open_classifier(folder: str | Path, *, outputs: int = 1, seed: int = 0, device: str = "cpu") -> Base:
    """A sequence classifier from a folder; an output layer that it lacks is drawn from `seed`."""
    home = Path(folder)
    encode, padding = open_tokenizer(home)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(named_seed(seed, "classifier"))
        model = _transformers().AutoModelForSequenceClassification.from_pretrained(
            home, num_labels=outputs, pad_token_id=padding, **_LOCAL
        )
    return Base(model.to(device).eval(), encode, context_of(_config(home)), padding)


def open_tokenizer(folder: Path) -> tuple[Encode, int]:
    """How conversations become tokens: our chat form where the folder is one of ours, else its tokenizer's own."""
    about, template = _config(folder), read_chat_template(folder)
    end = about.get("eos_token_id")
    if _ours(folder) and isinstance(end, int) and template in (JINJA, None):
        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        return chat_encoding(Chat(tokenizer, end)), end
    theirs = _transformers().AutoTokenizer.from_pretrained(folder, local_files_only=True)
    padding = theirs.pad_token_id if theirs.pad_token_id is not None else theirs.eos_token_id
    if padding is None:
        raise RewardModelError(f"the tokenizer in {folder} has no padding and no end-of-sequence token")
    return tokenizer_encoding(theirs), int(padding)


def save_reward_model(model: LoadedRewardModel, base: str | Path, folder: str | Path) -> None:
    """Write a reward model into a new or empty folder; `base` is the folder that its language model came from."""
    source, target = Path(base), Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise RewardModelError(f"{target} is not empty: save into a new folder")
    score = None if model.head is None else linear_score(model)
    if model.head is None or score is not None:
        classifier = model.base.module if score is None else _with_score(source, score)
        classifier.save_pretrained(target)  # type: ignore[operator]
        _copy(source, target, KEPT)
    else:
        names = [path.name for path in source.iterdir() if path.name.startswith("model") or path.name in KEPT]
        _copy(source, target, ("config.json", *names))
        save_file({name: part.detach().cpu().contiguous() for name, part in model.head.state_dict().items()},
                  target / HEAD_WEIGHTS)  # fmt: skip
    if (target / "tokenizer_config.json").exists() and read_chat_template(source) is None and _ours(source):
        write_chat_template(target)  # a base model was not trained in the form, but it judges in it
    about = {
        "settings": model.settings.model_dump(mode="json"),
        "context": model.base.context,
        "features": None if model.head is None or score is not None else model.head.features,
    }
    (target / HEAD_SHAPE).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_reward_model(folder: str | Path, device: str = "cpu") -> LoadedRewardModel:
    """A saved reward model, or any sequence classifier with its tokenizer. Raises `RewardModelError`."""
    home = Path(folder)
    about = _about(home)
    settings = RewardTraining(**about["settings"]) if about else RewardTraining(learn="everything")
    if about.get("features") is None:
        config = _config(home)
        kind = (config.get("architectures") or ["nothing that is named"])[0]
        if not kind.endswith("ForSequenceClassification"):
            raise RewardModelError(f"{home} holds {kind}: a reward model is a sequence classifier, or has {HEAD_SHAPE}")
        outputs = len(config.get("id2label") or (0, 1))  # two is what transformers takes for granted
        classifier = open_classifier(home, outputs=outputs, device=device)
        return LoadedRewardModel(classifier.within(about.get("context")), None, settings)
    encoder = open_encoder(home, device).within(about["context"])
    head = settings.head.build(about["features"], seed=settings.seed)
    try:
        head.load_state_dict(load_file(home / HEAD_WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RewardModelError(f"{home / HEAD_WEIGHTS} is not the head that {HEAD_SHAPE} says: {error}") from None
    return LoadedRewardModel(encoder, head.to(device).eval(), settings)


def linear_score(model: LoadedRewardModel) -> Tensor | None:
    """The head as the matrix `[particles, features]` of a sequence classifier; None where it is not one."""
    head = model.head
    if model.settings.pooling != "last" or not isinstance(head, PointHead | EnsembleHead):
        return None
    if len(head.learnt.weights) > 1:
        return None
    score: Tensor = head.learnt.weights[0][..., 0]
    if isinstance(head, EnsembleHead):
        score = score + head.prior_scale * head.prior.weights[0][..., 0]
    return score.detach()


def context_of(about: dict[str, Any]) -> int:
    """Most tokens, by a model's `config.json`."""
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length"):
        if isinstance(found := about.get(name), int):
            return found
    raise RewardModelError("config.json states no context length (max_position_embeddings): pass `context`")


def _with_score(base: Path, score: Tensor) -> nn.Module:
    classifier = open_classifier(base, outputs=len(score)).module
    with torch.no_grad():
        classifier.score.weight.copy_(score)  # type: ignore[union-attr, operator]
    return classifier


_LOCAL = {"local_files_only": True, "use_safetensors": True, "dtype": torch.float32}


def _ours(folder: Path) -> bool:
    return _config(folder).get("model_type") in FAMILIES


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RewardModelError(f"{path} cannot be read ({error}): is this a model folder?") from None
    if not isinstance(found, dict):
        raise RewardModelError(f"{path} is not a model's configuration")
    return found


def _about(folder: Path) -> dict[str, Any]:
    path = folder / HEAD_SHAPE
    if not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        RewardTraining(**found["settings"])
        assert isinstance(found["context"], int)  # noqa: S101
    except (OSError, ValueError, KeyError, TypeError, AssertionError, ConfigurationError) as error:
        raise RewardModelError(f"{path} does not describe a reward model: {error}") from None
    return found


def _copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise ImportError("this reward model needs transformers: pip install 'glasshouse[align]'") from None
    return transformers
