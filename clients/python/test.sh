#!/usr/bin/env bash
# Tests the client for Python against the server FOOTAGE_BIN: types, a wheel, and every test with the wheel installed.
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

[[ -x .venv/bin/pip ]] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check '.[test]'
.venv/bin/mypy --python-executable .venv/bin/python
rm -rf dist
.venv/bin/python -m build --outdir dist . >/dev/null
.venv/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps dist/*.whl
.venv/bin/python -m pytest "$@"
