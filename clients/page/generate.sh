#!/usr/bin/env bash
# Bundles the page into dist, which is committed and built into the server. esbuild has the version that package.json names,
# and equal sources give equal bytes.
#
# Usage: clients/page/generate.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The page is built on the sources of the client for TypeScript, with its dependencies. A lock file that is newer than what is
# installed asks for another installation.
for folder in ../typescript .; do
  if [[ ! $folder/package-lock.json -ot $folder/node_modules/.package-lock.json ]]; then
    npm ci --prefix "$folder" --no-audit --no-fund --silent
  fi
done
npm run --silent build
