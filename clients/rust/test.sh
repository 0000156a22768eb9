#!/usr/bin/env bash
# Tests the client for Rust against the server FOOTAGE_BIN: the crate with the feature `client` alone, lints, and every test.
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly PACKAGE=heldar-footage-examples
# Built alone, the crate has no more than the feature `client`.
cargo clippy --quiet --locked -p $PACKAGE --all-targets -- -D warnings
# Built together with the service, nothing of it is built twice.
readonly BOTH="-p heldar-footage -p $PACKAGE"
# shellcheck disable=SC2086
cargo build --quiet --locked $BOTH --examples
# shellcheck disable=SC2086
cargo test --quiet --locked $BOTH --test client --test conformance --test examples
