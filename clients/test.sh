#!/usr/bin/env bash
# Tests the clients, and the pages for callers and operators, against the server FOOTAGE_BIN, and that generated code is
# that of the contract.
#
# Usage: FOOTAGE_BIN=target/debug/footage clients/test.sh [FOLDER...]   all folders with a test.sh unless some are named
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

if (($# == 0)); then
  for script in */test.sh; do set -- "$@" "$(dirname "$script")"; done
fi
for folder in "$@"; do
  printf '\n==> clients/%s\n' "$folder"
  # Not all of them have code to generate.
  if [[ -e $folder/generate.sh ]]; then ./generate.sh --check "$folder"; fi
  "$folder/test.sh"
done
