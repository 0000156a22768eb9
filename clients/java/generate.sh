#!/usr/bin/env bash
# Generates the services of Java from the contract, with buf. The messages, some megabytes, are not kept here: Maven has
# them generated at each build, by the protoc that pom.xml names.
#
# Usage: clients/java/generate.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly OUT=src/main/java/heldar/footage

rm -f $OUT/*Service.java
PATH=$PWD/../../.tools/bin:$PATH buf build ../../proto -o '-#format=json' | python3 services.py $OUT
