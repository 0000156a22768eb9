#!/usr/bin/env bash
# Tests the clients against the server FOOTAGE_BIN, and that their generated code is that of the contract.
#
# Usage: FOOTAGE_BIN=target/debug/footage clients/test.sh [LANGUAGE...]   all languages unless some are named
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

if (($# == 0)); then
  for script in */test.sh; do set -- "$@" "$(dirname "$script")"; done
fi
for language in "$@"; do
  printf '\n==> The client for %s\n' "$language"
  # grpcurl has no code to generate: it asks the server for the contract.
  if [[ -e $language/generate.sh ]]; then ./generate.sh --check "$language"; fi
  "$language/test.sh"
done
