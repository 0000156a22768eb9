#!/usr/bin/env bash
# Every check that a change must pass, the cheap ones first. Run it with `make test`, which installs what it uses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() {
  printf '\n==> %s\n' "$*"
  "$@"
}

step cargo fmt --all --check
step cargo fmt --check --manifest-path fuzz/Cargo.toml
step buf lint proto
# Renewed with each release: buf build proto --exclude-source-info -o proto/released.binpb
step buf breaking proto --against proto/released.binpb
step docs/generate.sh --check
# The advisory check is left out because its database is not in a registry that every build machine reaches.
step cargo deny --locked check licenses bans sources
step cargo deny --locked --manifest-path fuzz/Cargo.toml --config deny.toml check licenses bans sources
step cargo clippy --locked --all-targets -- -D warnings
step env RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps
# With the scripted server of the tests of the clients.
step cargo build --locked --bins --example scripted_server
step .ci/fuzz.sh 40
step env FOOTAGE_BIN=target/debug/footage clients/test.sh
# Documentation examples run before the tests, so that the output ends with the summary of real tests.
step cargo test --locked --doc
# Most tests wait for timers, disks and other programs: with as many as there are cores, these have little to do.
step env RUST_TEST_THREADS=$((2 * $(nproc))) cargo test --locked --no-fail-fast --lib --bins --tests
