#!/usr/bin/env bash
# Training speed on one GPU beside transformers (and nanochat, if NANOCHAT names a checkout): see train_gpu.py.
# PYTHON is the interpreter to use; it needs torch, transformers and Glasshouse's sources (found here).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here/../src${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$here/train_gpu.py" ${NANOCHAT:+--nanochat "$NANOCHAT"} "$@"
