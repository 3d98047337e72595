#!/bin/bash
# All measurements that need a GPU, in at most eight minutes: see bench/gpu.py.
#   bash bench/gpu.sh [PICTURES]
#   bash bench/gpu.sh --device cpu --small        the same on a CPU with small numbers
# The packages of pyproject.toml must be installed, but not Viewfinder itself.
set -euo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$folder/../src${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$folder/gpu.py" "$@"
