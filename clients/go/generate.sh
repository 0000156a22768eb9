#!/usr/bin/env bash
# Generates the messages and services of Go from the contract, with buf and the plugins whose versions go.mod has.
#
# Usage: clients/go/generate.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

rm -f footagepb/*.pb.go
PATH=$PWD/../../.tools/bin:$PATH buf generate --template buf.gen.yaml
