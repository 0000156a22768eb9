#!/usr/bin/env bash
# Generates the code of every client from the contract in proto.
#
# Usage: clients/generate.sh [LANGUAGE...]           writes the generated code; all languages unless some are named
#        clients/generate.sh --check [LANGUAGE...]   the same, and fails when that is not what is committed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

check=
if [[ ${1:-} == --check ]]; then
  check=yes
  shift
fi
if (($# == 0)); then
  for script in */generate.sh; do set -- "$@" "$(dirname "$script")"; done
fi
# buf is one of the pinned tools of the checkout.
export PATH=$PWD/../.tools/bin:$PATH

for language in "$@"; do
  "$language/generate.sh"
  if [[ -n $check && -n $(git status --porcelain -- "$language") ]]; then
    git --no-pager diff --stat -- "$language"
    git status --short -- "$language"
    echo "error: the generated code of $language is not that of the contract; run clients/generate.sh and commit" >&2
    exit 1
  fi
done
echo "Generated: $*"
