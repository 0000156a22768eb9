#!/usr/bin/env bash
# The demo: builds the service, makes sample footage, imports it, cuts a clip and says how to go on by hand.
# Everything it makes is in the folder demo of the checkout. Run it with `make demo`, which installs what it uses.
#
# Usage: .ci/demo.sh        runs the demo; in a terminal the server goes on running afterwards
#        .ci/demo.sh stop   stops that server
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly DEMO=$PWD/demo
readonly RECORDINGS=$DEMO/footage
readonly PID_FILE=$DEMO/server.pid
readonly SERVER_LOG=$DEMO/server.log
readonly FOOTAGE=${CARGO_TARGET_DIR:-target}/release/footage
readonly FIRST_PORT=50051

say() { printf '\n==> %s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Prints a command so that it can be pasted into a shell, then runs it.
show() {
  local word line=
  for word in "$@"; do
    if [[ $word == *[!a-zA-Z0-9_./:=-]* ]]; then word=${word@Q}; fi
    line+=" $word"
  done
  printf '$%s\n' "$line"
  "$@"
}

interactive() { [[ -t 1 && ${CI:-} != true ]]; }

# Settings of the caller's own service must not lead the demo into its data.
use_demo_settings() {
  unset "${!HELDAR_@}"
  export HELDAR_DATA_DIR=$DEMO HELDAR_DATABASE_URL=sqlite://$DEMO/heldar.db
}

# Prints the process id of a server that an earlier demo left running.
running_server() {
  local pid
  [[ -r $PID_FILE ]] || return 1
  pid=$(<"$PID_FILE")
  # The number may belong to another program by now. A program that was built anew reads "footage (deleted)".
  [[ $(readlink "/proc/$pid/exe") == */footage* ]] || return 1
  echo "$pid"
}

stop_server() {
  local pid
  if pid=$(running_server); then
    kill "$pid"
    while [[ -e /proc/$pid ]] && [[ $(awk '/^State:/ { print $2 }' "/proc/$pid/status" 2>/dev/null) != Z ]]; do sleep 0.1; done
    echo "Stopped the demo's server (process $pid)."
  fi
  rm -f "$PID_FILE"
}

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port=$FIRST_PORT
  while port_is_taken "$port"; do port=$((port + 1)); done
  echo "$port"
}

make_footage() {
  local first_second=$(($(date +%s) / 10 * 10 - 300))
  if [[ -d $RECORDINGS ]]; then
    echo "Using the sample footage of the last run; remove $DEMO for a new one."
    return
  fi
  rm -rf "$RECORDINGS.part"
  .ci/sample-footage.sh "$RECORDINGS.part" "$first_second"
  mv "$RECORDINGS.part" "$RECORDINGS"
}

# Prints the Unix time at which the footage begins, read from the name of the first file.
first_second() {
  local files=("$RECORDINGS"/gate_a_01/*.mp4) name
  name=$(basename "${files[0]}" .mp4)
  date -u -d "${name:0:8} ${name:9:2}:${name:11:2}:${name:13:2}" +%s
}

# Usage: moment SECONDS_AFTER_BEGIN FRACTION
moment() { date -u -d "@$(($(first_second) + $1))" "+%Y-%m-%dT%H:%M:%S.$2Z"; }

start_server() {
  local port=$1 pid deadline=$((SECONDS + 30))
  HELDAR_LISTEN=127.0.0.1:$port setsid "$FOOTAGE" serve >"$SERVER_LOG" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >"$PID_FILE"
  until grpcurl -plaintext "127.0.0.1:$port" grpc.health.v1.Health/Check >/dev/null 2>&1; do
    kill -0 "$pid" 2>/dev/null || fail "the server ended at once; its log says: $(<"$SERVER_LOG")"
    ((SECONDS <= deadline)) || fail "the server was not ready within 30 s; its log says: $(<"$SERVER_LOG")"
    sleep 0.2
  done
  echo "Listening on 127.0.0.1:$port (process $pid, log $SERVER_LOG)"
}

newest_clip() { find "$DEMO/clips" -name '*.mp4' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-; }

# A call that spans the half minute in which yard_02 recorded nothing, so that the answer shows a gap.
clip_request() {
  printf '{"camera_id":"yard_02","start_time":"%s","end_time":"%s","wait":"30s"}' "$(moment 140 000)" "$(moment 200 000)"
}

print_next_steps() {
  local address=127.0.0.1:$1 grpcurl=.tools/bin/grpcurl window
  window="\"start_time\":\"$(moment 0 000)\",\"end_time\":\"$(moment 240 000)\""
  cat <<EOF
See what was recorded, drag a clip, play it, in a browser:
  http://$address/
List the services, read the comments of one:
  $grpcurl -plaintext $address list
  $grpcurl -plaintext $address describe heldar.footage.v1.ClipService
What a camera recorded, with its gap:
  $grpcurl -plaintext -d '{"camera_id":"yard_02",$window}' $address heldar.footage.v1.CatalogService/GetTimeline
Cut a clip across the gap, in one call:
  $grpcurl -plaintext -d '$(clip_request)' $address heldar.footage.v1.ClipService/CreateClip
Clips made so far; every job, live (end it with Ctrl-C):
  $grpcurl -plaintext $address heldar.footage.v1.ClipService/ListClips
  $grpcurl -plaintext $address heldar.footage.v1.JobService/WatchJobs
EOF
}

finish() {
  local port=$1
  say "Go on by hand"
  print_next_steps "$port"
  if interactive; then
    say "The server goes on running. Stop it with \`make demo-stop\`."
    return
  fi
  say "One of these calls"
  show grpcurl -plaintext -d "$(clip_request)" "127.0.0.1:$port" heldar.footage.v1.ClipService/CreateClip
  say "Not in a terminal, so the server is stopped; run \`make demo\` in one, and it stays."
  stop_server
}

demo() {
  local port
  use_demo_settings
  mkdir -p "$DEMO"
  stop_server
  say "Building the service"
  cargo build --release --locked
  say "Sample footage: two cameras, four minutes, in $RECORDINGS"
  make_footage
  say "Starting the server"
  trap stop_server EXIT
  port=$(free_port)
  start_server "$port"
  say "Importing the footage"
  show "$FOOTAGE" import "$RECORDINGS" --layout heldar --zone UTC
  say "Cutting a clip of three and a half minutes that begins between two key frames"
  show "$FOOTAGE" clip gate_a_01 --from "$(moment 12 400)" --to "$(moment 222 400)" --server "http://127.0.0.1:$port"
  say "The clip: $(newest_clip)"
  finish "$port"
  trap - EXIT
}

case ${1:-} in
  "") demo ;;
  stop) stop_server ;;
  *) fail "unknown argument \`$1\`; see the top of $0" ;;
esac
