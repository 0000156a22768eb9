#!/usr/bin/env bash
# Runs every line of docs/grpcurl.md against the server FOOTAGE_BIN.
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"
# grpcurl and buf are pinned tools of the checkout.
PATH=$PWD/../../.tools/bin:$PATH python3 run_page.py "$@"
