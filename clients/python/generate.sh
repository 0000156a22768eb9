#!/usr/bin/env bash
# Generates the messages and stubs of Python from the contract, with plugins of fixed versions from PyPI.
#
# Usage: clients/python/generate.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly PLUGINS="grpcio-tools==1.85.1 mypy-protobuf==5.1.0 protobuf==7.36.2 setuptools==80.9.0"
readonly TOOLS=.generate
readonly PROTO=../../proto
readonly OUT=src

if [[ $(cat $TOOLS/plugins 2>/dev/null) != "$PLUGINS" ]]; then
  rm -rf $TOOLS
  python3 -m venv $TOOLS
  # shellcheck disable=SC2086
  $TOOLS/bin/pip install --quiet --disable-pip-version-check $PLUGINS
  echo "$PLUGINS" >$TOOLS/plugins
fi

rm -rf $OUT/heldar
mkdir -p $OUT/heldar/footage/v1
# google/rpc comes from the package googleapis-common-protos, so that its types are those of every other library.
PATH=$PWD/$TOOLS/bin:$PATH $TOOLS/bin/python -m grpc_tools.protoc -I $PROTO \
  --python_out=$OUT --grpc_python_out=$OUT --mypy_out=quiet:$OUT --mypy_grpc_out=quiet:$OUT \
  $PROTO/heldar/footage/v1/*.proto
# The files declare no service but the five that have one; empty stubs are noise.
grep -L 'class .*Stub' $OUT/heldar/footage/v1/*_pb2_grpc.py | while read -r empty; do rm -f "$empty" "${empty}i"; done
