#!/usr/bin/env bash
# Tests the client for Go against the server FOOTAGE_BIN: format, a tidy go.mod, vet, and every test with the race detector.
#
# Usage: FOOTAGE_BIN=target/debug/footage clients/go/test.sh [ARGUMENT OF GO TEST...]
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

unformatted=$("$(go env GOROOT)/bin/gofmt" -l .)
if [[ -n $unformatted ]]; then
  echo "error: gofmt would write these otherwise: $unformatted" >&2
  exit 1
fi
go mod tidy -diff
go vet ./...
# A result of another server, or of another machine's ffmpeg, is none: -count=1 lets every test run.
go test -race -vet=off -count=1 "$@" ./...
