"""Two small tasks as files of lm-evaluation-harness: questions with choices and two shots, and written answers."""

import json
import random

from evaluation_standins import WORDS

CHOICES = """task: gates_choices
dataset_path: json
dataset_kwargs:
  data_files:
    test: {home}/choices.jsonl
    train: {home}/choices.jsonl
output_type: multiple_choice
test_split: test
fewshot_split: train
num_fewshot: 2
doc_to_text: "{{{{question}}}}\\nAnswer:"
doc_to_target: label
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""
TEXTS = """task: gates_texts
dataset_path: json
dataset_kwargs:
  data_files:
    test: {home}/texts.jsonl
output_type: generate_until
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: [" the"]
  max_gen_toks: 8
  do_sample: false
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
  - metric: bleu
    aggregation: bleu
    higher_is_better: true
filter_list:
  - name: whole
    filter:
      - function: take_first
  - name: word
    filter:
      - function: regex
        regex_pattern: "(\\\\w+)"
      - function: take_first
metadata:
  version: 1.0
"""


def write_tasks(home, count=24):
    draw = random.Random(0)

    def words(most):
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    choices = [
        {"question": words(12), "choices": [words(3), words(3), words(3)], "label": draw.randrange(3)}
        for _ in range(count)
    ]
    texts = [{"question": words(9), "answer": words(2)} for _ in range(count)]
    for name, rows in (("choices", choices), ("texts", texts)):
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (home / "gates_choices.yaml").write_text(CHOICES.format(home=home))
    (home / "gates_texts.yaml").write_text(TEXTS.format(home=home))
    return home
