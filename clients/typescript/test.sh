#!/usr/bin/env bash
# Tests the client for TypeScript against the server FOOTAGE_BIN: types, the package as it is packed, and every test.
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

# The lock file is newer than what is installed, or nothing is.
if [[ ! package-lock.json -ot node_modules/.package-lock.json ]]; then npm ci --no-audit --no-fund --silent; fi
npm run --silent check
rm -rf dist
npm run --silent build
npm test --silent
