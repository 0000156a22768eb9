#!/usr/bin/env bash
# Generates the messages and services of TypeScript from the contract, with buf and the plugin that package.json names.
#
# Usage: clients/typescript/generate.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The lock file is newer than what is installed, or nothing is.
if [[ ! package-lock.json -ot node_modules/.package-lock.json ]]; then npm ci --no-audit --no-fund --silent; fi
rm -rf src/gen
PATH=$PWD/../../.tools/bin:$PATH buf generate --template buf.gen.yaml
