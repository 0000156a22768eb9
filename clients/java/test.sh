#!/usr/bin/env bash
# Tests the client for Java against the server FOOTAGE_BIN: installs it as the page says, makes what a release has, and runs
# every test.
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

rm -rf target
mvn -q -B -ntp install -Dmaven.test.skip
mvn -q -B -ntp -P release -Drepository.url=https://footage.invalid/heldar-footage verify "$@"
# Maven says nothing of what went well.
cat target/surefire-reports/*.txt | grep '^Tests run'
