#!/usr/bin/env bash
# Writes docs/contract.md, the page of the contract, from the comments of the protos.
#
# Usage: docs/generate.sh           writes the page
#        docs/generate.sh --check   the same, and fails when that is not what is committed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# buf and protoc-gen-doc are among the pinned tools of the checkout.
export PATH=$PWD/.tools/bin:$PATH

readonly PAGE=docs/contract.md
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

buf generate proto --path proto/heldar --template '{"version":"v2","plugins":[
  {"local":"protoc-gen-doc","out":"'"$out"'","opt":["docs/contract.md.tmpl,contract.md"],"strategy":"all"}]}'

# What is said of the whole package stands before `package`, where protoc-gen-doc does not look.
conventions() { sed -n '/^package /q; s,^// \{0\,1\},,p' proto/heldar/footage/v1/common.proto; }
{
  sed '/^<!-- conventions -->$/,$d' "$out/contract.md"
  conventions
  sed '1,/^<!-- conventions -->$/d' "$out/contract.md"
} | cat -s >"$out/page.md"

if [[ ${1:-} == --check ]]; then
  if ! diff -u "$PAGE" "$out/page.md" >&2; then
    echo "error: $PAGE is not that of the contract; run docs/generate.sh and commit" >&2
    exit 1
  fi
else
  cp "$out/page.md" "$PAGE"
fi
echo "Generated: $PAGE"
