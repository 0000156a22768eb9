#!/usr/bin/env bash
# Tests the page in Chromium against the server FOOTAGE_BIN, which has the page built in: types, then every test. Screenshots
# of each view stay in target/page-screenshots.
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

# Installs what is missing, too.
./generate.sh
npm run --silent check
npm test --silent
