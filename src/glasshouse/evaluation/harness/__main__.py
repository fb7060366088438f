"""The harness's own command line with `--model glasshouse` in it: `python -m glasshouse.evaluation.harness run …`."""

from lm_eval.__main__ import cli_evaluate

import glasshouse.evaluation.harness.model  # noqa: F401  (registers the name)

cli_evaluate()
