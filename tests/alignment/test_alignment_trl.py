"""TRL as a peer: our reward functions inside its trainers, its rows here, and the same numbers from the same inputs."""

from __future__ import annotations

import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional

from glasshouse.alignment.algebra import Good, Reward, total
from glasshouse.alignment.bradley_terry import bradley_terry_loss
from glasshouse.alignment.combination import references_from
from glasshouse.alignment.rloo import leave_one_out
from glasshouse.alignment.transforms import Column, RewardError
from glasshouse.alignment.trl import from_trl_rows, to_trl_prompts, to_trl_reward_funcs
from glasshouse.data.quarantine import Quarantine
from glasshouse.language.conversations import RowError

trl = pytest.importorskip("trl", reason="TRL is a package for tests only")
datasets = pytest.importorskip("datasets")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

BOTH = Good("helpful") & Good("brief", Column("usual"))
PROMPTS = ["a b c", "b c", "d e f", "a"]


def letters(prompts, completions, **_):
    return [float(text.count("a")) for text in completions]


def brevity(prompts, completions, **_):
    return [-float(len(text.split())) for text in completions]


SCORES = {"helpful": letters, "brief": brevity}


def prompt_rows(prompts=PROMPTS):
    base = {"helpful": torch.arange(4.0).repeat(len(prompts), 1), "brief": torch.zeros(len(prompts), 4)}
    usual = torch.linspace(-6, -3, len(prompts))
    return to_trl_prompts(prompts, references_from(BOTH, base, columns={"usual": usual}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Llama of two layers and a tokenizer of words, as TRL loads them: its reference model comes from the disk."""
    home = tmp_path_factory.mktemp("llama")
    words = {word: number for number, word in enumerate(["<pad>", "<end>", *"abcdefgh"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", padding_side="left"
    ).save_pretrained(home)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(home)
    return home


def settings(kind, folder, **options):
    return kind(
        str(folder / "out"), use_cpu=True, bf16=False, max_steps=5, per_device_train_batch_size=8, num_generations=4,
        max_completion_length=6, beta=0.05, learning_rate=1e-2, logging_steps=1, report_to=[], save_strategy="no",
        disable_tqdm=True, seed=1, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trainer", "config", "options"),
    [("RLOOTrainer", "RLOOConfig", {}), ("GRPOTrainer", "GRPOConfig", {"scale_rewards": "none"})],
)
def test_reward_functions_run_unchanged_in_trls_trainers(trainer, config, options, folder):
    seen = []

    def watched(prompts, completions, **columns):
        seen.append((list(completions), columns["helpful/quantile 0.85"], columns["usual"]))
        return letters(prompts, completions)

    made = getattr(trl, trainer)(
        str(folder),
        reward_funcs=to_trl_reward_funcs(BOTH, SCORES | {"helpful": watched}),
        args=settings(getattr(trl, config), folder, **options),
        train_dataset=datasets.Dataset.from_list(prompt_rows()),
    )
    made.train()
    logged = [record for record in made.state.log_history if "rewards/helpful/mean" in record]
    assert len(logged) == 5
    for record, (completions, references, usual) in zip(logged, seen, strict=True):
        helpful = [
            math.log(1 / (1 + math.exp(r - text.count("a")))) for text, r in zip(completions, references, strict=True)
        ]
        brief = [
            math.log(1 / (1 + math.exp(r + len(text.split())))) for text, r in zip(completions, usual, strict=True)
        ]
        assert record["rewards/helpful/mean"] == pytest.approx(sum(helpful) / len(helpful), abs=1e-5)
        assert record["rewards/brief/mean"] == pytest.approx(sum(brief) / len(brief), abs=1e-5)


def test_advantages_are_trls(folder):
    """Bar: 1e-6 on the advantages that TRL computes itself, with the KL inside the reward."""
    made = trl.RLOOTrainer(
        str(folder),
        reward_funcs=to_trl_reward_funcs(BOTH, SCORES),
        args=settings(trl.RLOOConfig, folder),
        train_dataset=datasets.Dataset.from_list(prompt_rows()),
    )
    with torch.no_grad():  # away from the reference, so that the KL counts
        for parameter in made.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    rows = [row for row in prompt_rows()[:2] for _ in range(4)]
    found = made._generate_and_score_completions(rows)
    answers = found["completion_ids"]
    mask = found["completion_mask"]
    tokens = torch.cat([found["prompt_ids"], answers], 1)
    attention = torch.cat([found["prompt_mask"], mask], 1)
    texts = made.processing_class.batch_decode(answers, skip_special_tokens=True)

    def scores(model):
        logits = model(tokens, attention_mask=attention).logits[:, found["prompt_ids"].shape[1] - 1 : -1]
        return (logits.log_softmax(-1).gather(2, answers[..., None])[..., 0] * mask).sum(1)

    with torch.no_grad():
        ratio = scores(made.model) - scores(made.ref_model)
    help_reference = torch.tensor([row["helpful/quantile 0.85"] for row in rows])
    brief_reference = torch.tensor([row["usual"] for row in rows])
    utility = functional.logsigmoid(torch.tensor(letters(None, texts)) - help_reference)
    utility += functional.logsigmoid(torch.tensor(brevity(None, texts)) - brief_reference)
    assert ratio.abs().max() > 0.01
    ours = leave_one_out((utility - 0.05 * ratio).view(2, 4)).flatten()
    torch.testing.assert_close(found["advantages"], ours, atol=1e-6, rtol=0)


@pytest.mark.parametrize("margin", [False, True])
@pytest.mark.parametrize("centring", [None, 0.01])
def test_the_bradley_terry_loss_is_trls(margin, centring, folder):
    model = transformers.LlamaForSequenceClassification.from_pretrained(folder, num_labels=1)
    with torch.no_grad():
        model.score.weight.mul_(30)  # rewards far enough apart to matter
    rows = [{"chosen": f"a b {x}", "rejected": f"c {x} d"} for x in "abcdef"]
    rows = [row | ({"margin": 0.2 * number} if margin else {}) for number, row in enumerate(rows)]
    made = trl.RewardTrainer(
        model,
        args=trl.RewardConfig(
            str(folder / "out"), use_cpu=True, bf16=False, report_to=[], center_rewards_coefficient=centring,
            per_device_train_batch_size=6, disable_dropout=True, disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=transformers.AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    batch = next(iter(made.get_train_dataloader()))
    assert ("margin" in batch) is margin
    theirs = made.compute_loss(made.model, dict(batch)).detach()
    with torch.no_grad():
        chosen, rejected = made.model(batch["input_ids"], batch["attention_mask"]).logits[:, 0].chunk(2)
    assert (chosen - rejected).abs().max() > 0.1
    ours = bradley_terry_loss(chosen, rejected, margin=batch.get("margin"), centring=centring or 0.0)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_a_missing_score_raises_where_trl_would_take_it_for_certainly_good():
    helpful, brief = to_trl_reward_funcs(BOTH, SCORES | {"helpful": lambda **_: [1.0, None]})
    columns = {"helpful/quantile 0.85": [1.0, 1.0], "usual": [0.0, 0.0]}
    with pytest.raises(RewardError, match="'helpful' of candidate 0 of prompt 1 is nan"):
        helpful(prompts=["a", "b"], completions=["a", "b"], **columns)
    assert brief(prompts=["a", "b"], completions=["a", "b b"], **columns) == pytest.approx(
        [math.log(1 / (1 + math.e)), math.log(1 / (1 + math.exp(2)))]
    )


def test_functions_are_named_and_other_expressions_are_one_function():
    assert [func.__name__ for func in to_trl_reward_funcs(BOTH, SCORES)] == ["helpful", "brief"]
    (summed,) = to_trl_reward_funcs(total(Reward("helpful"), Reward("brief")), SCORES)
    assert summed.__name__ == "helpful_and_brief"
    assert summed(prompts=["a"], completions=["a a b"]) == [2 - 3]


def test_refusals():
    with pytest.raises(RewardError, match="no score for brief"):
        to_trl_reward_funcs(BOTH, {"helpful": letters})
    helpful, _ = to_trl_reward_funcs(BOTH, SCORES)
    with pytest.raises(RewardError, match=r"no column 'helpful/quantile 0\.85'"):
        helpful(prompts=["a"], completions=["a"])
    with pytest.raises(RewardError, match="gave 1 values for 2"):
        to_trl_reward_funcs(Reward("x"), {"x": lambda **_: [1.0]})[0](prompts=["a", "b"], completions=["a", "b"])
    with pytest.raises(RewardError, match=r"shape \(3,\) for 1 prompts"):
        to_trl_prompts(["a"], {"usual": torch.zeros(3)})


def test_rows_of_trl_become_preferences():
    said = {"role": "user", "content": "which?"}
    rows = [
        {"prompt": "which?", "chosen": "this", "rejected": "that"},
        {
            "prompt": [said],
            "chosen": [{"role": "assistant", "content": "this"}],
            "rejected": [{"role": "assistant", "content": "that"}],
        },
        {
            "chosen": [said, {"role": "assistant", "content": "this"}],
            "rejected": [said, {"role": "assistant", "content": "that"}],
        },
    ]
    for found in from_trl_rows(rows):
        assert ([*map(tuple, found.prompt)], found.chosen, found.rejected) == ([("user", "which?")], "this", "that")
    again = datasets.Dataset.from_list([item.row() for item in from_trl_rows(rows)])
    assert [(i.prompt, i.chosen, i.rejected) for i in from_trl_rows(again)] == [
        (i.prompt, i.chosen, i.rejected) for i in from_trl_rows(rows)
    ]
    with pytest.raises(RowError, match="row 1: a row needs chosen"):
        from_trl_rows([rows[0], {"prompt": "which?"}])
    quarantine = Quarantine()
    assert len(from_trl_rows([*rows, {"prompt": "which?"}], quarantine)) == 3
    assert quarantine.rows_quarantined == 1
