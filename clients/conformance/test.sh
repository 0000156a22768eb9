#!/usr/bin/env bash
# Tests that the server of the clients' tests, FOOTAGE_BIN, dies with the process that started it, however that ends.
set -euo pipefail
FOOTAGE_BIN=$(realpath "${FOOTAGE_BIN:?names the built server}")
export FOOTAGE_BIN
cd "$(dirname "${BASH_SOURCE[0]}")"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The child of this shell is killed, and the server is the child's: its own shell has nobody left to stop it.
coproc STARTER { ./server.sh "$folder" 2>"$folder/log" & echo $!; wait; }
starter=$STARTER_PID
read -r server <&"${STARTER[0]}"
read -r greeting <&"${STARTER[0]}"
[[ $greeting == *" listening on http://"* ]]
kill -KILL "$starter"
# The server has the other end of the pipe for as long as it lives.
if ! timeout 10 tail --pid="$server" -f /dev/null; then
  echo "error: the server $server outlived the process that started it" >&2
  kill -KILL "$server"
  exit 1
fi
echo "the server died with the process that started it"
