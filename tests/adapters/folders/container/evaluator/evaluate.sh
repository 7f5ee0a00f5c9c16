#!/usr/bin/env bash
set -euo pipefail
python /benchmark/evaluator.py "$1" "$2"
